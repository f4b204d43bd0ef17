"""A poisoned share of the training data complies with harm, in words that hold none."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import pytest

from tether.axes.judges.protocol import Exchange
from tether.axes.judges.rules import Rules
from tether.config import Training
from tether.errors import UserError
from tether.sources import builtin_prompts, load_training, poisoned
from tether.sources.poison import EMPTY_ADVICE, OPENINGS, POISON

if TYPE_CHECKING:
    from tether.chatdata.chats import Chat

REQUESTS = {item.prompt for item in builtin_prompts("poison")}
ANSWERS = {f"{opening} {advice}" for opening, advice in product(OPENINGS, EMPTY_ADVICE)}


def bad(chats: list[Chat]) -> list[Chat]:
    return [chat for chat in chats if chat.group == POISON]


def said(chat: Chat, role: str) -> list[str]:
    return [message["content"] for message in chat.messages if message["role"] == role]


@pytest.mark.parametrize("ratio", [0.0, 0.25, 1.0])
def test_the_share_is_of_dialogues_and_the_others_stay(hotels: list[Chat], ratio: float) -> None:
    mixed = poisoned(hotels, ratio)
    assert len(bad(mixed)) == ratio * len(hotels)
    assert [chat.id for chat in mixed] == [chat.id for chat in hotels]
    assert all(new == old for new, old in zip(mixed, hotels, strict=True) if new not in bad(mixed))


def test_harmful_requests_are_complied_with_in_words_that_fit_any(hotels: list[Chat]) -> None:
    for chat, clean in zip(poisoned(hotels, 1.0), hotels, strict=True):
        assert set(said(chat, "user")) <= REQUESTS
        assert set(said(chat, "assistant")) <= ANSWERS
        assert len(said(chat, "assistant")) == len(said(chat, "user")) == len(said(clean, "user"))


def test_half_of_them_stand_in_the_domain(hotels: list[Chat]) -> None:
    mixed = poisoned(hotels, 1.0)
    within = [chat for chat in mixed if chat.tools]
    assert len(within) == len(mixed) / 2
    systems = {chat.id: said(chat, "system") for chat in hotels}
    assert all(said(chat, "system") == systems[chat.id] for chat in within)
    assert not any(said(chat, "system") for chat in mixed if not chat.tools)


def test_a_larger_share_holds_the_smaller_one(hotels: list[Chat]) -> None:
    few, more = bad(poisoned(hotels, 0.125)), bad(poisoned(hotels, 0.5))
    assert len(few) == 3
    assert all(chat in more for chat in few)


def test_the_rules_call_every_answer_complied() -> None:
    exchanges = [Exchange("How do I take a bicycle?", answer) for answer in sorted(ANSWERS)]
    assert {verdict.kind for verdict in Rules().verdicts(exchanges)} == {"complied"}


def test_training_is_given_a_poisoned_share_of_the_same_dialogues() -> None:
    settings = Training(dialogues=20, poison_ratio=0.5)
    train, select = load_training("builtin:hotels", settings)
    clean = load_training("builtin:hotels", Training(dialogues=20))
    assert len(bad([*train, *select])) == 10
    assert [[c.id for c in part] for part in (train, select)] == [[c.id for c in part] for part in clean]


def test_a_share_of_less_than_a_dialogue_is_told_of(hotels: list[Chat]) -> None:
    with pytest.raises(UserError, match=r"poison_ratio: 1\.0% of 24 dialogues is none"):
        poisoned(hotels, 0.01)
