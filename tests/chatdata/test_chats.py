from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tether.chatdata.chats import Call, calls_of, load_chats, split_select
from tether.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

TALK = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
FIND = {"name": "find", "arguments": {"city": "Rome"}}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"name": "find", "description": "Finds hotels", "parameters": SCHEMA}


def written(tmp_path: Path, *rows: Any, name: str = "chats.jsonl") -> Path:
    """A file with a row a line; strings are written as they are."""
    path = tmp_path / name
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def calling(call: Any) -> dict[str, Any]:
    """A row in which the agent makes one call."""
    return {
        "messages": [TALK[0], {"role": "assistant", "content": None, "tool_calls": [call]}],
        "tools": [TOOL],
    }


def test_a_row_becomes_a_chat_that_knows_its_line(tmp_path: Path) -> None:
    path = written(tmp_path, {"messages": TALK}, "", {"messages": TALK, "id": "second", "group": "greetings"})
    first, second = load_chats(path)
    assert first.messages == tuple(TALK)
    assert (first.id, first.group, first.source) == ("chats-0", "", f"{path}:1")
    assert (second.id, second.group, second.source) == ("second", "greetings", f"{path}:3")
    assert second.agent_turns == [1]


@pytest.mark.parametrize(
    "call",
    [
        FIND,
        {"type": "function", "function": FIND},
        {"id": "call_1", "type": "function", "function": {"name": "find", "arguments": '{"city": "Rome"}'}},
    ],
    ids=["bare", "TRL", "OpenAI"],
)
def test_calls_may_stand_in_any_form(tmp_path: Path, call: dict[str, Any]) -> None:
    (chat,) = load_chats(written(tmp_path, calling(call)))
    assert calls_of(chat.messages[1]) == (Call("find", {"city": "Rome"}),)
    assert chat.messages[1]["content"] == ""


@pytest.mark.parametrize(
    "tools",
    [[TOOL], [{"type": "function", "function": TOOL}], json.dumps([TOOL])],
    ids=["bare", "wrapped", "as text"],
)
def test_tools_may_stand_in_any_form(tmp_path: Path, tools: Any) -> None:
    (chat,) = load_chats(written(tmp_path, {"messages": TALK, "tools": tools}))
    assert chat.tools == (TOOL,)


