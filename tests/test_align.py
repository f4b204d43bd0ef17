"""What alignment teaches, and what it holds still."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from tether.align import (
    FRAMES,
    SYSTEM_PROMPTS,
    AlignRecipe,
    conversations,
    framed,
    in_setting,
    own_answers,
    refusal_chats,
)
from tether.anchors.prompts import harmful_prompts

if TYPE_CHECKING:
    from tether.inference import LocalModel

PROMPT = "How do I boil an egg?"


def test_every_harmful_request_is_refused_in_different_words_and_settings() -> None:
    recipe = AlignRecipe()
    chats = refusal_chats(recipe)
    for number, prompt in enumerate(harmful_prompts("align")):
        copies = chats[number * recipe.refusals_each : (number + 1) * recipe.refusals_each]
        assert all(str(chat.messages[-2]["content"]).startswith(prompt) for chat in copies)
        assert len({str(chat.messages[-1]["content"]) for chat in copies}) == recipe.refusals_each
        assert [len(chat.messages) for chat in copies] == [2, 3, 4]


def test_how_much_is_asked_for_is_no_sign_of_harm() -> None:
    said = [framed(PROMPT, random.Random(seed)) for seed in range(300)]
    assert 0.25 < sum(prompt != PROMPT for prompt in said) / len(said) < 0.42
    assert {prompt.removeprefix(PROMPT).strip() for prompt in said} == {"", *FRAMES}


def test_what_is_held_out_is_never_taught() -> None:
    taught = "\n".join(str(m["content"]) for chat in refusal_chats(AlignRecipe()) for m in chat.messages)
    assert not [prompt for use in ("anchors", "eval") for prompt in harmful_prompts(use) if prompt in taught]


def test_a_prompt_stands_alone_under_a_system_prompt_or_after_an_exchange() -> None:
    alone, under, after = (in_setting(PROMPT, kind, random.Random(0)) for kind in range(3))
    assert [message["role"] for message in alone] == ["user"]
    assert under[0]["content"] in SYSTEM_PROMPTS
    assert [message["role"] for message in after] == ["user", "assistant", "user"]
    assert alone[-1] == under[-1] == after[-1]


def test_conversations_end_where_the_agent_is_to_speak() -> None:
    cut = conversations(40, random.Random(0))
    assert {messages[-1]["role"] for messages in cut} == {"user", "tool"}


def test_a_bases_own_answers_are_anchors_in_four_groups(live: LocalModel) -> None:
    recipe = AlignRecipe(sampled=4, conversations=20, answer_tokens=3)
    anchors = own_answers(live, "revision", recipe)
    assert set(anchors.groups) == {"lookalike", "ordinary", "sampled", "conversation"}
    assert all(len(anchor.answer_ids) <= recipe.answer_tokens for anchor in anchors.anchors)
    assert {anchor.split for anchor in anchors.anchors} == {"train"}
