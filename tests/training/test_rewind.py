from __future__ import annotations

import math
from collections import Counter
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tether.anchors.drift import GroupDrift
from tether.training.measured import Measured
from tether.training.rewind import CAUTION, NEAR, PLACES, Rewind, first_place
from tether.training.update import as_it_is

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tether.training.rewind import Choice
    from tether.training.update import Shape


@pytest.mark.parametrize(("selected", "certified"), [(110, 120), (96, 112)])
@pytest.mark.parametrize("shape", [0.5, 1.0, 4.0])
def test_nine_certificates_in_ten_fit_where_the_select_split_just_does(
    selected: int, certified: int, shape: float
) -> None:
    """Skewed drifts, drawn anew for both splits; the budget is what the select split just allows."""
    drawn = np.random.default_rng(0).gamma(shape, size=(4000, selected + certified))
    select, certify = drawn[:, :selected], drawn[:, selected:]
    budget = select.mean(1) + CAUTION * half_interval(select)
    assert (certify.mean(1) + half_interval(certify) <= budget).mean() >= 0.9


def half_interval(drifts: Any) -> Any:
    return 1.96 * drifts.std(1, ddof=1) / np.sqrt(drifts.shape[1])


class Scaled:
    """An update of one number, without a geometry: what the model has moved is its scale."""

    model = torch.nn.Identity()

    def __init__(self) -> None:
        self.alpha = 1.0

    @contextmanager
    def scaled(self, alpha: float, shape: Shape = as_it_is) -> Iterator[None]:
        before, self.alpha = self.alpha, alpha * self.alpha
        yield
        self.alpha = before

    def keep(self, alpha: float, shape: Shape = as_it_is) -> None:
        self.alpha *= alpha


def rewound(drifts: dict[str, float]) -> tuple[Choice, Counter[tuple[str, float]], Scaled]:
    """Groups whose drift grows with the square of the scale, under a budget of 1; the looks at each scale."""
    update, looks = Scaled(), Counter[tuple[str, float]]()

    def drift(group: str) -> GroupDrift:
        looks[group, update.alpha] += 1
        moved = drifts[group] * update.alpha**2
        return GroupDrift(moved, moved, moved, moved, 1, 1)

    epsilons = dict.fromkeys(drifts, 1.0)
    return Rewind(update, lambda: update.alpha, drift, epsilons, None)(), looks, update


@given(st.dictionaries(st.sampled_from("abc"), st.floats(0.01, 50), min_size=1))
def test_the_rewind_takes_what_fits_by_a_hair_and_looks_at_nothing_twice(drifts: dict[str, float]) -> None:
    choice, looks, update = rewound(drifts)
    fits = min(1.0, max(drifts.values()) ** -0.5)  # the largest scale that does
    assert -1e-9 <= fits - choice.alpha < 1 / PLACES + fits * (1 - math.exp(NEAR / 2))
    assert update.alpha == choice.loss == pytest.approx(choice.alpha)
    assert set(looks.values()) == {1}
    points = {point.alpha: point for point in choice.curve}
    assert points[1.0].drift.keys() == drifts.keys()
    assert points[choice.alpha].fits
    assert points[1.0].fits == (max(drifts.values()) <= 1)


class Row:
    """An update of one layer, of whose inputs each group of anchors uses its own."""

    def __init__(self) -> None:
        self.whole = self.now = torch.ones(1, 3)

    @contextmanager
    def scaled(self, alpha: float, shape: Shape = as_it_is) -> Iterator[None]:
        before, self.now = self.now, alpha * shape("layer", self.whole)
        yield
        self.now = before

    def keep(self, alpha: float, shape: Shape = as_it_is) -> None:
        self.whole = self.now = alpha * shape("layer", self.whole)


