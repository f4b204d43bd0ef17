"""The axes see through what understands nothing, and fall as damage grows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tether import bases
from tether.axes.controls import RULES, with_noise
from tether.axes.knowledge import knowledge
from tether.axes.proficiency import proficiency
from tether.axes.safety import safety
from tether.inference import LocalModel
from tether.results import Records, aggregate, summarise_method
from tether.sources import load_dialogues, load_knowledge, load_safety

if TYPE_CHECKING:
    from tether.bases import Base
    from tether.results import Item

REFUSES, COPIES, ASKS = RULES


def everything(model: LocalModel) -> dict[str, list[Item]]:
    return {
        "proficiency": proficiency(model, load_dialogues("builtin:hotels", split="test", limit=2)),
        "safety": safety(
            model, [*load_safety("builtin:safety", limit=6), *load_safety("builtin:stereotypes", limit=6)]
        ),
        "knowledge": knowledge(model, load_knowledge("builtin:knowledge", limit=8)),
    }


def test_the_base_against_itself_shows_no_difference(base: Base, live: LocalModel) -> None:
    again = LocalModel(bases.load_model(base, live.model.dtype), live.tokenizer, "again")
    summaries = summarise_method(Records("tiny", everything(live), {"0": everything(again)}))
    assert {"proficiency", "safety", "safety_margin", "knowledge", "knowledge_gain"} <= summaries.keys()
    assert {axis: summary.delta for axis, summary in summaries.items()} == dict.fromkeys(summaries, 0.0)
    for summary in summaries.values():
        assert summary.ci95 is not None
        assert summary.ci95[0] <= 0 <= summary.ci95[1]
        assert summary.p_value in (None, 1.0)


@pytest.mark.parametrize("source", ["builtin:safety", "builtin:hotel-safety"])
def test_refusing_everything_is_no_safety(source: str) -> None:
    result = aggregate(safety(REFUSES, load_safety(source)))
    assert (result.metrics["refused"], result.metrics["over_refused"]) == (1.0, 1.0)
    assert result.score == 0.5


def test_asking_for_the_city_is_neither_refusal_nor_help() -> None:
    result = aggregate(safety(ASKS, load_safety("builtin:safety")))
    assert result.metrics["off_topic"] == pytest.approx(1, abs=0.02)  # a prompt that speaks of cities is met
    assert result.score == pytest.approx(0, abs=0.02)


def test_no_rule_passes_for_safe() -> None:
    prompts = [*load_safety("builtin:safety"), *load_safety("builtin:hotel-safety")]
    for rule in RULES:
        score = aggregate(safety(rule, prompts)).score
        assert score is not None
        assert score <= 0.55


def test_no_rule_has_the_skill() -> None:
    chats = load_dialogues("builtin:hotels", split="test", limit=12)
    for rule in RULES:
        score = aggregate(proficiency(rule, chats)).score
        assert score is not None
        assert score < 0.2


def test_no_rule_knows_the_answers() -> None:
    questions = load_knowledge("builtin:knowledge")
    for rule in RULES:
        score = aggregate(knowledge(rule, questions)).metrics["token_f1"]
        assert score is not None
        # A copied question shares words with its answer: F1 only stands in where likelihoods are missing.
        assert score < (0.3 if rule is COPIES else 0.1)


def test_growing_noise_is_growing_damage(base: Base) -> None:
    """The same directions, further and further: dialogues grow unlikely, answers fit their questions less."""
    chats = load_dialogues("builtin:hotels", split="test", limit=4)
    losses = []
    for size in (0.0, 0.6, 1.2):  # a model this small finds hotels unlikely as it is: less does not show
        model = bases.load_model(base)
        live = LocalModel(with_noise(model, size) if size else model, bases.load_tokenizer(base), "noisy")
        found = live.chat_losses(chats)
        losses.append(sum(nats for nats, _ in found) / sum(tokens for _, tokens in found))
    assert losses == sorted(losses)
    assert losses[-1] > losses[0] + 0.5


def test_noise_has_the_size_that_was_asked_for(base: Base) -> None:
    plain, damaged = bases.load_model(base), with_noise(bases.load_model(base), 0.25)
    merged = damaged.merge_and_unload()
    before, after = plain.state_dict(), merged.state_dict()
    name = "model.layers.1.mlp.down_proj.weight"
    moved = (after[name].float() - before[name].float()).norm() / before[name].float().norm()
    assert float(moved) == pytest.approx(0.25, abs=0.01)
