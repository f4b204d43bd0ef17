from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tether import bases
from tether.anchors.drift import answer_batch, answer_states, divergence, summarise
from tether.reading import shared_length

if TYPE_CHECKING:
    from tether.anchors.anchors import AnchorSet
    from tether.bases import Base

VOCABULARY = 30
SLACK = 2e-5  # of float32

logits = st.lists(st.floats(-8, 8, width=32), min_size=VOCABULARY, max_size=VOCABULARY).map(torch.tensor)


@given(logits, logits)
def test_it_is_the_divergence_of_the_base_from_the_tuned_model(
    before: torch.Tensor, after: torch.Tensor
) -> None:
    base, tuned = (torch.distributions.Categorical(logits=one.double()) for one in (before, after))
    wanted = float(torch.distributions.kl_divergence(base, tuned))
    assert float(divergence(before[None], after[None])) == pytest.approx(wanted, rel=1e-4, abs=SLACK)


@given(logits, st.floats(-3, 3, width=32))
def test_a_model_that_did_not_move_has_no_drift(same: torch.Tensor, shift: float) -> None:
    """Logits are known but for a constant."""
    assert float(divergence(same[None], same[None] + shift)) == pytest.approx(0.0, abs=SLACK)


def test_its_slope_leads_back_to_the_base() -> None:
    generator = torch.Generator().manual_seed(0)
    before = torch.randn(4, VOCABULARY, generator=generator)
    after = torch.randn(4, VOCABULARY, generator=generator, requires_grad=True)
    first = divergence(before, after).mean()
    optimizer = torch.optim.SGD([after], lr=1.0)
    for _ in range(300):
        optimizer.zero_grad()
        divergence(before, after).mean().backward()
        optimizer.step()
    assert divergence(before, after).mean() < first / 30


def test_answers_stand_behind_their_prompts(anchors: AnchorSet) -> None:
    picked = anchors.anchors[:3]
    ids, answer = answer_batch(picked)
    for row, anchor in enumerate(picked):
        assert ids[row, : len(anchor.prompt_ids)].tolist() == anchor.prompt_ids
        assert ids[row][answer[row]].tolist() == anchor.answer_ids


def test_what_all_prompts_begin_with_is_read_once(base: Base, anchors: AnchorSet) -> None:
    """And the states are those of each answer read alone."""
    model = bases.load_model(base, torch.float32)
    general = [anchors.anchors[index] for index in anchors.indices("general", "certify")]
    shared = shared_length([anchor.prompt_ids for anchor in general])
    assert shared > 0
    read = 0

    def count(module: torch.nn.Module, inputs: tuple[torch.Tensor]) -> None:
        nonlocal read
        read += inputs[0].numel()

    with model.get_input_embeddings().register_forward_pre_hook(count):
        together = answer_states(model, general, label="")
    longest = max(len(anchor.prompt_ids) + len(anchor.answer_ids) for anchor in general)
    assert read <= shared + len(general) * (longest - shared)
    for anchor, states in zip(general, together, strict=True):
        assert torch.allclose(states, answer_states(model, [anchor], label="")[0], atol=1e-5)


def test_the_interval_resamples_prompts() -> None:
    alike = summarise([torch.full((8,), 0.1)] * 20)
    assert alike.upper95 == pytest.approx(alike.drift) == pytest.approx(0.1)
    unlike = summarise([torch.full((8,), 0.2 * (index % 2)) for index in range(20)])
    assert unlike.drift == pytest.approx(0.1)
    assert 0.12 < unlike.upper95 < 0.17  # 0.1 + 1.96 * 0.1 / sqrt(20) = 0.144
    assert unlike.prompt_p95 == pytest.approx(0.2)


def test_long_answers_count_by_their_tokens_and_beginnings_apart() -> None:
    long = torch.cat([torch.full((5,), 0.5), torch.zeros(25)])
    group = summarise([long, torch.full((2,), 0.5)])
    assert group.drift == pytest.approx(3.5 / 32)
    assert group.first5 == pytest.approx(0.5)
