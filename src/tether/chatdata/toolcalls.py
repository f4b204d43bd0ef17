"""Tools and calls in plain text, for chat templates that show neither, and back from what an agent wrote.

Many chat templates, SmolLM2's among them, pass over ``tools`` and ``tool_calls`` in silence. For these, the
tools stand in the system turn, a call is ``<tool_call>{"name": ..., "arguments": {...}}</tool_call>`` in the
agent's turn, and a result is ``<tool_response>...</tool_response>`` in a user turn, the form that Hermes and
Qwen made common.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tether.chatdata.chats import Call, Message, calls_of

if TYPE_CHECKING:
    from collections.abc import Sequence

CALL = re.compile(r"<tool_call>(.*?)(?:</tool_call>|$)", re.DOTALL)
HOW_TO_CALL = 'To use a tool, answer with <tool_call>{"name": tool, "arguments": {...}}</tool_call>. Tools:'


@dataclass(frozen=True)
class Turn:
    """What the agent's text says: plain content, calls, and whether some call could not be read."""

    content: str
    calls: tuple[Call, ...]
    malformed: bool = False


def parse_turn(text: str) -> Turn:
    """Read what an agent wrote; the inverse of how calls are rendered.

    A call whose JSON cannot be read, or has no name, makes the turn malformed. Thoughts are no part of it.
    """
    text = text.rpartition("</think>")[2]
    calls = [_parse_call(match[1]) for match in CALL.finditer(text)]
    return Turn(CALL.sub("", text).strip(), tuple(call for call in calls if call), None in calls)


def _parse_call(text: str) -> Call | None:
    try:
        read = json.loads(text)
    except (ValueError, RecursionError):  # a model in a loop may open brackets without end
        return None
    match read:
        case {"name": str(name), "arguments": dict(arguments)} if name:
            return Call(name, arguments)
        case {"name": str(name)} if name and read.get("arguments") is None:
            return Call(name, {})
    return None


def describe_tool(tool: dict[str, Any]) -> str:
    """A tool in one line, a fifth of its JSON Schema's tokens: ``name(required, optional?: a|b)``."""
    required = tool["parameters"].get("required", [])
    parts = []
    for name, schema in tool["parameters"].get("properties", {}).items():
        kind = "|".join(map(str, schema["enum"])) if "enum" in schema else schema.get("type", "string")
        suffix = "" if kind == "string" else f": {kind}"
        parts.append(f"{name}{'' if name in required else '?'}{suffix}")
    return f"{tool['name']}({', '.join(parts)}) - {tool['description']}".removesuffix(" - ")


def told_in_text(messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> list[Message]:
    """Messages of system, user and assistant only, everything about tools in their text."""
    plain = [_plain_message(message) for message in messages]
    if not tools:
        return plain
    listing = "\n".join([HOW_TO_CALL, *map(describe_tool, tools)])
    if plain and plain[0]["role"] == "system":
        return [{"role": "system", "content": f"{plain[0]['content']}\n{listing}".strip()}, *plain[1:]]
    return [{"role": "system", "content": listing}, *plain]


def _plain_message(message: Message) -> Message:
    if message["role"] == "tool":
        return {"role": "user", "content": f"<tool_response>{message['content']}</tool_response>"}
    return {"role": message["role"], "content": agent_text(message)}


def agent_text(message: Message) -> str:
    """An agent's turn as it writes it: content, then calls; what `parse_turn` reads."""
    return "\n".join(part for part in (message["content"], *map(_call_text, calls_of(message))) if part)


def _call_text(call: Call) -> str:
    told = json.dumps({"name": call.name, "arguments": call.arguments}, ensure_ascii=False)
    # A closing tag within a string would end the call early; JSON lets a slash be escaped.
    return "<tool_call>{}</tool_call>".format(told.replace("</", r"<\/"))
