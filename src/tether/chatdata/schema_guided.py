"""Schema-Guided Dialogue (Rastogi et al. 2020, arXiv:1909.05855) in its own format, as chats with tool calls.

A system turn with a service call becomes three messages: the call, the service's results, and what the agent
says of them. Tokens are few on a small model, so a result leaves out what the call itself said, and long
lists are cut.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from tether.chatdata.chats import Chat, Message
from tether.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

TODAY = "Friday, 2019-03-01"  # the day on which every dialogue of the set takes place
SHOWN_RESULTS = 3
SCHEMA_FILES = ("schema.json", "sgd_*_schema.json")

Tools = dict[str, tuple[dict[str, Any], ...]]
"""Tools of each service."""


class SchemaGuided:
    """Reads the dialogues of one file.

    Args:
        path: The file; schemas are looked for beside it, and a service that none describes gets its tools
            from the dialogues' calls.
        rows: The file's dialogues.
    """

    def __init__(self, path: Path, rows: list[dict[str, Any]]) -> None:
        """Find the services' tools."""
        self.tools: Tools = _inferred_tools(rows)
        self.about: dict[str, str] = {}
        for pattern in SCHEMA_FILES:
            for found in sorted(path.parent.glob(pattern)):
                tools, about = _read_schema(found)
                self.tools |= tools
                self.about |= about

    def chat(self, row: dict[str, Any], where: str) -> Chat:
        """One dialogue.

        Raises:
            UserError: A key of the format is missing, or the dialogue has no system turn.
        """
        try:
            services = list(row["services"])
            messages = [self._system(services)]
            for turn in row["turns"]:
                messages += _messages(turn)
            chat_id = str(row["dialogue_id"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"not a Schema-Guided dialogue ({type(error).__name__}: {error})",
                where=where,
                fix="rows need dialogue_id, services, and turns with speaker, utterance and frames",
            ) from error
        if not any(message["role"] == "assistant" for message in messages):
            raise UserError("the dialogue has no system turn, so there is nothing to learn", where=where)
        tools = tuple(tool for service in services for tool in self.tools.get(service, ()))
        return Chat(chat_id, tuple(messages), tools, where, "+".join(services))

    def _system(self, services: list[str]) -> Message:
        about = "; ".join(self.about[service] for service in services if service in self.about)
        purpose = about[:1].lower() + about[1:] if about else "a booking service"
        return {"role": "system", "content": f"You are a booking agent of {purpose}. Today is {TODAY}."}


def _read_schema(path: Path) -> tuple[Tools, dict[str, str]]:
    """Tools and description of each service."""
    try:
        services = json.loads(path.read_text(encoding="utf-8"))
        tools = {service["service_name"]: _service_tools(service) for service in services}
        return tools, {service["service_name"]: service["description"] for service in services}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"not a Schema-Guided schema ({type(error).__name__}: {error})",
            where=str(path),
            fix="mend it, or take it away: the tools are then made up from the dialogues' calls",
        ) from error


def _messages(turn: dict[str, Any]) -> list[Message]:
    if turn["speaker"] == "USER":
        return [{"role": "user", "content": turn["utterance"]}]
    messages: list[Message] = []
    for frame in turn["frames"]:
        if "service_call" in frame:
            call = frame["service_call"]
            arguments = dict(call["parameters"])
            messages.append(
                {
                    "role": "assistant",
                    "content": "",
                    "tool_calls": [{"name": call["method"], "arguments": arguments}],
                }
            )
            told = _result(frame.get("service_results", []), arguments)
            result = json.dumps(told, ensure_ascii=False, separators=(",", ":"))
            messages.append({"role": "tool", "name": call["method"], "content": result})
    return [*messages, {"role": "assistant", "content": turn["utterance"]}]


def _result(results: list[dict[str, str]], arguments: dict[str, str]) -> dict[str, Any]:
    told = [{key: value for key, value in row.items() if arguments.get(key) != value} for row in results]
    return {"count": len(results), "results": told[:SHOWN_RESULTS]}


def _service_tools(service: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    slots = {slot["name"]: slot for slot in service["slots"]}
    return tuple(_tool(intent, slots) for intent in service["intents"])


def _tool(intent: dict[str, Any], slots: dict[str, Any]) -> dict[str, Any]:
    names = [*intent["required_slots"], *intent["optional_slots"]]
    properties = {name: _parameter(slots[name]) for name in names}
    parameters = {"type": "object", "properties": properties, "required": list(intent["required_slots"])}
    return {"name": intent["name"], "description": intent["description"], "parameters": parameters}


def _parameter(slot: dict[str, Any]) -> dict[str, Any]:
    parameter: dict[str, Any] = {"type": "string", "description": slot["description"]}
    return {**parameter, "enum": slot["possible_values"]} if slot["is_categorical"] else parameter


def _inferred_tools(rows: list[dict[str, Any]]) -> Tools:
    """Without a schema, a tool has the parameters of the calls seen; those always there are required."""
    seen: dict[str, dict[str, list[dict[str, str]]]] = {}
    for row in rows:
        # A row that does not fit is told of, with its line, when it is read as a dialogue.
        with suppress(KeyError, TypeError, AttributeError):
            for frame in (
                frame for turn in row["turns"] for frame in turn["frames"] if "service_call" in frame
            ):
                call = frame["service_call"]
                seen.setdefault(frame["service"], {}).setdefault(call["method"], []).append(
                    dict(call["parameters"])
                )
    return {
        service: tuple(_seen_tool(name, calls) for name, calls in methods.items())
        for service, methods in seen.items()
    }


def _seen_tool(name: str, calls: list[dict[str, str]]) -> dict[str, Any]:
    names = list(dict.fromkeys(key for call in calls for key in call))
    required = [key for key in names if all(key in call for call in calls)]
    parameters = {
        "type": "object",
        "properties": {key: {"type": "string"} for key in names},
        "required": required,
    }
    return {"name": name, "description": "", "parameters": parameters}
