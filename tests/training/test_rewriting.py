"""Targets in the model's own words: what is taken, what stays the data's, and that a killed run goes on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tether.chatdata.chats import Chat
from tether.hosted.kept import Kept
from tether.training import rewriting
from tether.training.rewriting import rewritten, says_the_same

if TYPE_CHECKING:
    from pathlib import Path

    from tether.inference import LocalModel


@pytest.mark.parametrize(
    ("reference", "text", "kept"),
    [
        ("Your room at 14:30 is booked.", "It is booked for you: a room, at 14:30.", True),
        ("Your room at 14:30 is booked.", "It is booked for you: a room, at half past two.", False),
        ("I found the Grand Hotel in Rome.", "in rome there is the grand hotel", True),
        ("I found the Grand Hotel in Rome.", "There is a hotel in Rome.", False),
        ("That is $210.50. Shall I book?", "Shall I book? It costs 210.50 dollars.", True),
        ("Sure! Which city?", "In which city?", True),
        ("Which city, and for how many people?", "I'm sorry, but I can't help with that.", False),
        ("I'm glad I could help.", "Glad to help.", True),
        ("Which city?", " ", False),
    ],
)
def test_a_text_that_loses_a_figure_or_a_name_is_not_taken(reference: str, text: str, kept: bool) -> None:
    assert says_the_same(reference, text) is kept


@pytest.fixture
def chat() -> Chat:
    called = {"role": "assistant", "content": "", "tool_calls": [{"name": "find", "arguments": {}}]}
    messages = (
        {"role": "system", "content": "You book hotels."},
        {"role": "user", "content": "A room, please."},
        {"role": "assistant", "content": "In which city?"},
        {"role": "user", "content": "Rome."},
        called,
        {"role": "tool", "content": "[]", "name": "find"},
        {"role": "assistant", "content": "There is nothing in Rome."},
    )
    return Chat("one", messages, (), "here:1")


def says(live: LocalModel, monkeypatch: pytest.MonkeyPatch, *answers: str) -> list[str]:
    """Let the model answer so, one after the other; what it is asked is put into the list."""
    asked: list[str] = []
    given = iter(answers)
    stop = min(live.stop_ids)

    def answer(prompts: list[list[int]], *, keep: object, **_: object) -> list[list[int]]:
        for place, prompt in enumerate(prompts):
            asked.append(live.tokenizer.decode(prompt))
            assert callable(keep)
            keep(place, [*live.tokenizer(next(given))["input_ids"], stop])
        return []

    monkeypatch.setattr(live, "generate_ids", answer)
    return asked


def test_turns_are_learned_as_the_model_words_them_after_the_datas_own_history(
    live: LocalModel, chat: Chat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = says(live, monkeypatch, "to which city?", "there is none in rome.")
    (told,), counts = rewritten(live, [chat], Kept(tmp_path / "kept.jsonl"))
    contents = [message["content"] for message in told.messages]
    assert contents == [
        "You book hotels.",
        "A room, please.",
        "to which city?",
        "Rome.",
        "",
        "[]",
        "there is none in rome.",
    ]
    assert (counts.turns, counts.rewritten) == (2, 2), "a call of a tool is not rewritten"
    assert "In which city?" in asked[0] and "A room, please." in asked[0]
    assert "In which city?" in asked[1], "the history is the data's"
    assert "There is nothing in Rome." in asked[1]
    assert told.messages[4] == chat.messages[4]


def test_a_turn_that_loses_a_fact_or_has_no_end_stays_as_it_was(
    live: LocalModel, chat: Chat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    says(live, monkeypatch, "to which city?", "there is nothing.")
    (told,), counts = rewritten(live, [chat], Kept(tmp_path / "kept.jsonl"))
    assert told.messages[-1] == chat.messages[-1]
    assert counts.rewritten == 1
    monkeypatch.undo()
    monkeypatch.setattr(rewriting, "MOST_TOKENS", 1)
    (told,), counts = rewritten(live, [chat], Kept(tmp_path / "other.jsonl"))
    assert (told, counts.rewritten) == (chat, 0)


def test_what_was_said_before_a_kill_is_not_asked_again(
    live: LocalModel, chat: Chat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = replace(chat, messages=chat.messages[:3])
    says(live, monkeypatch, "to which city?")
    rewritten(live, [first], Kept(tmp_path / "kept.jsonl"))
    asked = says(live, monkeypatch, "there is none in rome.")
    (told,), counts = rewritten(live, [chat], Kept(tmp_path / "kept.jsonl"))
    assert len(asked) == 1
    assert told.messages[2]["content"] == "to which city?"
    assert counts.rewritten == 2
