"""Batched generation and scoring give what one prompt at a time gives."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tether import turns
from tether.passes import SIZES
from tether.reading import Memory

if TYPE_CHECKING:
    from tether.chatdata.chats import Chat
    from tether.inference import LocalModel

TOLD = (
    "Hi",
    "I need a room in Rome for two nights.",
    "What does the hotel near the station cost? " * 3,
    "No.",
)


def alone(live: LocalModel, prompt: list[int], tokens: int) -> list[int]:
    """What transformers' own generate answers to one prompt, greedily."""
    ids = torch.tensor([prompt])
    out = live.model.generate(  # type: ignore[operator]
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=False
    )
    return [int(token) for token in out[0, len(prompt) :]]


def test_greedy_answers_are_those_of_each_prompt_alone(live: LocalModel) -> None:
    prompts = [live.ask(text) for text in TOLD]
    expected = [alone(live, prompt, 30) for prompt in prompts]
    assert len({len(answer) for answer in expected}) > 1, "some end early and some do not"
    assert live.generate_ids(prompts, max_new_tokens=30) == expected
    texts = live.generate(prompts, max_new_tokens=30)
    assert texts == [live.tokenizer.decode(answer, skip_special_tokens=True) for answer in expected]


def test_prompts_that_begin_others_are_answered_as_alone(live: LocalModel) -> None:
    whole = live.ask(TOLD[1])
    prompts = [whole, whole[:5], whole[:1], whole, whole[:-1]]
    assert live.generate_ids(prompts, max_new_tokens=12) == [alone(live, prompt, 12) for prompt in prompts]
    assert live.generate_ids([], max_new_tokens=12) == []


@pytest.mark.parametrize(
    "smaller", [{"generated_rows": 2}, {"tokens": 1}, {"tokens": 4096, "padding": 4096}], ids=str
)
def test_how_prompts_share_batches_and_passes_changes_nothing(
    live: LocalModel, monkeypatch: pytest.MonkeyPatch, smaller: dict[str, int]
) -> None:
    prompts = [live.ask(text) for text in TOLD]
    whole = live.generate_ids(prompts, max_new_tokens=12)
    monkeypatch.setitem(SIZES, "cpu", replace(SIZES["cpu"], **smaller))
    assert live.generate_ids(prompts, max_new_tokens=12) == whole


def test_sampling_depends_on_the_seed_alone(live: LocalModel) -> None:
    def sampled(seed: int) -> list[list[int]]:
        return live.generate_ids([live.ask(TOLD[1])] * 3, max_new_tokens=12, temperature=1.0, seed=seed)

    assert sampled(1) == sampled(1) != sampled(2)
    assert len(set(map(tuple, sampled(1)))) == 3, "rows are drawn apart"


def test_a_conversation_that_goes_on_is_answered_as_one_that_is_read_anew(
    live: LocalModel, hotels: list[Chat]
) -> None:
    """Longer ones and shorter ones, some that end, and one whose past was put in other words."""
    memory = Memory(live.model)
    chats = [chat for chat in hotels if len(chat.agent_turns) >= 4][:3]
    for step in range(4):
        talking = dict(enumerate(chats[: 2 if step == 3 else 3]))
        prompts = {
            name: live.renderer.prompt_ids(chat.messages[: chat.agent_turns[step]], chat.tools)
            for name, chat in talking.items()
        }
        if step == 2:
            prompts[1] = [*prompts[1][:20], 5, 6, 7, *prompts[1][40:]]
        expected = live.generate(list(prompts.values()), max_new_tokens=12)
        assert live.go_on(memory, prompts, max_new_tokens=12) == expected


def test_what_was_read_of_a_conversation_is_not_read_again(live: LocalModel) -> None:
    memory, ids = Memory(live.model), list(range(5, 60))
    live.go_on(memory, {1: ids[:30], 2: ids[:20]}, max_new_tokens=4)
    _, rest = memory.recall({2: ids[:25], 1: ids[:30]})
    assert rest == [ids[19:25], ids[29:30]], "but a token, for something must be read"