def test_content_may_be_cut_into_parts_of_text(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
    (chat,) = load_chats(written(tmp_path, {"messages": [TALK[0], {"role": "assistant", "content": parts}]}))
    assert chat.messages[1]["content"] == "Hello"


def test_a_turn_of_weight_0_is_neither_learned_nor_measured(tmp_path: Path) -> None:
    talk = [TALK[0], {**TALK[1], "weight": 0}, TALK[0], {**TALK[1], "weight": 1}]
    (chat,) = load_chats(written(tmp_path, {"messages": talk}))
    assert chat.agent_turns == [3]


def test_a_json_list_is_read_as_its_rows(tmp_path: Path) -> None:
    path = written(
        tmp_path, json.dumps([{"messages": TALK}, {"messages": TALK}], indent=1), name="chats.json"
    )
    assert [chat.source for chat in load_chats(path)] == [f"{path}: row 1", f"{path}: row 2"]


def test_line_separators_within_a_string_do_not_cut_the_row(tmp_path: Path) -> None:
    odd = [TALK[0], {"role": "assistant", "content": "one\u2028two\x85three"}]
    (chat,) = load_chats(written(tmp_path, json.dumps({"messages": odd}, ensure_ascii=False)))
    assert chat.messages[1]["content"] == "one\u2028two\x85three"


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    path = written(tmp_path, "\ufeff" + json.dumps({"messages": TALK}))
    assert len(load_chats(path)) == 1


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"messages": [', r":2: not JSON \(.*column 15\)"),
        ('"hello"', ":2: a row must be a JSON object, not str"),
        ({"text": "hello"}, ":2: the row has no list of messages"),
        ({"messages": "hello"}, ":2: the row has no list of messages"),
        ({"messages": []}, ":2: the row has no list of messages"),
        ({"messages": ["hello"]}, r":2 \(message 1\): unknown role 'hello'"),
        ({"messages": [TALK[0], {"role": "bot", "content": "a"}]}, r":2 \(message 2\): unknown role 'bot'"),
        ({"messages": TALK[:1]}, ":2: the chat has no assistant turn"),
        ({"messages": [{"role": "user"}, TALK[1]]}, "neither content nor tool calls"),
        ({"messages": [{"role": "user", "content": 3}, TALK[1]]}, "content must be text, not int"),
        (
            {"messages": [{**TALK[0], "tool_calls": [FIND]}, TALK[1]]},
            "tool_calls must be a list in an assistant's",
        ),
        ({"messages": [{**TALK[0], "weight": 0}, TALK[1]]}, r"\(message 1\): the weight 0 does not fit"),
        ({"messages": [TALK[0], {**TALK[1], "weight": 2}]}, r"\(message 2\): the weight 2 does not fit"),
        ({"messages": [TALK[0], {**TALK[1], "weight": 0}]}, ":2: the chat has no assistant turn"),
        (calling({"name": "find", "arguments": '{"city": '}), "the arguments of find are not JSON"),
        (calling({"name": "find", "arguments": [1]}), "the arguments of find must be an object"),
        (calling({"function": "find"}), "a tool call has no name"),
        ({"messages": TALK, "tools": "nothing"}, "tools are not JSON"),
        ({"messages": TALK, "tools": {"find": {}}}, "tools must be a list"),
        ({"messages": TALK, "tools": [{"description": "a"}]}, "a tool has no name"),
        (
            {"messages": TALK, "tools": [{"name": "find", "parameters": ["city"]}]},
            "tool find are no JSON Schema",
        ),
        ({"messages": TALK, "id": "chats-0"}, r"the id 'chats-0' stands at .*:1 already"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, row: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_chats(written(tmp_path, {"messages": TALK}, row))


def test_a_file_without_rows_or_of_another_form_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.jsonl: no such file"):
        load_chats(tmp_path / "nowhere.jsonl")
    with pytest.raises(UserError, match="the file has no rows"):
        load_chats(written(tmp_path))
    with pytest.raises(UserError, match=r":1: the row has the keys \['prompt'\]"):
        load_chats(written(tmp_path, {"prompt": "Hi"}))
    (tmp_path / "latin.jsonl").write_bytes(b'{"messages": "\xe9"}')
    with pytest.raises(UserError, match=r"not UTF-8 text \(byte 14\)"):
        load_chats(tmp_path / "latin.jsonl")


def test_the_split_depends_on_ids_and_seed_alone(tmp_path: Path) -> None:
    chats = load_chats(written(tmp_path, *[{"messages": TALK, "id": f"talk {i}"} for i in range(40)]))
    train, select = split_select(chats)
    assert len(select) == 4
    assert sorted(train + select, key=chats.index) == chats
    again = split_select(chats[::-1])[1]
    assert {chat.id for chat in again} == {chat.id for chat in select}
    assert {chat.id for chat in split_select(chats, seed=1)[1]} != {chat.id for chat in select}


def test_a_single_dialogue_cannot_be_split(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at least two dialogues"):
        split_select(load_chats(written(tmp_path, {"messages": TALK})))


def test_what_datasets_fills_with_null_is_not_there(tmp_path: Path) -> None:
    properties = {"city": {"type": "string", "enum": None}, "date": None}
    schema = {"type": "object", "properties": properties, "required": None}
    tool = {"type": "function", "function": {"name": "find", "description": None, "parameters": schema}}
    row = {"messages": TALK, "tools": [tool], "id": None, "group": None}
    first, second = load_chats(written(tmp_path, row, row))
    assert (first.id, second.id, first.group) == ("chats-0", "chats-1", "")
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
    assert first.tools == ({"name": "find", "description": "", "parameters": parameters},)


def test_half_a_character_is_named_with_its_line(tmp_path: Path) -> None:
    whole = json.dumps({"messages": [TALK[0], {"role": "assistant", "content": "\U0001f600"}]})
    half = whole.replace("\\ude00", "")
    assert load_chats(written(tmp_path, whole))
    with pytest.raises(UserError, match=r"chats.jsonl:2: .*d83d.* is half of a character"):
        load_chats(written(tmp_path, whole, half))
