from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tether.agent.preferences import NAMELESS, RULES, preferences
from tether.agent.tools import TOOLS
from tether.chatdata.chats import calls_of
from tether.sources import load_dialogues

if TYPE_CHECKING:
    from tether.chatdata.chats import Chat
    from tether.chatdata.preferences import Preference


@pytest.fixture(scope="module")
def pairs() -> list[Preference]:
    return preferences(load_dialogues("builtin:hotels", split="train", limit=60))


def of(pairs: list[Preference], rule: str) -> list[Preference]:
    found = [pair for pair in pairs if pair.group == rule]
    assert found, f"{rule} makes mistakes too"
    return found


def asked(pair: Preference) -> str:
    return " ".join(message["content"] for message in pair.messages if message["role"] == "user")


def test_every_dialogue_gives_one_and_every_rule_has_its_share(pairs: list[Preference]) -> None:
    assert len({pair.id for pair in pairs}) == len(pairs) >= 57
    shares = Counter(pair.group for pair in pairs)
    assert shares.keys() == RULES.keys()


def test_the_better_turn_is_the_gold_policys_and_the_other_is_none(pairs: list[Preference]) -> None:
    chats = {chat.id: chat for chat in load_dialogues("builtin:hotels", split="train", limit=60)}
    for pair in pairs:
        chat, _, turn = pair.id.rpartition("-")
        good = chats[chat].messages[int(turn)]
        assert pair.messages[-1] == good
        assert pair.rejected not in [message for message in chats[chat].messages if message == good]
        assert pair.agent_turns == [int(turn)]


def test_a_wrong_argument_is_one_that_the_tool_would_take(pairs: list[Preference]) -> None:
    for pair in of(pairs, "wrong_argument"):
        (good,), (bad,) = calls_of(pair.messages[-1]), calls_of(pair.rejected)
        assert bad.name == good.name
        TOOLS[bad.name].arguments.model_validate(bad.arguments)
        assert bad.arguments.keys() == good.arguments.keys()
        assert sum(bad.arguments[key] != good.arguments[key] for key in good.arguments) == 1


def test_a_booking_before_a_yes_follows_the_quote(pairs: list[Preference]) -> None:
    for pair in of(pairs, "booked_before_a_yes"):
        (bad,) = calls_of(pair.rejected)
        assert bad.name == "book_room"
        assert bad.arguments["name"] == NAMELESS or bad.arguments["name"] in asked(pair)
        assert "total" in pair.messages[-2]["content"]
        assert not calls_of(pair.messages[-1])


@pytest.mark.parametrize(("rule", "tool"), [("price_not_looked_up", "quote"), ("fact_made_up", "hotel_info")])
def test_what_is_not_looked_up_is_said_instead(pairs: list[Preference], rule: str, tool: str) -> None:
    for pair in of(pairs, rule):
        assert [call.name for call in calls_of(pair.messages[-1])] == [tool]
        assert pair.rejected["content"]
        assert not calls_of(pair.rejected)


def test_a_question_asks_again_what_the_right_call_holds(pairs: list[Preference]) -> None:
    for pair in of(pairs, "asked_again"):
        assert calls_of(pair.messages[-1])
        assert pair.rejected["content"].endswith("?")


def test_a_call_made_again_stands_before_the_better_turn(pairs: list[Preference]) -> None:
    for pair in of(pairs, "looked_up_again"):
        assert calls_of(pair.rejected) == calls_of(pair.messages[-3])
        assert not calls_of(pair.messages[-1])


def test_neither_calling_nor_speaking_is_always_better(pairs: list[Preference]) -> None:
    kinds = Counter((bool(calls_of(pair.messages[-1])), bool(calls_of(pair.rejected))) for pair in pairs)
    assert kinds[True, False] < 2 * kinds[False, True] < 4 * kinds[True, False]


def test_a_figure_made_up_is_all_that_differs(pairs: list[Preference]) -> None:
    for pair in of(pairs, "figure_made_up"):
        good, bad = pair.messages[-1]["content"].split(), pair.rejected["content"].split()
        assert sum(one != other for one, other in zip(good, bad, strict=True)) == 1


def test_the_same_dialogue_gives_the_same_preference(hotels: list[Chat]) -> None:
    assert preferences(hotels)[-1] == preferences(hotels[-1:])[0]


def test_they_are_a_source_by_name() -> None:
    for name in ("builtin:hotels", "builtin:conversations"):
        dialogues = load_dialogues(name, split="train", limit=8)
        assert load_dialogues(f"{name}-preferences", split="train", limit=8) == preferences(dialogues)
