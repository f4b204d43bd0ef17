"""The agent behind an OpenAI-compatible server: a real one, on the loopback."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tether.agent.conversation import Conversation, hold
from tether.agent.scenes import scenes
from tether.agent.scoring import outcome
from tether.agent.server import ServerSpeaker, wire_messages, written
from tether.agent.speakers import GoldSpeaker
from tether.chatdata.toolcalls import agent_text, parse_turn
from tether.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    Serving = Callable[[Callable[[dict[str, Any]], tuple[int, dict[str, Any]]]], AbstractContextManager[str]]

Answer = dict[str, Any]


def completion(text: str) -> Answer:
    """A turn as such servers put it: calls apart, arguments as JSON text."""
    turn = parse_turn(text)
    calls = [
        {"id": "c", "type": "function", "function": {"name": c.name, "arguments": json.dumps(c.arguments)}}
        for c in turn.calls
    ]
    return {
        "choices": [{"message": {"role": "assistant", "content": turn.content or None, "tool_calls": calls}}]
    }


def test_a_server_that_plays_the_gold_policy_holds_whole_conversations(serving: Serving) -> None:
    cases = scenes(6, seed=3, split="test")
    gold = {
        json.dumps(wire_messages(talk.messages[:index])): written(completion_of(talk, index))
        for talk in hold(cases, GoldSpeaker())
        for index, message in enumerate(talk.messages)
        if message["role"] == "assistant"
    }
    seen: list[dict[str, Any]] = []

    def answer(asked: dict[str, Any]) -> tuple[int, Answer]:
        seen.append(asked)
        return 200, completion(gold[json.dumps(asked["messages"])])

    with serving(answer) as url:
        talks = hold(cases, ServerSpeaker(url))
    assert all(outcome(talk).success for talk in talks)
    assert {asked["model"] for asked in seen} == {"served"}
    assert seen[0]["tools"][0]["type"] == "function"


def completion_of(talk: Conversation, index: int) -> dict[str, Any]:
    message: dict[str, Any] = completion(agent_text(talk.messages[index]))["choices"][0]["message"]
    return message


def test_a_busy_server_is_asked_again(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    codes = iter([503, 200])
    talk = Conversation(scenes(1, seed=3, split="test")[0])
    with serving(lambda asked: (next(codes), completion("Hello!"))) as url:
        assert ServerSpeaker(url, "m").replies([talk]) == ["Hello!"]


@pytest.mark.parametrize(
    ("code", "told", "says"),
    [(401, {"error": "no key"}, "answers 401"), (200, {}, "without a chat completion")],
)
def test_a_server_that_refuses_or_speaks_another_language_is_the_users_mistake(
    serving: Serving, code: int, told: Answer, says: str
) -> None:
    talk = Conversation(scenes(1, seed=3, split="test")[0])
    with serving(lambda asked: (code, told)) as url, pytest.raises(UserError, match=says):
        ServerSpeaker(url, "m").replies([talk])


def test_no_server_is_the_users_mistake() -> None:
    with pytest.raises(UserError, match="cannot be talked to"):
        ServerSpeaker("http://127.0.0.1:9/v1")


def test_calls_that_cannot_be_read_stay_so_and_their_errors_go_back_as_text() -> None:
    broken = {"content": None, "tool_calls": [{"function": {"name": "quote", "arguments": '{"hotel": '}}]}
    assert parse_turn(written(broken)).malformed
    talk = Conversation(scenes(1, seed=3, split="test")[0])
    talk.go_on(written(broken))
    assert [message["role"] for message in wire_messages(talk.messages)] == [
        "system",
        "user",
        "assistant",
        "user",
    ]
    talk.go_on('<tool_call>{"name": "quote", "arguments": {}}</tool_call>')
    sent = wire_messages(talk.messages)
    assert sent[-1]["tool_call_id"] == sent[-2]["tool_calls"][0]["id"]
