"""Chat examples: what one is, and how it is read from a file with every mistake named by file and line."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tether.errors import UserError
from tether.files import check_characters

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROLES = ("system", "user", "assistant", "tool")
FORMS = (
    'chat rows {"messages": [...]}, preference rows {"prompt", "chosen", "rejected"} '
    'or Schema-Guided Dialogue rows {"dialogue_id", "turns"}'
)

Message = dict[str, Any]


@dataclass(frozen=True)
class Call:
    """One tool call: the tool's name and its arguments."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Chat:
    """One dialogue with at least one turn of the agent.

    Attributes:
        id: Unique within its file, the same whenever the file is read.
        messages: ``{"role", "content"}``; an assistant's may have ``tool_calls`` as a list of ``{"name",
            "arguments"}`` with arguments as an object, and ``weight`` 0 where it is not to be learned; a
            tool's has ``name`` where the file gave one.
        tools: ``{"name", "description", "parameters"}``, parameters as a JSON Schema.
        source: "file:line".
        group: The service or scenario, to be reported apart.
    """

    id: str
    messages: tuple[Message, ...]
    tools: tuple[dict[str, Any], ...]
    source: str
    group: str = ""

    @property
    def agent_turns(self) -> list[int]:
        """Indices of the agent's messages that are learned and measured."""
        return [index for index, message in enumerate(self.messages) if _is_learned(message)]


def _is_learned(message: Message) -> bool:
    return message["role"] == "assistant" and message.get("weight") != 0


def calls_of(message: Message) -> tuple[Call, ...]:
    """The tool calls of a canonical message."""
    return tuple(Call(call["name"], call["arguments"]) for call in message.get("tool_calls", ()))


def load_chats(path: Path | str) -> list[Chat]:
    """Read dialogues; the form is recognised from the first row.

    Args:
        path: JSONL, or JSON with a list: TRL's and OpenAI's chat rows, TRL's preference rows, or
            Schema-Guided Dialogue's own.

    Raises:
        UserError: The file is missing or empty, or a row does not fit; with file and line.
    """
    from tether.chatdata.preferences import read_preference
    from tether.chatdata.schema_guided import SchemaGuided

    path = Path(path)
    rows = read_rows(path)
    first = rows[0][1]
    if "turns" in first:
        reader = SchemaGuided(path, [row for _, row in rows])
        return _distinct([reader.chat(row, where) for where, row in rows])
    read = read_chat if "messages" in first else read_preference if "chosen" in first else None
    if read:
        return _distinct([read(row, where, path.stem, number) for number, (where, row) in enumerate(rows)])
    raise UserError(f"the row has the keys {sorted(first)}", where=rows[0][0], fix=f"give {FORMS}")


def _distinct(chats: list[Chat]) -> list[Chat]:
    """The same chats, once it is sure that none shares its id: answers before and after are paired by it."""
    seen: dict[str, str] = {}
    for chat in chats:
        if chat.id in seen:
            raise UserError(
                f"the id '{chat.id}' stands at {seen[chat.id]} already",
                where=chat.source,
                fix="give each row its own",
            )
        seen[chat.id] = chat.source
    return chats


