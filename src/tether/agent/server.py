"""Any OpenAI-compatible server as the agent: chat completions with tools, over plain HTTP."""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from tether.chatdata.toolcalls import agent_text
from tether.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tether.agent.session import Session
    from tether.chatdata.chats import Message

REPLY_TOKENS = 256
AT_ONCE = 8
SECONDS = 120.0
TRIES = 4
PASSING = (408, 429, 500, 502, 503, 504)


class ServerSpeaker:
    """A model behind ``URL/chat/completions``; ``OPENAI_API_KEY`` is sent where it is set.

    Args:
        url: The API's base, such as ``http://localhost:8000/v1``.
        model: The model's name there; None asks the server for its first.
        temperature: Of the sampling.

    Raises:
        UserError: The server cannot be reached, has no model, or refuses.
    """

    def __init__(self, url: str, model: str | None = None, *, temperature: float = 0.0) -> None:
        self.url, self.temperature = url.rstrip("/"), temperature
        self.model = model or self._first_model()

    def replies(self, sessions: Sequence[Session]) -> list[str]:
        """The next turn of each conversation, a few asked for at a time.

        Raises:
            UserError: The server fails, or does not answer in the form of chat completions.
        """
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(self._reply, sessions))

    def _reply(self, session: Session) -> str:
        asked = {
            "model": self.model,
            "messages": wire_messages(session.messages),
            "tools": [{"type": "function", "function": tool} for tool in session.tools],
            "temperature": self.temperature,
            "max_tokens": REPLY_TOKENS,
        }
        told = self._ask("/chat/completions", asked)
        try:
            return written(told["choices"][0]["message"])
        except (KeyError, IndexError, TypeError) as error:
            raise self._odd("chat completion") from error

    def _first_model(self) -> str:
        try:
            return str(self._ask("/models", None)["data"][0]["id"])
        except (KeyError, IndexError, TypeError) as error:
            raise self._odd("model") from error

    def _odd(self, what: str) -> UserError:
        fix = "give the base of an OpenAI-compatible API, such as http://localhost:8000/v1"
        return UserError(f"the server answers without a {what}", where=self.url, fix=fix)

    def _ask(self, path: str, asked: dict[str, Any] | None) -> Any:
        """One request as JSON, tried again while the server is only busy."""
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get("OPENAI_API_KEY"):
            headers["Authorization"] = f"Bearer {key}"
        body = None if asked is None else json.dumps(asked).encode()
        for trial in range(TRIES):
            try:
                with urlopen(Request(self.url + path, body, headers), timeout=SECONDS) as response:
                    return json.load(response)
            except HTTPError as error:
                if error.code not in PASSING or trial + 1 == TRIES:
                    what = f"the server answers {error.code}: {error.read(300).decode(errors='replace')}"
                    raise UserError(what, where=self.url + path) from error
            except (URLError, TimeoutError, ConnectionError, ValueError) as error:
                fix = "start the server, or give its base, such as http://localhost:8000/v1"
                raise UserError(
                    f"the server cannot be talked to ({error})", where=self.url, fix=fix
                ) from error
            time.sleep(2.0**trial / 2)
        raise AssertionError("unreachable")


def wire_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Messages in OpenAI's form: every call has an id, and every result names its call's."""
    sent: list[dict[str, Any]] = []
    open_calls: list[str] = []
    for number, message in enumerate(messages):
        if message["role"] == "tool":
            # The result of a call that could not be read has no call to belong to.
            result = {"role": "user", "content": message["content"]}
            sent.append(
                {**result, "role": "tool", "tool_call_id": open_calls.pop(0)} if open_calls else result
            )
            continue
        plain = {"role": message["role"], "content": message["content"]}
        if calls := message.get("tool_calls"):
            open_calls = [f"call_{number}_{index}" for index in range(len(calls))]
            plain["tool_calls"] = [_wire_call(*pair) for pair in zip(open_calls, calls, strict=True)]
        sent.append(plain)
    return sent


def _wire_call(name: str, call: dict[str, Any]) -> dict[str, Any]:
    function = {"name": call["name"], "arguments": json.dumps(call["arguments"], ensure_ascii=False)}
    return {"id": name, "type": "function", "function": function}


def written(message: dict[str, Any]) -> str:
    """A chat completion's message as the text that `parse_turn` reads."""
    parts = [message.get("content") or ""]
    for call in message.get("tool_calls") or ():
        function = call["function"]
        try:
            arguments = json.loads(function["arguments"] or "{}")
        except ValueError:
            arguments = None
        if isinstance(arguments, dict):
            named = {"name": function["name"], "arguments": arguments}
            parts.append(agent_text({"content": "", "tool_calls": [named]}))
        else:  # left as it is, so that it counts as a call that cannot be read
            parts.append(f"<tool_call>{function['arguments']}</tool_call>")
    return "\n".join(part for part in parts if part)
