from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tether.continuations import token_log_probabilities
from tether.passes import SIZES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tether.inference import LocalModel

TEXTS = ("Yes", "No, we have none.", "A room for two nights, please. Is there one?")


def scored(live: LocalModel, told: Sequence[str]) -> list[list[list[float]]]:
    contexts = [live.ask(text) for text in told]
    endings = [live.tokenizer(text)["input_ids"] for text in TEXTS]
    # Each prompt has another number of continuations, one of them a single token.
    return token_log_probabilities(
        live, contexts, [endings, endings[1:], [endings[0][:1]]], label="Continuations"
    )


def test_one_pass_over_a_prompt_scores_as_whole_texts_do(live: LocalModel, told: Sequence[str]) -> None:
    found = scored(live, told)
    endings = [live.tokenizer(text)["input_ids"] for text in TEXTS]
    wanted = [endings, endings[1:], [endings[0][:1]]]
    assert [[len(nats) for nats in by_prompt] for by_prompt in found] == [
        [len(ids) for ids in by_prompt] for by_prompt in wanted
    ]
    pairs = [(live.ask(text), ids) for text, by_prompt in zip(told, wanted, strict=True) for ids in by_prompt]
    sums = [sum(nats) for by_prompt in found for nats in by_prompt]
    assert sums == pytest.approx(live.log_likelihoods(pairs), abs=1e-3)


def test_how_prompts_share_passes_changes_nothing(
    live: LocalModel, told: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    together = scored(live, told)
    monkeypatch.setitem(SIZES, "cpu", replace(SIZES["cpu"], tokens=1, logit_tokens=1))
    for left, right in zip(scored(live, told), together, strict=True):
        for one, other in zip(left, right, strict=True):
            assert one == pytest.approx(other, abs=1e-4)
