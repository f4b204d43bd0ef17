"""The agent's side of a conversation: what is written, which tools it calls, and what comes back.

A simulated guest (``conversation``) or a person at a terminal (``terminal``) sits on the other side.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from tether.agent.dialogues import tool_schemas
from tether.agent.tools import TOOLS, Desk, Result, compact
from tether.chatdata.toolcalls import parse_turn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tether.agent.acts import Act
    from tether.chatdata.chats import Call, Message

UNREADABLE = {"error": 'the call is no JSON; write {"name": tool, "arguments": {...}}'}


@dataclass(frozen=True)
class Made:
    """A call that was made and its result; ``turn`` is the guest's turn that it followed, counted from 0."""

    name: str
    arguments: dict[str, Any]
    result: Result
    turn: int

    @property
    def failed(self) -> bool:
        """Whether nothing came of it but an error."""
        return "error" in self.result

    @property
    def invalid(self) -> bool:
        """Whether the call itself was wrong, rather than what it asked for being sold out or unknown."""
        return self.failed and _is_wrong(self.name, self.arguments)


@dataclass
class Session:
    """A conversation under way.

    Attributes:
        desk: The tools and books.
        messages: All that was said and called, as a model reads it.
        tools: The tools in canonical form.
        made: The calls in their order.
        meant: What a simulated guest's turns mean; empty for a person. Only the gold policy may look.
    """

    desk: Desk
    messages: list[Message]
    tools: Sequence[dict[str, Any]] = field(default_factory=tool_schemas)
    made: list[Made] = field(default_factory=list)
    meant: list[list[Act]] = field(default_factory=list)

    def hear_guest(self, text: str) -> None:
        """Take down what the guest says."""
        self.messages.append({"role": "user", "content": text})

    def take(self, text: str) -> str | None:
        """Take what the agent wrote: run its calls, or return the words that are for the guest.

        Args:
            text: The agent's raw text, calls in the form that `parse_turn` reads.

        Returns:
            What the guest hears; None where calls were made, and the agent is to speak again.
        """
        turn = parse_turn(text)
        if turn.malformed:
            self._note(text, ())
            self._answer("", UNREADABLE)
            self.made.append(Made("", {}, UNREADABLE, self.guest_turns - 1))
            return None
        self._note(turn.content, turn.calls)
        for call in turn.calls:
            result = self.desk.call(call.name, call.arguments)
            self.made.append(Made(call.name, call.arguments, result, self.guest_turns - 1))
            self._answer(call.name, result)
        return None if turn.calls else turn.content

    @property
    def guest_turns(self) -> int:
        """How often the guest has spoken."""
        return sum(message["role"] == "user" for message in self.messages)

    def _note(self, content: str, calls: Sequence[Call]) -> None:
        message: Message = {"role": "assistant", "content": content}
        if calls:
            message["tool_calls"] = [{"name": call.name, "arguments": call.arguments} for call in calls]
        self.messages.append(message)

    def _answer(self, name: str, result: Result) -> None:
        self.messages.append({"role": "tool", "name": name, "content": compact(result)})


class Speaker(Protocol):
    """Whoever plays the agent: a model, a server, a rule."""

    def replies(self, sessions: Sequence[Session]) -> list[str]:
        """What to write next in each of these conversations, calls as `agent_text` writes them."""
        ...


def _is_wrong(name: str, arguments: dict[str, Any]) -> bool:
    from pydantic import ValidationError

    if name not in TOOLS:
        return True
    try:
        TOOLS[name].arguments.model_validate(arguments)
    except ValidationError:
        return True
    return False