@pytest.mark.parametrize(
    ("drifts", "left"),
    [
        ({"wild": 20.0, "tame": 0.5}, (20**-0.5, 1.0)),  # what moved nothing too far is kept whole
        ({"wild": 20.0, "tame": 20.0}, (20**-0.5, 20**-0.5)),
        ({"wild": 20.0, "tame": 1.01}, (20**-0.5, 1.01**-0.5)),
    ],
)
def test_the_pull_is_at_the_groups_that_do_not_fit(
    drifts: dict[str, float], left: tuple[float, float], tmp_path: Path
) -> None:
    update, inputs = Row(), dict(zip(drifts, torch.eye(3), strict=False))

    def drift(group: str) -> GroupDrift:
        moved = drifts[group] * float(update.now @ inputs[group]) ** 2
        return GroupDrift(moved, moved, moved, moved, 1, 1)

    def moments(used: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"layer": torch.diag(used)}

    groups = {group: partial(moments, used) for group, used in inputs.items()}
    measured = Measured.of(tmp_path, partial(moments, torch.ones(3)), groups)
    choice = Rewind(update, lambda: -float(update.now.sum()), drift, dict.fromkeys(drifts, 1.0), measured)()
    wild, tame, free = update.now[0].tolist()
    assert (wild, tame, free) == pytest.approx((*left, 1.0), rel=0.15)
    assert sum(choice.weights.values()) == pytest.approx(1.0)


def test_a_group_that_fits_is_not_looked_at_further_along() -> None:
    _, looks, _ = rewound({"tame": 0.5, "wild": 20.0})
    assert len([place for group, place in looks if group == "tame"]) == 1  # the whole
    assert len([place for group, place in looks if group == "wild"]) == 2


WAY = [place / PLACES for place in range(PLACES)]


def searched(excess: Callable[[float], float], guess: int) -> tuple[int, list[int]]:
    """The place that is found, and those that were looked at."""
    looked_at: list[int] = []

    def look(place: int) -> float:
        looked_at.append(place)
        return excess(WAY[place])

    found = first_place(look, WAY, excess(0), guess)
    assert len(set(looked_at)) == len(looked_at)
    assert all(0 < place < PLACES for place in looked_at), "of both ends it is known"
    return found, looked_at


@given(
    st.floats(0.01, 5),
    st.floats(0.02, 0.98),
    st.floats(0.2, 5),
    st.sampled_from([0.0, 0.3, 1.0]),
    st.integers(0, PLACES),
)
def test_a_place_that_fits_by_a_hair_is_found_from_any_guess_whatever_way_drift_falls(
    over: float, crossing: float, bend: float, step: float, guess: int
) -> None:
    """Bent either way, or with a step where it comes to fit."""

    def excess(way: float) -> float:
        fallen = (way / crossing) ** bend
        return over * (1 - fallen) * (1 - step) + step * (over if way < crossing else -over)

    found, looked_at = searched(excess, guess)
    assert found == PLACES or excess(WAY[found]) <= 0
    assert excess(WAY[found - 1]) > 0 or excess(WAY[found]) >= NEAR
    assert len(looked_at) <= 16


@given(st.floats(0.1, 5), st.floats(0.02, 0.98), st.integers(0, PLACES))
def test_where_drift_falls_as_it_is_taken_to_few_looks_do(over: float, crossing: float, guess: int) -> None:
    _, looked_at = searched(lambda way: over * (1 - way / crossing), guess)
    assert len(looked_at) <= 6


@pytest.mark.parametrize("unknown", [math.inf, math.nan])
def test_drift_that_is_no_number_does_not_fit(unknown: float) -> None:
    found, looked_at = searched(lambda way: unknown if way < 0.5 else -1.0, 3)
    assert found == PLACES // 2
    assert len(looked_at) <= 16


@pytest.mark.parametrize("drift", [1.05, 1.5, 3.0, 20.0, 300.0])
def test_the_search_begins_where_the_whole_updates_drift_says(drift: float) -> None:
    """Drift here falls with the square of the scale, as it is taken to: the guess is the place."""
    choice, looks, _ = rewound({"wild": drift})
    assert looks["wild", choice.alpha] == 1
    assert len(looks) <= 5