def read_rows(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Objects of a JSONL file, or of a JSON file that holds a list, each with its "file:line".

    Raises:
        UserError: No such file, no rows, or a line that is no JSON object.
    """
    if not path.is_file():
        raise UserError("no such file", where=str(path), fix="check the path")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"not UTF-8 text (byte {error.start})", where=str(path), fix="save it as UTF-8"
        ) from error
    parsed = list(_json_list(path, text) if text.lstrip().startswith("[") else _json_lines(path, text))
    if not parsed:
        raise UserError("the file has no rows", where=str(path), fix=f"give {FORMS}")
    for where, row in parsed:
        check_characters(row, text, where)
        if not isinstance(row, dict):
            raise UserError(f"a row must be a JSON object, not {type(row).__name__}", where=where)
    return parsed


def _json_lines(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    # Not splitlines(): JSON strings may hold U+2028 and friends, at which that would cut.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            where = f"{path}:{number}"
            try:
                yield where, json.loads(line)
            except json.JSONDecodeError as error:
                raise UserError(
                    f"not JSON ({error.msg} at column {error.colno})",
                    where=where,
                    fix="write one JSON object a line",
                ) from error


def _json_list(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    try:
        rows = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"not JSON ({error.msg})", where=f"{path}:{error.lineno}") from error
    return ((f"{path}: row {number}", row) for number, row in enumerate(rows, 1))


def read_chat(row: dict[str, Any], where: str, stem: str, number: int) -> Chat:
    """Read the chat row that is the ``number``-th of a file called ``stem``.

    Raises:
        UserError: It does not fit.
    """
    messages = row.get("messages")
    if not isinstance(messages, list) or not messages:
        raise UserError("the row has no list of messages", where=where, fix=f"give {FORMS}")
    read = tuple(
        _message(message, f"{where} (message {index + 1})") for index, message in enumerate(messages)
    )
    if not any(map(_is_learned, read)):
        raise UserError(
            "the chat has no assistant turn, so there is nothing to learn", where=where, fix="remove it"
        )
    tools = row.get("tools") or []
    if isinstance(tools, str):  # datasets stores mixed types as JSON text
        tools = _json_text(tools, where, "tools")
    if not isinstance(tools, list):
        raise UserError("tools must be a list", where=where)
    name, group = _said(row, "id", f"{stem}-{number}"), _said(row, "group", "")
    return Chat(name, read, tuple(_tool(tool, where) for tool in tools), where, group)


def _said(row: dict[str, Any], key: str, otherwise: str) -> str:
    return otherwise if row.get(key) is None else str(row[key])


def _message(message: Any, where: str) -> Message:
    if not isinstance(message, dict) or message.get("role") not in ROLES:
        role = message.get("role") if isinstance(message, dict) else message
        raise UserError(f"unknown role {role!r}", where=where, fix=f"roles are {', '.join(ROLES)}")
    content = _content(message.get("content"), where)
    calls = message.get("tool_calls") or []
    if content is None and not calls:
        raise UserError("the message has neither content nor tool calls", where=where)
    read: Message = {"role": message["role"], "content": content or ""}
    if calls:
        if message["role"] != "assistant" or not isinstance(calls, list):
            raise UserError("tool_calls must be a list in an assistant's message", where=where)
        read["tool_calls"] = [_call(call, where) for call in calls]
    if (weight := message.get("weight")) is not None:
        if message["role"] != "assistant" or weight not in (0, 1):
            fix = "give an assistant's message 0 (not learned) or 1, or none at all"
            raise UserError(f"the weight {weight!r} does not fit here", where=where, fix=fix)
        read["weight"] = int(weight)
    if message["role"] == "tool" and message.get("name"):
        read["name"] = str(message["name"])
    return read


def _content(content: Any, where: str) -> str | None:
    """A message's text; OpenAI's form may cut it into parts."""
    if isinstance(content, list) and all(isinstance(part, dict) and "text" in part for part in content):
        content = "".join(str(part["text"]) for part in content)
    if content is not None and not isinstance(content, str):
        raise UserError(
            f"content must be text, not {type(content).__name__}",
            where=where,
            fix="give a string, or parts of text alone",
        )
    return content


def _call(call: Any, where: str) -> dict[str, Any]:
    inner = call.get("function", call) if isinstance(call, dict) else {}
    name, arguments = (
        (inner.get("name"), inner.get("arguments", {})) if isinstance(inner, dict) else (None, None)
    )
    if not isinstance(name, str) or not name:
        raise UserError("a tool call has no name", where=where)
    if isinstance(arguments, str):
        arguments = _json_text(arguments or "{}", where, f"the arguments of {name}")
    if not isinstance(arguments, dict):
        raise UserError(f"the arguments of {name} must be an object", where=where)
    return {"name": name, "arguments": arguments}


def _tool(tool: Any, where: str) -> dict[str, Any]:
    tool = _without_nulls(tool)
    inner = tool.get("function", tool) if isinstance(tool, dict) else {}
    if not isinstance(inner, dict) or not isinstance(inner.get("name"), str):
        raise UserError("a tool has no name", where=where)
    parameters = inner.get("parameters") or {"type": "object", "properties": {}}
    properties = parameters.get("properties", {}) if isinstance(parameters, dict) else None
    if not isinstance(properties, dict) or not all(
        isinstance(schema, dict) for schema in properties.values()
    ):
        raise UserError(
            f"the parameters of the tool {inner['name']} are no JSON Schema of an object", where=where
        )
    return {"name": inner["name"], "description": str(inner.get("description", "")), "parameters": parameters}


def _without_nulls(schema: Any) -> Any:
    """The same without what is null: datasets gives every tool all others' keys and properties."""
    if isinstance(schema, dict):
        return {key: _without_nulls(value) for key, value in schema.items() if value is not None}
    return [_without_nulls(value) for value in schema] if isinstance(schema, list) else schema


def _json_text(text: str, where: str, what: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{what} are not JSON ({error.msg})", where=where) from error


def split_select(chats: Sequence[Chat], share: float = 0.1, seed: int = 0) -> tuple[list[Chat], list[Chat]]:
    """Keep a share of the training dialogues aside, to choose learning rates and the rewind by.

    Which ones depends on their ids and the seed alone, not on their order.

    Raises:
        UserError: There are fewer than two dialogues.
    """
    if len(chats) < 2:
        raise UserError("training needs at least two dialogues", where=chats[0].source if chats else None)
    ranked = sorted(chats, key=lambda chat: hashlib.sha256(f"{seed} {chat.id}".encode()).digest())
    kept = {chat.id for chat in ranked[: max(1, round(share * len(chats)))]}
    return [c for c in chats if c.id not in kept], [c for c in chats if c.id in kept]
