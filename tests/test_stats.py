from __future__ import annotations

import gc
import runpy
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import NormalIndPower
from statsmodels.stats.proportion import proportion_confint

from tether.cutting import Cut, influence
from tether.stats import cluster_bootstrap, holm, mcnemar_exact, minimum_detectable_difference, wilson

if TYPE_CHECKING:
    from collections.abc import Iterator

shares = st.floats(0, 1)
SIMULATION = runpy.run_path(str(Path(__file__).parents[1] / "benchmarks" / "statistics" / "run.py"))


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (10, 10), (1, 3), (37, 120), (999, 1000)])
def test_wilson_agrees_with_statsmodels(successes: int, n: int) -> None:
    assert wilson(successes, n) == pytest.approx(proportion_confint(successes, n, method="wilson"), abs=1e-12)


@given(n=st.integers(1, 500), share=shares)
def test_wilson_holds_the_share_and_stays_within_bounds(n: int, share: float) -> None:
    successes = round(share * n)
    low, high = wilson(successes, n)
    assert 0 <= low <= successes / n <= high <= 1


@pytest.mark.parametrize(("successes", "n"), [(1, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_what_is_not_a_share(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="not a share"):
        wilson(successes, n)


@pytest.mark.parametrize(("lost", "gained"), [(0, 0), (5, 0), (3, 9), (40, 22)])
def test_mcnemar_agrees_with_statsmodels(lost: int, gained: int) -> None:
    expected = mcnemar([[100, lost], [gained, 50]], exact=True).pvalue if lost + gained else 1.0
    assert mcnemar_exact(lost, gained) == pytest.approx(expected)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_symmetric(lost: int, gained: int) -> None:
    assert mcnemar_exact(lost, gained) == pytest.approx(mcnemar_exact(gained, lost))


def test_mcnemar_refuses_negative_counts() -> None:
    with pytest.raises(ValueError, match="negative"):
        mcnemar_exact(-1, 2)


@pytest.fixture(scope="module")
def frozen() -> Iterator[None]:
    """statsmodels collects garbage at each call, which takes half a second in a heap with torch in it."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("frozen")
@given(st.lists(shares, max_size=30))
def test_holm_agrees_with_statsmodels(p_values: list[float]) -> None:
    expected = multipletests(p_values, method="holm")[1] if p_values else []
    assert holm(p_values) == pytest.approx(list(expected))


@given(st.lists(shares, min_size=1, max_size=30))
def test_holm_never_lowers_and_keeps_the_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(p <= q <= 1 for p, q in zip(p_values, adjusted, strict=True))
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    assert all(adjusted[a] <= adjusted[b] for a, b in zip(order, order[1:], strict=False))


def test_minimum_detectable_difference_agrees_with_statsmodels() -> None:
    n = 200  # one sample of unit variance: standard error 1 / sqrt(n)
    effect = NormalIndPower(ddof=0).solve_power(nobs1=n, alpha=0.05, power=0.8, ratio=0)
    assert minimum_detectable_difference(1 / np.sqrt(n)) == pytest.approx(effect, rel=1e-4)


def test_bootstrap_agrees_with_scipy_when_every_item_is_a_cluster() -> None:
    values = np.random.default_rng(3).normal(0.2, 1, 150)
    ours = cluster_bootstrap(values, range(150))
    theirs = scipy_stats.bootstrap(
        (values,), np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(0)
    )
    assert ours.mean == pytest.approx(values.mean())
    assert ours.ci == pytest.approx(tuple(theirs.confidence_interval), abs=0.01)
    assert ours.sd == pytest.approx(theirs.standard_error, rel=0.03)
    assert ours.p_value == pytest.approx(scipy_stats.ttest_1samp(values, 0).pvalue, abs=0.02)


def test_without_expansion_the_cuts_are_those_of_bca() -> None:
    values = np.random.default_rng(0).gamma(0.7, size=40)
    means = values[np.random.default_rng(1).integers(40, size=(20_000, 40))].mean(axis=1)
    cut = Cut.of(means, values.mean(), [influence(values, np.ones(40))])
    plain = replace(cut, inflation=1.0, df=1e9)
    ends = np.quantile(means, [plain.share(0.025), plain.share(0.975)])
    theirs = scipy_stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(2)
    )
    assert ends == pytest.approx(tuple(theirs.confidence_interval), abs=0.03)
    assert cut.acceleration == pytest.approx(scipy_stats.skew(values) / 6 / np.sqrt(40))
    assert (cut.inflation, cut.df) == pytest.approx((np.sqrt(40 / 39), 39))


@pytest.mark.parametrize("level", [0.005, 0.025, 0.5, 0.9, 0.975])
def test_a_cut_leads_back(level: float) -> None:
    cut = Cut(bias=0.1, acceleration=0.08, inflation=1.02, df=20)
    assert cut.level(cut.share(level)) == pytest.approx(level)


def test_few_values_without_skew_get_the_interval_of_t() -> None:
    values = scipy_stats.norm.ppf((np.arange(12) + 0.5) / 12)
    ours = cluster_bootstrap(values, range(12))
    theirs = scipy_stats.ttest_1samp(values, 0).confidence_interval()
    assert ours.ci == pytest.approx((theirs.low, theirs.high), rel=0.06)
    assert ours.sd == pytest.approx(scipy_stats.sem(values), rel=0.03)


def test_strata_of_few_clusters_have_the_degrees_of_freedom_of_welch() -> None:
    generator = np.random.default_rng(0)
    few, many = generator.normal(0, 2, 8), generator.normal(0, 1, 60)
    pulls = [influence(part, np.ones(len(part))) / 2 for part in (few, many)]
    cut = Cut.of(generator.normal(size=100), 0.0, pulls)
    assert cut.df == pytest.approx(scipy_stats.ttest_ind(few, -many, equal_var=False).df)


def test_clusters_that_repeat_themselves_widen_the_interval() -> None:
    values = np.repeat(np.random.default_rng(0).normal(size=50), 10)
    as_items = cluster_bootstrap(values, range(500))
    as_clusters = cluster_bootstrap(values, np.repeat(np.arange(50), 10).tolist())
    assert as_items.sd is not None
    assert as_clusters.sd == pytest.approx(as_items.sd * np.sqrt(10), rel=0.1)


def test_strata_weigh_the_same_whatever_their_size() -> None:
    values = [1.0] * 90 + [0.0] * 10
    strata = ["many"] * 90 + ["few"] * 10
    assert cluster_bootstrap(values, range(100), strata=strata).mean == pytest.approx(0.5)


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.floats(-5, 5), st.integers(0, 6)), min_size=1, max_size=40),
    st.integers(0, 2**32 - 1),
)
def test_bootstrap_is_repeatable_and_symmetric(rows: list[tuple[float, int]], seed: int) -> None:
    values, clusters = [value for value, _ in rows], [cluster for _, cluster in rows]
    once = cluster_bootstrap(values, clusters, draws=200, seed=seed)
    assert once == cluster_bootstrap(values, clusters, draws=200, seed=seed)
    turned = cluster_bootstrap([-value for value in values], clusters, draws=200, seed=seed)
    if once.ci is None or turned.ci is None:
        assert len(set(clusters)) == 1
        return
    assert turned.ci == pytest.approx((-once.ci[1], -once.ci[0]), abs=1e-9)
    assert turned.p_value == pytest.approx(once.p_value)
    assert min(values) - 1e-9 <= once.ci[0] <= once.ci[1] <= max(values) + 1e-9


def test_one_cluster_gives_no_interval() -> None:
    assert cluster_bootstrap([1.0, 2.0], ["a", "a"]).ci is None


def test_bootstrap_refuses_lengths_that_differ() -> None:
    with pytest.raises(ValueError, match="do not pair up"):
        cluster_bootstrap([1.0, 2.0], ["a"])


def test_no_change_at_all_is_no_evidence() -> None:
    assert cluster_bootstrap([0.0] * 20, range(20)).p_value == 1.0


@pytest.mark.parametrize(
    ("world", "clusters"),
    [
        ("share 0.5", "38 of 8"),
        ("exponential", "56 of 9 to 17"),
        ("paired, 20% lost, 5% gained", "30 of 1 to 24"),
    ],
)
def test_the_interval_covers_as_often_as_it_says(world: str, clusters: str) -> None:
    """A quick run of benchmarks/statistics, which has more worlds and tells where it falls short."""
    simulated, sizes = SIMULATION["WORLDS"][world], SIMULATION["CLUSTERS"][clusters]
    held = SIMULATION["coverage"](simulated, sizes, studies=600, draws=400)
    assert 0.92 <= held["bootstrap"] <= 0.98
    assert held["bootstrap"] > held["percentile"]


def test_a_certificates_bound_holds_the_drift() -> None:
    assert SIMULATION["certified"](1.0, 30, studies=150)["certificate"] >= 0.93


def test_five_thousand_items_are_quick() -> None:
    values = np.random.default_rng(0).normal(size=5000)
    started = time.process_time()
    cluster_bootstrap(values, range(5000))
    assert time.process_time() - started < 2  # about 0.2 s; a loop over draws would take minutes
