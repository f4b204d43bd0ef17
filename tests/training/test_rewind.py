from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tether.training.rewind import CAUTION


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
