"""A model at a service, asked the same prompts as any other; what it cannot tell is left out, not guessed."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from tether.chatdata.toolcalls import agent_text
from tether.hosted.client import CallError, explained
from tether.hosted.kept import Kept
from tether.hosted.pace import MOST, Pace
from tether.hosted.price import Spending
from tether.hosted.providers import open_provider
from tether.hosted.rows import tokens_of, wire_messages, wire_tools
from tether.progress import task
from tether.turns import AgentTurns

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tether.chatdata.chats import Chat
    from tether.config import Asking
    from tether.hosted.services import HostedName
    from tether.hosted.wire import Said

TRIES = 8  # of one question
LONGEST_PAUSE = 60.0


class HostedModel:
    """A model that answers through chat completions with tools, and gives no likelihoods.

    Args:
        name: The model.
        kept: File in which answers are kept until `finish`.
        limits: Requests a minute, and dollars in all.

    Raises:
        UserError: The SDK or key is missing, or there is a ceiling for a model of unknown price.
    """

    def __init__(self, name: HostedName, kept: Path, limits: Asking) -> None:
        self.name, self._hosted = str(name), name
        self._spending = Spending(name, limits.max_price)
        self._provider = open_provider(name.service)
        self._kept, self._pace = Kept(kept), Pace(limits.requests_per_minute)

    def answer(self, prompts: Sequence[str | Chat], *, max_new_tokens: int, label: str) -> list[str]:
        """Answers to single user turns, or to chats that end where the agent is to speak."""
        return self._ask([self._prompt(prompt) for prompt in prompts], max_new_tokens, label)

    def generate_agent_turns(
        self, chats: Sequence[Chat], *, max_new_tokens: int, label: str = "Answering dialogues"
    ) -> list[AgentTurns]:
        """Its own answer at each of the agent's turns after the gold history; no service tells a loss."""
        bodies = [
            self._body(wire_messages(chat.messages[:index], chat.source), chat.tools)
            for chat in chats
            for index in chat.agent_turns
        ]
        answers = iter(self._ask(bodies, max_new_tokens, label))
        return [AgentTurns([next(answers) for _ in chat.agent_turns], None) for chat in chats]

    def finish(self) -> None:
        """The measurement is whole: the kept answers may go."""
        self._kept.clear()

    def _prompt(self, prompt: str | Chat) -> dict[str, Any]:
        if isinstance(prompt, str):
            return self._body([{"role": "user", "content": prompt}])
        return self._body(wire_messages(prompt.messages, prompt.source), prompt.tools)

    def _body(self, messages: list[dict[str, Any]], tools: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
        body: dict[str, Any] = {"model": self._hosted.model, "messages": messages}
        return {**body, "tools": wire_tools(tools)} if tools else body

    def _ask(self, bodies: Sequence[dict[str, Any]], longest: int, label: str) -> list[str]:
        with task(label, len(bodies)) as progress, ThreadPoolExecutor(MOST) as pool:
            waiting = [pool.submit(self._answer, body, longest) for body in bodies]
            try:
                answers = []
                for question in waiting:
                    answers.append(question.result())
                    progress.advance()
                return answers
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _answer(self, body: dict[str, Any], longest: int) -> str:
        request = {**body, "longest": longest, "server": self._hosted.service.server}
        kept = self._kept.get(request)
        if kept is None:
            kept = as_text(self._paid(body, longest))
            self._kept.add(request, kept)
        return kept

    def _paid(self, body: dict[str, Any], longest: int) -> Said:
        """One answer, under the ceiling of money and at the pace that the server bears."""
        for number in range(TRIES):
            reserved = self._spending.reserve(tokens_of(json.dumps(body)), longest)
            self._pace.enter()
            try:
                said = self._provider.say(body, longest)
            except CallError as error:
                self._spending.settle(reserved)
                pause = error.pause if error.pause is not None else 0.5 * 2**number
                self._pace.back_off(min(LONGEST_PAUSE, pause) if error.temporary else 0.0)
                if not error.temporary or number + 1 == TRIES:
                    raise explained(error, self._hosted.service, f"answer as {self._hosted.model}") from None
            else:
                self._pace.leave()
                self._spending.settle(reserved, said.read, said.write)
                return said
        raise AssertionError("unreachable")


def as_text(said: Said) -> str:
    """An answer as a local model would write it, for the judges; a call that is no JSON stays unreadable."""
    good, bad = [], []
    for name, arguments in said.calls:
        try:
            read = json.loads(arguments or "{}")
        except (ValueError, RecursionError):
            read = None
        if isinstance(read, dict):
            good.append({"name": name, "arguments": read})
        else:
            bad.append(f"<tool_call>{name} {arguments}</tool_call>")
    return "\n".join([agent_text({"content": said.content, "tool_calls": good}), *bad]).strip()
