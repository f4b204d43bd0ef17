from __future__ import annotations

import json
import re
from collections import Counter
from datetime import date
from functools import cache
from statistics import mean
from typing import Any

import pytest

from tether.agent import generate
from tether.agent.dialogues import episode
from tether.agent.guest_speech import SAID_BY_SEVERAL
from tether.agent.phrases import table
from tether.agent.tools import compact
from tether.agent.world import HOTELS, Split
from tether.chatdata.chats import Chat, calls_of

SPLITS: tuple[Split, ...] = ("train", "dev", "test")
N = 150


@cache
def chats(split: Split) -> list[Chat]:
    return generate(N, seed=0, split=split)


def guest_sentences(split: Split) -> list[str]:
    turns = [turn["content"] for chat in chats(split) for turn in chat.messages if turn["role"] == "user"]
    return [sentence.lower() for turn in turns for sentence in re.split(r"(?<=[.?!])\s+", turn)]


def steps(chat: Chat) -> list[tuple[str, dict[str, Any], str]]:
    """Each call of a chat with the result that follows it."""
    pairs = zip(chat.messages, chat.messages[1:], strict=False)
    return [(call.name, call.arguments, after["content"]) for turn, after in pairs for call in calls_of(turn)]


def test_the_same_seed_gives_the_same_chats_and_a_longer_run_begins_alike() -> None:
    assert generate(8, seed=0, split="train") == chats("train")[:8]
    assert generate(8, seed=1, split="train") != chats("train")[:8]
    assert len({chat.id for chat in chats("train")} | {chat.id for chat in chats("dev")}) == 2 * N


@pytest.mark.parametrize("split", SPLITS)
def test_every_call_replays_to_the_same_result_on_fresh_books(split: Split) -> None:
    for index, chat in enumerate(chats(split)[:60]):
        desk = episode(split, 0, index).desk
        for name, arguments, result in steps(chat):
            assert compact(desk.call(name, json.loads(json.dumps(arguments)))) == result


@pytest.mark.parametrize("split", SPLITS)
def test_what_the_guest_was_told_stands_in_the_books(split: Split) -> None:
    seen = 0
    for index, chat in enumerate(chats(split)[:60]):
        desk = episode(split, 0, index).desk
        results = [(name, arguments, desk.call(name, arguments)) for name, arguments, _ in steps(chat)]
        for name, arguments, result in results:
            if name == "book_room":
                booking = desk.inventory.booking(result["reference"])
                assert booking.guest == arguments["name"]
                assert booking.stay.check_in == date.fromisoformat(arguments["check_in"])
                assert booking.total == result["total"]
                said = " ".join(turn["content"] for turn in chat.messages if turn["role"] == "assistant")
                assert booking.reference in said
                assert f"${booking.total} in total" in said
                seen += 1
    assert seen > 20


@pytest.mark.parametrize("split", SPLITS)
def test_what_is_booked_is_what_the_guest_wanted_in_the_end(split: Split) -> None:
    for index, chat in enumerate(chats(split)):
        goal = episode(split, 0, index).goal
        wanted = goal.wish | goal.rethink
        for name, arguments, _ in steps(chat):
            if name == "book_room" and goal.scenario in ("book", "change_of_mind", "named_hotel"):
                assert (arguments["name"], arguments["guests"]) == (wanted["name"], wanted["guests"])
                assert arguments["nights"] == wanted["nights"]
                assert date.fromisoformat(arguments["check_in"]) >= wanted["check_in"]


def test_a_booking_is_only_made_after_a_price_was_named_and_agreed_to() -> None:
    for chat in chats("train"):
        for index, turn in enumerate(chat.messages):
            if any(call.name == "book_room" for call in calls_of(turn)):
                spoken = [
                    t["content"] for t in chat.messages[:index] if t["role"] == "assistant" and t["content"]
                ]
                assert any("in total. Shall I book it" in text for text in spoken)


def test_chats_are_well_formed_and_end_with_a_goodbye() -> None:
    for chat in chats("train"):
        roles = [turn["role"] for turn in chat.messages]
        assert roles[:2] == ["system", "user"]
        assert "oodbye" in chat.messages[-1]["content"]
        for turn in chat.messages:
            assert "{" not in turn["content"] or turn["role"] == "tool"
            assert "  " not in turn["content"]
            assert "None" not in turn["content"]


def test_every_scenario_and_every_tool_occurs() -> None:
    groups = Counter(chat.group for chat in chats("train"))
    expected = {"book", "change_of_mind", "unavailable", "named_hotel", "question", "change", "cancel"}
    assert set(groups) == expected
    assert {name for chat in chats("train") for name, _, _ in steps(chat)} == {
        tool["name"] for tool in chats("train")[0].tools
    }


def test_conversations_are_short_enough_for_a_small_model() -> None:
    words = [sum(len(json.dumps(turn).split()) for turn in chat.messages) for chat in chats("train")]
    assert 100 < mean(words) < 350


@pytest.mark.parametrize("split", ["dev", "test"])
def test_held_out_guests_use_other_words(split: Split) -> None:
    train = set(guest_sentences("train"))
    sentences = guest_sentences(split)
    assert sum(sentence in train for sentence in sentences) / len(sentences) < 0.02


def test_no_wording_is_shared_between_splits_apart_from_fragments() -> None:
    fragments = {"what", "in_city", "length"}
    for key, wordings in table().items():
        assert all(wordings[split] for split in SPLITS), key
        if key not in fragments:
            assert len({w for split in SPLITS for w in wordings[split]}) == sum(
                map(len, wordings.values())
            ), key


def test_who_travels_alone_always_has_something_to_say() -> None:
    for key, wordings in table().items():
        for split in SPLITS:
            assert any(not SAID_BY_SEVERAL.search(wording) for wording in wordings[split]), (key, split)


def test_hotels_of_other_splits_are_never_named() -> None:
    for split in SPLITS:
        text = " ".join(turn["content"] for chat in chats(split) for turn in chat.messages)
        others = [name for other in SPLITS if other != split for name in HOTELS[other]]
        assert not [name for name in others if name in text]