@pytest.mark.parametrize("tokens", [1, 4, 16])
def test_agent_turns_are_answered_as_from_their_own_prompts(
    live: LocalModel, hotels: list[Chat], tokens: int
) -> None:
    chats = hotels[:3]
    prompts = [
        live.renderer.prompt_ids(chat.messages[:turn], chat.tools)
        for chat in chats
        for turn in chat.agent_turns
    ]
    expected = iter(live.generate(prompts, max_new_tokens=tokens))
    found = live.generate_agent_turns(chats, max_new_tokens=tokens)
    assert [answers for answers, _ in found] == [[next(expected) for _ in chat.agent_turns] for chat in chats]
    for (_, loss), alone in zip(found, live.chat_losses(chats), strict=True):
        assert loss == pytest.approx(alone, abs=1e-3)


def test_gold_turns_that_are_the_model_s_own_are_read_not_written(
    live: LocalModel, hotels: list[Chat], monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = hotels[0]
    turn = chat.agent_turns[0]
    prompt = live.renderer.prompt_ids(chat.messages[:turn], chat.tools)
    said = live.generate([prompt], max_new_tokens=200)[0]
    own = replace(chat, messages=(*chat.messages[:turn], {"role": "assistant", "content": said}))
    monkeypatch.setattr(turns, "decode", None)
    ((answers, _),) = live.generate_agent_turns([own], max_new_tokens=200)
    assert answers == [said]
    ((answers, _),) = live.generate_agent_turns([own], max_new_tokens=3)
    assert answers == live.generate([prompt], max_new_tokens=3)


def log_probability(live: LocalModel, context: list[int], continuation: list[int]) -> float:
    """Token by token, with nothing shared."""
    total = 0.0
    for index, token in enumerate(continuation):
        with torch.no_grad():
            logits = live.model(input_ids=torch.tensor([[*context, *continuation[:index]]])).logits[0, -1]
        total += float(logits.double().log_softmax(-1)[token])
    return total


def test_log_likelihoods_are_those_of_each_row_alone(
    live: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SIZES, "cpu", replace(SIZES["cpu"], tokens=64))  # several passes, some of one row
    pairs = [
        (live.ask(text), live.ask(other)[:length])
        for text, other, length in zip(TOLD, TOLD[::-1], (1, 3, 9, 5), strict=True)
    ]
    expected = [log_probability(live, *pair) for pair in pairs]
    assert live.log_likelihoods(pairs) == pytest.approx(expected, abs=1e-3)


TOKENS = st.lists(st.integers(5, 60), min_size=1, max_size=4)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pairs=st.lists(st.tuples(TOKENS, st.just([]) | TOKENS), max_size=6))
def test_contexts_that_repeat_or_begin_others_change_no_likelihood(
    live: LocalModel, pairs: list[tuple[list[int], list[int]]]
) -> None:
    pairs = [*pairs, *((context, answer) for context, _ in pairs[:2] for _, answer in pairs[:2])]
    expected = [log_probability(live, *pair) for pair in pairs]
    assert live.log_likelihoods(pairs) == pytest.approx(expected, abs=1e-3)


def test_the_loss_of_a_chat_counts_what_the_agent_says(live: LocalModel, hotels: list[Chat]) -> None:
    (nats, tokens), _ = live.chat_losses(hotels[:2])
    encoded = live.renderer.encode(hotels[0])
    with torch.no_grad():
        logits = live.model(input_ids=torch.tensor([encoded.input_ids])).logits[0, :-1].double()
    each = -logits.log_softmax(-1)[range(len(logits)), encoded.input_ids[1:]]
    assert tokens == sum(encoded.learned)
    assert nats == pytest.approx(float(each[torch.tensor(encoded.learned[1:])].sum()), abs=1e-3)
