from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tether.chatdata.chats import load_chats
from tether.chatdata.preferences import Preference
from tether.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

ASKED = [
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "How can I help you?"},
    {"role": "user", "content": "A room in Rome, please."},
]
GOOD = [{"role": "assistant", "content": "When would you like to arrive?"}]
BAD = [{"role": "assistant", "content": "In which city?"}]
ROW: dict[str, Any] = {"prompt": ASKED, "chosen": GOOD, "rejected": BAD}


def read(folder: Path, *rows: dict[str, Any]) -> list[Any]:
    path = folder / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return load_chats(path)


def test_a_row_of_trl_is_a_chat_that_ends_in_the_better_turn(tmp_path: Path) -> None:
    (pair,) = read(tmp_path, {**ROW, "group": "asked_again"})
    assert isinstance(pair, Preference)
    assert [message["content"] for message in pair.messages] == [m["content"] for m in [*ASKED, *GOOD]]
    assert pair.worse.messages == (*pair.messages[:-1], BAD[0])
    assert (pair.id, pair.source, pair.group) == ("pairs-0", f"{tmp_path / 'pairs.jsonl'}:1", "asked_again")
    assert pair.agent_turns == pair.worse.agent_turns == [3], "of the earlier turns nothing is learned"


def test_turns_may_call_tools(tmp_path: Path) -> None:
    call = {"type": "function", "function": {"name": "quote", "arguments": '{"nights": 2}'}}
    calling = [{"role": "assistant", "content": None, "tool_calls": [call]}]
    tools = [{"type": "function", "function": {"name": "quote", "parameters": {"type": "object"}}}]
    (pair,) = read(tmp_path, {**ROW, "rejected": calling, "tools": tools})
    assert pair.rejected["tool_calls"] == [{"name": "quote", "arguments": {"nights": 2}}]
    assert [tool["name"] for tool in pair.tools] == ["quote"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt": "A room in Rome, please."}, "the prompt is no list of messages"),
        ({"prompt": None}, "the prompt is no list of messages"),
        ({"chosen": "When?"}, "chosen is no list with one message of the assistant"),
        ({"rejected": [*BAD, *GOOD]}, "rejected is no list with one message of the assistant"),
        ({"rejected": [{"role": "user", "content": "Hi"}]}, "rejected is no list with one message"),
        ({"rejected": [{"role": "assistant"}]}, r"\(message 4\): the message has neither"),
        ({"rejected": GOOD}, "chosen and rejected are the same turn"),
    ],
)
def test_what_does_not_fit_is_told_with_its_line(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=rf"pairs.jsonl:2.*{message}"):
        read(tmp_path, ROW, {**ROW, **change})
