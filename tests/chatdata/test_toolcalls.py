from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tether.chatdata.chats import Call
from tether.chatdata.toolcalls import agent_text, describe_tool, parse_turn


def test_a_tool_is_told_in_one_line() -> None:
    rooms, nights = {"type": "integer", "enum": [1, 2, 3]}, {"type": "integer"}
    properties = {"city": {"type": "string"}, "rooms": rooms, "nights": nights}
    parameters = {"type": "object", "properties": properties, "required": ["city"]}
    find = {"name": "find", "description": "Find hotels", "parameters": parameters}
    assert describe_tool(find) == "find(city, rooms?: 1|2|3, nights?: integer) - Find hotels"
    assert describe_tool({"name": "now", "description": "", "parameters": {"type": "object"}}) == "now()"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
TAGS = st.sampled_from(["<tool_call>", "</tool_call>", "</think>", "<\\/tool_call>", "\u2028"])
CALLS = st.builds(
    Call,
    st.text(min_size=1),
    st.dictionaries(st.text(), JSON | st.lists(TAGS | st.text(max_size=2)).map("".join), max_size=4),
)


@given(calls=st.lists(CALLS, max_size=3), content=st.sampled_from(["", "One moment.", "Two\nlines"]))
def test_calls_are_read_back_as_they_were_written(calls: list[Call], content: str) -> None:
    told = [{"name": call.name, "arguments": call.arguments} for call in calls]
    turn = parse_turn(agent_text({"role": "assistant", "content": content, "tool_calls": told}))
    assert (turn.content, turn.calls, turn.malformed) == (content, tuple(calls), False)


@given(text=st.lists(TAGS | st.text(alphabet='{}[]",:name arguments1', max_size=20)).map("".join))
def test_no_text_breaks_the_reader(text: str) -> None:
    turn = parse_turn(text)
    assert "<tool_call>" not in turn.content


@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>{'name': 'find'}</tool_call>",
        '<tool_call>{"name": "find", "arguments": {"city": "Ro',
        '<tool_call>{"name": "find", "arguments": ["Rome"]}</tool_call>',
        '<tool_call>{"name": "", "arguments": {}}</tool_call>',
        '<tool_call>{"arguments": {}}</tool_call>',
        "<tool_call>[]</tool_call>",
        "<tool_call></tool_call>",
        "<tool_call>" + '{"a":' * 5000,
    ],
)
def test_a_call_that_cannot_be_read_is_malformed(text: str) -> None:
    turn = parse_turn(text)
    assert turn.malformed
    assert not turn.calls


def test_a_call_needs_no_arguments_and_no_closing_tag() -> None:
    assert parse_turn('<tool_call>\n{"name": "now"}').calls == (Call("now", {}),)


def test_thoughts_are_not_part_of_the_turn() -> None:
    turn = parse_turn('<think>\n<tool_call>{"name": "now"}</tool_call>?\n</think>\n\nHello')
    assert (turn.content, turn.calls) == ("Hello", ())


def test_a_call_is_plain_json_to_other_readers() -> None:
    text = agent_text(
        {"role": "assistant", "content": "", "tool_calls": [{"name": "say", "arguments": {"é": 1}}]}
    )
    inner = text.removeprefix("<tool_call>").removesuffix("</tool_call>")
    assert json.loads(inner) == {"name": "say", "arguments": {"é": 1}}
    assert "é" in inner
