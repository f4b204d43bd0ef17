"""Chats in the form that both services train on and answer, checked by their rules before they are sent."""

from __future__ import annotations

import json
from collections import deque
from typing import TYPE_CHECKING, Any

from tether.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tether.chatdata.chats import Chat, Message
    from tether.hosted.services import Service

# OpenAI's own; Together's SDK has MIN_SAMPLES = 1.
FEWEST_ROWS = {"openai": 10, "together": 1}
LARGEST_FILE = {"openai": 512 << 20, "together": 5 << 30}
KNOWS_WEIGHTS = ("openai",)
BYTES_A_TOKEN = 4  # about, in English; the services' own counts decide what is paid


def wire_messages(messages: Sequence[Message], where: str) -> list[dict[str, Any]]:
    """Messages as the services want them: arguments as JSON text, every call and its result with an id.

    Args:
        messages: Of a `Chat`.
        where: Its place, for messages.

    Raises:
        UserError: A tool's turn answers no call.
    """
    open_calls: deque[str] = deque()
    sent = []
    for index, message in enumerate(messages):
        row: dict[str, Any] = {"role": message["role"], "content": message["content"]}
        if calls := message.get("tool_calls"):
            ids = [f"call_{index}_{number}" for number in range(len(calls))]
            open_calls = deque(ids)
            row["tool_calls"] = [_call(id_, call) for id_, call in zip(ids, calls, strict=True)]
            if not row["content"]:
                row["content"] = None
        if message["role"] == "tool":
            if not open_calls:
                fix = "put the agent's call before it"
                raise UserError(
                    "a tool's turn answers no call", where=f"{where} (message {index + 1})", fix=fix
                )
            row["tool_call_id"] = open_calls.popleft()
        sent.append(row)
    return sent


def _call(id_: str, call: dict[str, Any]) -> dict[str, Any]:
    arguments = json.dumps(call["arguments"], ensure_ascii=False)
    return {"id": id_, "type": "function", "function": {"name": call["name"], "arguments": arguments}}


def wire_tools(tools: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Tools as the services want them."""
    return [{"type": "function", "function": tool} for tool in tools]


def training_row(chat: Chat, service: Service) -> dict[str, Any]:
    """One chat as a row of a training file; turns of weight 0 are not learned, as in every other method.

    Raises:
        UserError: The chat breaks a rule that both services have, or has weights where they are not known.
    """
    _check(chat)
    sent = wire_messages(chat.messages, chat.source)
    for message, told in zip(chat.messages, sent, strict=True):
        if "weight" in message:
            if service.name not in KNOWS_WEIGHTS:
                fix = "remove it; every turn of the agent is then learned"
                raise UserError(f"{service.title} knows no weight of a turn", where=chat.source, fix=fix)
            told["weight"] = message["weight"]
    row: dict[str, Any] = {"messages": sent}
    if chat.tools:
        row["tools"] = wire_tools(chat.tools)
    return row


def _check(chat: Chat) -> None:
    """The rules of `both`: OpenAI's schema is the looser one, so what Together asks for is asked of both."""
    roles = [message["role"] for message in chat.messages]
    speech = [role for role in roles if role != "system"]
    called = {call["name"] for message in chat.messages for call in message.get("tool_calls", ())}
    unknown = sorted(called - {tool["name"] for tool in chat.tools})
    faults = {
        "a system turn stands after another turn": "system" in roles[1:],
        "the chat does not begin with the user": not speech or speech[0] != "user",
        "the chat does not end with the agent": roles[-1] != "assistant",
        "two turns of the user follow each other": _twice("user", speech),
        "two turns of the agent follow each other": _twice("assistant", speech),
        f"it calls tools that it does not list ({', '.join(unknown)})": bool(unknown),
        "a call is not answered by a tool's turn before the next turn": _unanswered(chat.messages),
    }
    for fault, found in faults.items():
        if found:
            raise UserError(f"hosted fine-tuning does not take this chat: {fault}", where=chat.source)


def _twice(role: str, roles: Sequence[str]) -> bool:
    return any(left == right == role for left, right in zip(roles, roles[1:], strict=False))


def _unanswered(messages: Sequence[Message]) -> bool:
    """Whether a call has another number of results than one; a call in the last turn needs none."""
    waiting = 0
    for message in messages:
        if message["role"] == "tool":
            waiting -= 1
        elif waiting:
            return True
        waiting += len(message.get("tool_calls", ()))
    return waiting != 0 and not messages[-1].get("tool_calls")


def training_text(chats: Sequence[Chat], service: Service) -> str:
    """A training file's text.

    Raises:
        UserError: A chat breaks a rule, or there are too few, or too much of them.
    """
    if len(chats) < FEWEST_ROWS[service.name]:
        raise UserError(
            f"{service.title} wants at least {FEWEST_ROWS[service.name]} chats to train on, "
            f"and {len(chats)} are left after some were kept aside",
            where=chats[0].source if chats else None,
            fix="give more",
        )
    text = "".join(json.dumps(training_row(chat, service), ensure_ascii=False) + "\n" for chat in chats)
    if len(text.encode()) > LARGEST_FILE[service.name]:
        raise UserError(
            f"the data is larger than {service.title} takes", fix="set dialogues=N to train on fewer"
        )
    return text


def tokens_of(text: str) -> int:
    """About how many tokens a text has, whoever counts them."""
    return -(-len(text.encode()) // BYTES_A_TOKEN)


def write_training_file(path: Path, text: str) -> None:
    """Write a training file as the services want it: UTF-8, a row a line, no carriage returns."""
    path.write_text(text, encoding="utf-8", newline="\n")
