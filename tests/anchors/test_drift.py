from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tether.anchors.drift import answer_batch, bucketed_drift, cached_drifts

if TYPE_CHECKING:
    from tether.anchors.anchors import AnchorSet
    from tether.inference import LocalModel

VOCABULARY = 30
SLACK = 2e-5  # of float32, and of the bucket that is never quite empty

logits = st.lists(st.floats(-8, 8, width=32), min_size=VOCABULARY, max_size=VOCABULARY).map(torch.tensor)


def divergence(before: torch.Tensor, after: torch.Tensor) -> float:
    before, after = before.double().log_softmax(-1), after.double().log_softmax(-1)
    return float((before.exp() * (before - after)).sum())


def bucketed(before: torch.Tensor, after: torch.Tensor, k: int) -> float:
    top = before.log_softmax(-1).topk(k)
    return float(bucketed_drift(after[None], top.indices[None], top.values[None]))


@given(logits, logits, st.integers(1, VOCABULARY - 1))
def test_the_bucket_only_hides_drift(before: torch.Tensor, after: torch.Tensor, k: int) -> None:
    assert -SLACK <= bucketed(before, after, k) <= divergence(before, after) + SLACK


@given(logits, st.integers(1, VOCABULARY - 1))
def test_a_model_that_did_not_move_has_no_drift(same: torch.Tensor, k: int) -> None:
    assert bucketed(same, same, k) == pytest.approx(0.0, abs=SLACK)


def test_the_more_is_kept_the_less_is_hidden() -> None:
    generator = torch.Generator().manual_seed(0)
    before, after = torch.randn(2, VOCABULARY, generator=generator) * 3
    seen = [bucketed(before, after, k) for k in (1, 5, 20, VOCABULARY - 1)]
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(divergence(before, after), rel=1e-3)


def test_its_slope_leads_back_to_the_base() -> None:
    generator = torch.Generator().manual_seed(0)
    before = torch.randn(4, VOCABULARY, generator=generator)
    top = before.log_softmax(-1).topk(5)
    after = torch.randn(4, VOCABULARY, generator=generator, requires_grad=True)
    first = bucketed_drift(after, top.indices, top.values).mean()
    optimizer = torch.optim.SGD([after], lr=1.0)
    for _ in range(300):
        optimizer.zero_grad()
        bucketed_drift(after, top.indices, top.values).mean().backward()
        optimizer.step()
    assert bucketed_drift(after, top.indices, top.values).mean() < first / 50


def test_answers_stand_behind_their_prompts(anchors: AnchorSet) -> None:
    picked = anchors.anchors[:3]
    ids, answer = answer_batch(picked, pad_id=0)
    for row, anchor in enumerate(picked):
        assert ids[row, : len(anchor.prompt_ids)].tolist() == anchor.prompt_ids
        assert ids[row][answer[row]].tolist() == anchor.answer_ids


def test_the_cache_is_what_the_base_thought(live: LocalModel, anchors: AnchorSet) -> None:
    indices = anchors.indices("safety", "train")
    drifts = cached_drifts(live.model, anchors, indices, pad_id=0)
    assert [len(drift) for drift in drifts] == [len(anchors.anchors[i].answer_ids) for i in indices]
    assert torch.cat(drifts).abs().max() < 0.01  # the cache was made in bfloat16, this model is float32
