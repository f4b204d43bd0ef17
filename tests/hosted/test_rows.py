"""Chats in the services' form: what goes out, and what is refused before it does."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from servers.rows import fault_of_file, fault_of_order

from tether.chatdata.chats import Chat
from tether.errors import UserError
from tether.hosted.price import check_ceiling, listed
from tether.hosted.rows import training_row, training_text, wire_messages
from tether.hosted.services import OPENAI, TOGETHER, HostedName, hosted_name, named_at

if TYPE_CHECKING:
    from collections.abc import Sequence

USER, AGENT = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
CALL = {"role": "assistant", "content": "", "tool_calls": [{"name": "find", "arguments": {"city": "Rome"}}]}
RESULT = {"role": "tool", "content": "{}"}


def chat(*messages: dict[str, Any]) -> Chat:
    tools = ({"name": "find", "description": "", "parameters": {"type": "object", "properties": {}}},)
    return Chat("a", messages, tools, "chats.jsonl:3")


def test_the_hotel_keeps_to_the_rules_of_both(hotels: list[Chat]) -> None:
    text = training_text(hotels, OPENAI)
    assert fault_of_file(text.encode(), 10) is None
    assert fault_of_order(text.encode()) is None


def test_several_calls_are_answered_in_their_order() -> None:
    twice = {**CALL, "tool_calls": [*CALL["tool_calls"], {"name": "find", "arguments": {"n": 2}}]}
    sent = wire_messages([USER, twice, RESULT, RESULT, AGENT], "here")
    first, second = sent[1]["tool_calls"]
    assert [message["tool_call_id"] for message in sent[2:4]] == [first["id"], second["id"]]
    assert json.loads(second["function"]["arguments"]) == {"n": 2}


def test_a_line_separator_within_text_does_not_cut_a_row() -> None:
    odd = chat(USER, {**AGENT, "content": "one\u2028two\rthree"})
    text = training_text([replace(odd, id=str(n)) for n in range(10)], OPENAI)
    assert len(text.split("\n")) == 11


@pytest.mark.parametrize(
    ("messages", "fault"),
    [
        ([USER, {"role": "system", "content": "x"}, AGENT], "a system turn stands after"),
        ([AGENT, USER, AGENT], "does not begin with the user"),
        ([USER, AGENT, USER], "does not end with the agent"),
        ([USER, USER, AGENT], "two turns of the user"),
        ([USER, AGENT, AGENT], "two turns of the agent"),
        ([USER, CALL, USER, AGENT], "a call is not answered"),
        ([USER, AGENT, RESULT, AGENT], "answers no call|is not answered"),
        (
            [USER, {**CALL, "tool_calls": [{"name": "book", "arguments": {}}]}, RESULT, AGENT],
            r"not list \(book\)",
        ),
    ],
)
def test_what_a_service_would_refuse_is_refused_here(messages: Sequence[dict[str, Any]], fault: str) -> None:
    with pytest.raises(UserError, match=f"^chats.jsonl:3.*{fault}"):
        training_row(chat(*messages), OPENAI)


def test_a_call_may_be_the_last_word() -> None:
    assert training_row(chat(USER, CALL), OPENAI)["messages"][-1]["content"] is None


def test_a_turn_that_is_not_to_be_learned_goes_out_as_such_where_weights_are_known() -> None:
    weighted = chat(USER, {**AGENT, "weight": 0}, USER, AGENT)
    sent = training_row(weighted, OPENAI)["messages"]
    assert [message.get("weight") for message in sent] == [None, 0, None, None]
    with pytest.raises(UserError, match="^chats.jsonl:3.*Together AI knows no weight"):
        training_row(weighted, TOGETHER)


def test_too_few_chats() -> None:
    with pytest.raises(UserError, match="OpenAI wants at least 10 chats.* 9 are left"):
        training_text([chat(USER, AGENT)] * 9, OPENAI)
    assert training_text([chat(USER, AGENT)], TOGETHER)


def test_names_of_hosted_models() -> None:
    assert hosted_name("smollm2-135m") is hosted_name("org/model") is None
    name = hosted_name("openai:ft:gpt-4o-mini-2024-07-18:org::abc")
    assert name == HostedName(OPENAI, "ft:gpt-4o-mini-2024-07-18:org::abc")
    assert str(named_at(TOGETHER, "org/model")) == "together:org/model"
    with pytest.raises(UserError, match="names no model"):
        hosted_name("openai:")
    with pytest.raises(UserError, match="no model of Together AI"):
        named_at(TOGETHER, "openai:gpt-4o")


def test_an_address_is_told_without_what_is_secret_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert OPENAI.server == "https://api.openai.com/v1"
    monkeypatch.setenv("OPENAI_BASE_URL", "http://me:secret@host:8000/v1/?key=secret")
    assert OPENAI.server == "http://host:8000/v1"


@pytest.mark.parametrize(
    ("model", "train"),
    [
        ("gpt-4o-mini-2024-07-18", 3.0),
        ("ft:gpt-4o-mini-2024-07-18:org::x", 3.0),
        ("gpt-4o-2024-08-06", 25.0),
        ("gpt-3.5-turbo-0125", 8.0),
        ("gpt-4.1-nano-2025-04-14", 1.5),
        ("gpt-9", None),
        ("gpt-4o-audio", None),
    ],
)
def test_list_prices_go_by_the_model(model: str, train: float | None) -> None:
    price = listed(HostedName(OPENAI, model))
    assert (price.train if price else None) == train


def test_a_ceiling_without_a_price_is_refused() -> None:
    check_ceiling(None, None)
    check_ceiling(1.0, 1.0)
    with pytest.raises(UserError, match="cannot be told"):
        check_ceiling(None, 1.0)
