"""The services' rules for chats, read anew from their documents: not by tether's own code."""

from __future__ import annotations

import json
from typing import Any

MESSAGE_KEYS = {
    "system": {"role", "content", "name"},
    "user": {"role", "content", "name"},
    "assistant": {"role", "content", "name", "tool_calls", "refusal", "weight"},
    "tool": {"role", "content", "tool_call_id"},
}


def fault_of_messages(messages: Any, tools: Any) -> str | None:
    """Why a service would not take a conversation; None if it would."""
    if not isinstance(messages, list) or not messages:
        return "messages must be a non-empty list"
    names = set()
    for tool in tools or []:
        if set(tool) != {"type", "function"} or tool["type"] != "function":
            return "a tool must be {type: function, function}"
        if (
            not {"name", "parameters"}
            <= set(tool["function"])
            <= {"name", "description", "parameters", "strict"}
        ):
            return "a function has name, description and parameters"
        names.add(tool["function"]["name"])
    waiting: list[str] = []
    for message in messages:
        role = message.get("role")
        if role not in MESSAGE_KEYS or set(message) - MESSAGE_KEYS[role]:
            return f"a message of role {role!r} has keys {sorted(message)}"
        if role == "tool":
            if message.get("tool_call_id") not in waiting:
                return "tool_call_id answers no call"
            waiting.remove(message["tool_call_id"])
            continue
        if waiting:
            return "tool calls without responses: " + ", ".join(waiting)
        calls = message.get("tool_calls")
        if not isinstance(message.get("content"), str) and not calls:
            return f"content of a {role} message must be a string"
        for call in calls or []:
            if set(call) != {"id", "type", "function"} or set(call["function"]) != {"name", "arguments"}:
                return "a tool call has id, type and function"
            if call["function"]["name"] not in names:
                return f"the function {call['function']['name']} is not among the tools"
            if not isinstance(call["function"]["arguments"], str):
                return "arguments must be a JSON string"
            json.loads(call["function"]["arguments"])
            waiting.append(call["id"])
    return None


def fault_of_file(content: bytes, fewest: int) -> str | None:
    """Why a training file would not do; None if it would."""
    try:
        lines = content.decode("utf-8").split("\n")
        rows = [json.loads(line) for line in lines if line]
    except ValueError as error:
        return f"invalid JSONL: {error}"
    if len(rows) < fewest:
        return f"Training file has {len(rows)} example(s), but must have at least {fewest} examples"
    for number, row in enumerate(rows, 1):
        if set(row) - {"messages", "tools", "parallel_tool_calls"}:
            return f"line {number}: unexpected keys"
        if row["messages"][-1]["role"] != "assistant":
            return f"line {number}: the last message must be from the assistant"
        if fault := fault_of_messages(row["messages"], row.get("tools")):
            return f"line {number}: {fault}"
    return None


def fault_of_order(content: bytes) -> str | None:
    """Together's rule besides: system or user first, then turns that alternate."""
    for number, line in enumerate(content.decode().split("\n"), 1):
        if not line:
            continue
        roles = [message["role"] for message in json.loads(line)["messages"]]
        spoken = roles[1:] if roles[0] == "system" else roles
        if spoken[0] != "user" or "system" in spoken:
            return f"line {number}: the conversation must start with system or user"
        if any(a == b and a in ("user", "assistant") for a, b in zip(spoken, spoken[1:], strict=False)):
            return f"line {number}: roles must alternate"
    return None
