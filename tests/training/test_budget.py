from __future__ import annotations

import math
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from tether.training.budget import LARGEST, SMALLEST, Budget

if TYPE_CHECKING:
    from pathlib import Path


def budget(epsilon: float = 0.02, memory: float = 0.0) -> Budget:
    return Budget({"general": epsilon}, start=1.0, rate=0.15, memory=memory, aim=0.7)


@given(st.floats(1e-4, 1.0), st.floats(0.0, 10.0))
def test_the_multiplier_rises_above_the_aim_and_falls_below(epsilon: float, drift: float) -> None:
    kept = budget(epsilon)
    kept.observe(0, {"general": drift})
    value, aim = kept.weights()["general"], 0.7 * epsilon
    assert (value > 1) == (drift > aim) or value == 1
    assert 0.86 < value < 1.17  # one noisy batch cannot throw it


def test_it_stays_within_its_bounds() -> None:
    kept = budget()
    for step in range(200):
        kept.observe(step, {"general": 5.0})
    assert kept.weights()["general"] == LARGEST
    for step in range(200, 500):
        kept.observe(step, {"general": 0.0})
    assert kept.weights()["general"] == SMALLEST


def test_drift_is_averaged_over_measurements() -> None:
    kept = budget(memory=0.5)
    for step, drift in enumerate((0.04, 0.0)):
        kept.observe(step, {"general": drift})
    assert kept.groups["general"].drift == 0.02
    assert [(step, drift) for step, drift, _ in kept.groups["general"].curve] == [(0, 0.04), (1, 0.0)]


@given(st.integers(1, 20), st.floats(0.0, 1.0))
def test_what_is_looked_at_rarely_moves_as_far_by_step(every: int, drift: float) -> None:
    """Of a drift that stays: the multiplier is where looks at every step would have brought it."""
    rarely, often = budget(memory=0.9), budget(memory=0.9)
    rarely.observe(0, {"general": drift})
    rarely.observe(every, {"general": drift})
    for step in range(every + 1):
        often.observe(step, {"general": drift})
    assert math.isclose(rarely.weights()["general"], often.weights()["general"])


def test_old_drift_is_forgotten_by_the_step() -> None:
    kept = budget(memory=0.5)
    kept.observe(0, {"general": 0.08})
    kept.observe(2, {"general": 0.0})
    assert kept.groups["general"].drift == 0.02


def test_it_settles_where_the_drift_is_what_was_aimed_at() -> None:
    """A model whose drift is inverse to the pull: the multiplier finds the pull that fits the budget."""
    kept = budget(0.05)
    for step in range(400):
        kept.observe(step, {"general": 0.1 / kept.weights()["general"]})
    assert abs(0.1 / kept.weights()["general"] - 0.035) < 5e-4


def test_it_goes_on_from_a_file(tmp_path: Path) -> None:
    kept, again = budget(), budget()
    kept.observe(0, {"general": 1.0})
    kept.save(tmp_path / "budget.json")
    again.load(tmp_path / "budget.json")
    kept.observe(5, {"general": 0.5})
    again.observe(5, {"general": 0.5})
    assert again.weights() == kept.weights()
    assert list(map(tuple, again.groups["general"].curve)) == list(map(tuple, kept.groups["general"].curve))
