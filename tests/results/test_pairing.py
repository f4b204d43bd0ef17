"""Before and after, paired item by item."""

from __future__ import annotations

import pytest
from results.scored import item, items

from tether.errors import UserError
from tether.results import (
    summarise,
)
from tether.stats import mcnemar_exact


def test_retained_is_the_share_of_right_answers_kept() -> None:
    before = [1.0] * 10 + [0.0] * 10
    seeds = {"0": items([1.0] * 8 + [0.0] * 12), "1": items([1.0] * 6 + [0.0] * 4 + [1.0] * 10)}
    summary = summarise(items(before), seeds)
    assert summary.retained == pytest.approx((0.8 + 0.6) / 2)
    assert summary.retained_ci95 is not None
    assert 0.3 < summary.retained_ci95[0] < 0.7 < summary.retained_ci95[1] < 1
    assert (summary.lost, summary.gained) == (3, 5)
    kept = summarise(items(before), {"0": items(before)})
    assert kept.retained == 1
    assert kept.retained_ci95 == (pytest.approx(0.722, abs=1e-3), 1), "Wilson's, of 10 of 10"


def test_nothing_is_retained_of_scores_that_are_no_yes_or_no() -> None:
    assert summarise(items([0.5, 1.0]), {"0": items([0.5, 1.0])}).retained is None
    assert summarise(items([0.0] * 3), {"0": items([1.0] * 3)}).retained is None, "none was right"


def test_one_seed_of_yes_or_no_is_tested_by_mcnemar() -> None:
    before = [1.0] * 40 + [0.0] * 20
    after = [1.0] * 28 + [0.0] * 12 + [1.0] * 3 + [0.0] * 17
    summary = summarise(items(before), {"0": items(after)})
    assert (summary.test, summary.lost, summary.gained, summary.n) == ("mcnemar", 12, 3, 60)
    assert summary.p_value == pytest.approx(mcnemar_exact(12, 3))
    assert summary.delta == pytest.approx(-9 / 60)
    assert summary.seed_sd is None
    assert summary.ci95 is not None
    assert summary.ci95[0] < -0.15 < summary.ci95[1] < 0


def test_several_seeds_are_averaged_per_item_and_their_spread_told_apart() -> None:
    before = items([1.0] * 50)
    after = {"0": items([0.0] * 10 + [1.0] * 40), "1": items([0.0] * 20 + [1.0] * 30)}
    summary = summarise(before, after)
    assert summary.delta == pytest.approx(-0.3)
    assert summary.seed_sd == pytest.approx(0.1 * 2**0.5)
    assert (summary.test, summary.seeds, summary.lost, summary.gained) == ("cluster bootstrap", 2, 15, 0)


def test_turns_of_one_dialogue_are_not_counted_as_independent() -> None:
    before = [item(n, 1.0, "proficiency", "", cluster=str(n // 5)) for n in range(50)]
    after = [one.model_copy(update={"score": float(n >= 10)}) for n, one in enumerate(before)]
    summary = summarise(before, {"0": after})
    assert summary.test == "cluster bootstrap"
    assert summary.p_value is not None
    assert summary.p_value > mcnemar_exact(10, 0)


def test_safety_changes_weigh_both_groups_alike() -> None:
    before = items([1.0] * 90, "safety", "harmful")
    before += [item(100 + n, 1.0, "safety", "harmless") for n in range(10)]
    after = [one.model_copy(update={"score": 0.0}) if one.group == "harmless" else one for one in before]
    summary = summarise(before, {"0": after})
    assert summary.delta == pytest.approx(-0.5)
    assert summary.test == "cluster bootstrap"


def test_items_are_paired_by_source_and_id() -> None:
    before = [item(n, 1.0) for n in range(4)] + [item(0, 0.0, source="other")]
    after = [item(0, 1.0, source="other"), *(item(n, 1.0) for n in range(3, 0, -1)), item(9, 0.0)]
    summary = summarise(before, {"0": after})
    assert (summary.n, summary.unpaired) == (4, 2)
    assert summary.delta == pytest.approx(1 / 4)


def test_nothing_to_pair_is_left_empty() -> None:
    summary = summarise(items([1.0]), {"0": [item(7, 1.0)]})
    assert (summary.n, summary.delta, summary.p_value, summary.unpaired) == (0, None, None, 2)


def test_an_item_that_stands_twice_is_refused() -> None:
    with pytest.raises(UserError, match="stands twice"):
        summarise([item(1, 1.0), item(1, 0.0)], {"0": items([1.0])})


def test_no_turned_item_still_leaves_room_for_the_unseen() -> None:
    summary = summarise(items([1.0] * 30), {"0": items([1.0] * 30)})
    assert summary.ci95 is not None
    assert -0.15 < summary.ci95[0] < -0.05 < 0.05 < summary.ci95[1] < 0.15
    assert summary.p_value == 1
