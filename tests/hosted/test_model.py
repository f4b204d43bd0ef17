"""A hosted model is asked the same prompts as a local one, at the pace and price that are allowed."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

import pytest
from servers.speaker import Speaker
from servers.standin import KEY, Fault, Refusal

from tether.axes.knowledge import knowledge
from tether.axes.proficiency import proficiency
from tether.axes.safety import safety
from tether.config import Asking
from tether.errors import UserError
from tether.hosted.model import HostedModel, as_text
from tether.hosted.pace import MOST, Pace
from tether.hosted.services import OPENAI, HostedName
from tether.hosted.wire import Said
from tether.results import aggregate
from tether.sources import load_knowledge, load_safety

if TYPE_CHECKING:
    from pathlib import Path

    from servers.openai import OpenAIServer

    from tether.chatdata.chats import Chat
    from tether.inference import LocalModel

GPT = HostedName(OPENAI, "gpt-4o-mini-2024-07-18")
ASK = "POST /v1/chat/completions"
FAST = Asking(requests_per_minute=100_000)


@pytest.fixture
def server(openai_server: OpenAIServer, live: LocalModel) -> OpenAIServer:
    openai_server.speaker = Speaker(live, live)
    return openai_server


def test_the_same_model_answers_the_same_here_and_there(
    server: OpenAIServer, live: LocalModel, hotels: list[Chat], tmp_path: Path
) -> None:
    there = HostedModel(GPT, tmp_path / "kept.jsonl", FAST)
    prompts = load_safety("builtin:safety", limit=8)
    assert [item.output for item in safety(there, prompts)] == [
        i.output.strip() for i in safety(live, prompts)
    ]
    mine, theirs = (proficiency(model, hotels[:2]) for model in (live, there))
    assert [item.output.strip() for item in mine] == [item.output for item in theirs]
    assert [item.score for item in mine] == [item.score for item in theirs]
    assert any(item.metrics["loss"] for item in mine)
    assert all(item.metrics["loss"] is None for item in theirs), "a gap, not a guess"


def test_a_request_at_the_desk_brings_its_system_prompt_and_tools(
    server: OpenAIServer, tmp_path: Path
) -> None:
    there = HostedModel(GPT, tmp_path / "kept.jsonl", FAST)
    (item,) = safety(there, load_safety("builtin:hotel-safety", limit=1))
    assert item.metrics["margin"] is None, "a gap, not a guess"
    (asked,) = (request.json() for request in server.asked(ASK))
    assert [message["role"] for message in asked["messages"]] == ["system", "user"]
    assert "book_room" in [tool["function"]["name"] for tool in asked["tools"]]


def test_knowledge_without_likelihoods_is_a_marked_gap(
    server: OpenAIServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    questions = load_knowledge("builtin:knowledge")[::20]
    items = knowledge(HostedModel(GPT, tmp_path / "kept.jsonl", FAST), questions)
    assert {item.group for item in items} == {"written"}
    assert len(items) < len(questions)
    assert (
        f"{len(questions) - len(items)} questions of multiple choice are left out" in capsys.readouterr().err
    )
    told = aggregate(items)
    assert (told.score, told.n, told.ci95) == (None, 0, None)
    assert told.metrics["token_f1"] is not None
    assert told.metrics["gain_bits_per_byte"] is None


def test_answers_of_a_killed_measurement_are_not_paid_for_twice(server: OpenAIServer, tmp_path: Path) -> None:
    prompts = load_safety("builtin:safety", limit=6)
    server.faults = [Fault(ASK, Refusal(400, "broken"), times=1)]
    kept = tmp_path / "kept.jsonl"
    with pytest.raises(UserError, match="did not answer as gpt-4o-mini-2024-07-18: broken"):
        safety(HostedModel(GPT, kept, FAST), prompts)
    with kept.open("a") as file:
        file.write('{"request": "torn')
    before = len(server.asked(ASK))
    model = HostedModel(GPT, kept, FAST)
    assert len(safety(model, prompts)) == 6
    answered = before - 1
    assert len(server.asked(ASK)) == before + 6 - answered
    model.finish()
    assert not kept.exists(), "the next measurement asks anew"
    assert KEY not in json.dumps([request.json() for request in server.asked(ASK)])


def test_a_busy_server_is_given_time(server: OpenAIServer, tmp_path: Path) -> None:
    server.faults = [
        Fault(ASK, Refusal(429, "slow down", "rate_limit_exceeded", retry_after_ms="5"), times=3),
        Fault(ASK, Refusal(500, "oops", retry_after_ms="5"), times=1),
        Fault(ASK, None, times=1),
    ]
    model = HostedModel(GPT, tmp_path / "kept.jsonl", FAST)
    assert len(safety(model, load_safety("builtin:safety", limit=10))) == 10
    assert len(server.asked(ASK)) == 15


def test_a_spent_quota_ends_it(server: OpenAIServer, tmp_path: Path) -> None:
    server.faults = [
        Fault(ASK, Refusal(429, "You exceeded your current quota", "insufficient_quota"), times=99)
    ]
    with pytest.raises(UserError, match="Top the account up"):
        safety(HostedModel(GPT, tmp_path / "kept.jsonl", FAST), load_safety("builtin:safety", limit=10))
    assert len(server.asked(ASK)) <= MOST


def test_the_ceiling_is_never_passed(server: OpenAIServer, tmp_path: Path) -> None:
    asking = Asking(requests_per_minute=100_000, max_price=2e-4)
    model = HostedModel(GPT, tmp_path / "kept.jsonl", asking)
    with pytest.raises(UserError, match="max_price.*what was answered is kept"):
        safety(model, load_safety("builtin:safety"))
    assert 0 < len(server.asked(ASK)) < 20
    assert model._spending.spent <= 2e-4
    with pytest.raises(UserError, match="cannot be told"):
        HostedModel(HostedName(OPENAI, "gpt-9"), tmp_path / "kept.jsonl", asking)


def test_a_model_that_is_not_there(server: OpenAIServer, tmp_path: Path) -> None:
    gone = HostedModel(HostedName(OPENAI, "ft:gone"), tmp_path / "kept.jsonl", FAST)
    with pytest.raises(UserError, match="did not answer as ft:gone.*does not exist .404.*name is right"):
        gone.answer(["Hi"], max_new_tokens=4, label="Asking")


def test_calls_come_back_as_a_local_model_writes_them() -> None:
    good = Said("Let me look.", (("find", '{"city": "Rome"}'),), 1, 1)
    assert (
        as_text(good)
        == 'Let me look.\n<tool_call>{"name": "find", "arguments": {"city": "Rome"}}</tool_call>'
    )
    assert as_text(Said("", (("find", '{"city": "Ro'),), 1, 1)) == '<tool_call>find {"city": "Ro</tool_call>'
    assert (
        as_text(Said("", (("find", ""),), 1, 1)) == '<tool_call>{"name": "find", "arguments": {}}</tool_call>'
    )


class Clock:
    """Time that goes on when somebody waits."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_pace_widens_and_halves() -> None:
    clock = Clock()
    pace = Pace(60_000_000, clock)
    for _ in range(300):
        clock.now += 1
        pace.enter()
        pace.leave()
    assert pace.limit == MOST
    for _ in range(3):
        clock.now += 1
        pace.enter()
    for _ in range(3):
        pace.back_off(5.0)
    assert pace.limit == MOST / 2, "refusals of one moment are one refusal"
    entered = threading.Event()
    threading.Thread(target=lambda: (pace.enter(), entered.set()), daemon=True).start()
    assert not entered.wait(0.05), "the server asked for five seconds"


def test_requests_a_minute_are_counted() -> None:
    clock = Clock()
    pace = Pace(60, clock)
    pace.enter()
    pace.leave()
    entered = threading.Event()
    threading.Thread(target=lambda: (pace.enter(), entered.set()), daemon=True).start()
    assert not entered.wait(0.05), "one a second"
