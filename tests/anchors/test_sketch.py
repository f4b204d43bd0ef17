"""Second moments that are kept whole, and those of which a sketch is: one computes as the other."""

from __future__ import annotations

import pytest
import torch
from drawn_moments import drawn_moment, sketched
from hypothesis import given
from hypothesis import strategies as st

from tether.anchors.sketch import Moment, add, opened

WIDTH, COLUMNS = 40, 12
seeds = st.integers(0, 1000)


def kinds(moment: torch.Tensor) -> tuple[Moment, Moment]:
    """Whole, and of a sketch that shows all of it."""
    return opened(moment), opened(sketched(moment, COLUMNS))


@given(seeds, st.integers(1, 8))
def test_a_sketch_that_is_wide_enough_computes_as_the_whole(seed: int, rank: int) -> None:
    moment, other = (drawn_moment(WIDTH, rank, seed + place) for place in (0, 7))
    rows = torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(seed)).double()
    (whole, seen), (other_whole, other_seen) = kinds(moment), kinds(other)
    size = float(moment.trace() + other.trace())
    assert torch.allclose(seen.diagonal, whole.diagonal, atol=1e-5 * size)
    assert torch.allclose(seen.dense(), whole.dense(), atol=1e-4 * size)
    assert torch.allclose(seen.times(rows), whole.times(rows), atol=1e-3 * size)
    for one, two in ((whole, other_whole), (seen, other_seen)):
        sum_of = one.plus(two, 3.0).lifted(0.1 * size)
        solved = sum_of.solver()(rows.T)
        assert torch.allclose(sum_of.dense() @ solved, rows.T, atol=1e-8)
    both, both_seen = whole.plus(other_whole, 3.0), seen.plus(other_seen, 3.0)
    assert torch.allclose(both_seen.dense(), both.dense(), atol=1e-3 * size)


@given(seeds)
def test_what_a_narrow_sketch_shows_is_nowhere_too_much_and_its_diagonal_is_exact(seed: int) -> None:
    moment = drawn_moment(WIDTH, WIDTH, seed)
    seen = opened(sketched(moment, COLUMNS))
    assert torch.allclose(seen.diagonal, moment.diagonal().double(), rtol=1e-4)
    left_out = moment.double() - (seen.dense() - seen.lifted(0.0).rest.diag())  # type: ignore[attr-defined]
    assert torch.linalg.eigvalsh(left_out)[0] >= -1e-5 * float(moment.trace())


def test_a_sketch_shows_what_is_strong() -> None:
    """Of energies that fall as those of a layer's inputs do, more than the diagonal alone."""
    turn = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(0))).Q
    moment = turn * (torch.arange(WIDTH) + 1.0) ** -1.5 @ turn.T
    missed, missed_by_diagonal = (
        float((one - moment.double()).norm())
        for one in (opened(sketched(moment, COLUMNS)).dense(), moment.diagonal().double().diag())
    )
    assert missed < missed_by_diagonal / 5


def test_sketches_are_added_and_averaged_as_moments_are() -> None:
    first, second = torch.randn(2, 50, WIDTH, generator=torch.Generator().manual_seed(0))
    step_by_step = torch.zeros(WIDTH, COLUMNS + 1)
    add(step_by_step, first)
    add(step_by_step, second)
    moments = first.T @ first, second.T @ second
    assert torch.allclose(step_by_step, sketched(sum(moments), COLUMNS), rtol=1e-4, atol=1e-2)
    mean = sum(sketched(one, COLUMNS) for one in moments) / 2
    assert torch.allclose(mean, step_by_step / 2, rtol=1e-4, atol=1e-2)


def test_a_sketch_of_no_columns_is_the_diagonal() -> None:
    moment = drawn_moment(WIDTH, 8, 0)
    assert torch.equal(opened(sketched(moment, 0)).dense(), moment.diagonal().double().diag())


@pytest.mark.parametrize("kind", [0, 1])
def test_the_least_directions_have_next_to_no_energy(kind: int) -> None:
    moment = drawn_moment(WIDTH, 8, 0)
    least = kinds(moment)[kind].least(4)
    assert torch.allclose(least @ least.T, torch.eye(4).double(), atol=1e-8)
    assert float((least @ moment.double() @ least.T).trace()) < 1e-4 * float(moment.trace())
