"""Intervals and paired tests: numpy and scipy, and of the library cutting.py alone.

Every method answers the same prompts, so what is compared is a per-item difference. Items of one dialogue or
one prompt are not independent, so whole clusters are drawn, never single items.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from typing import TYPE_CHECKING

import numpy as np

from tether.cutting import Cut, influence, within

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from numpy.typing import ArrayLike, NDArray

Interval = tuple[float, float]
DRAWS = 10_000
_DRAWS_AT_ONCE = 50  # a table of draws that stays in the processor's cache at 5,000 clusters


@dataclass(frozen=True)
class Bootstrap:
    """A mean with its interval from whole clusters drawn with replacement.

    Attributes:
        mean: The mean of the values; with strata, the mean of the strata's means.
        ci: Lower and upper end of the interval; None with fewer than two clusters in some stratum.
        p_value: Two-sided, for the hypothesis that the mean is zero; None where there is no interval.
        sd: Standard error of the mean over the draws; None where there is no interval.
    """

    mean: float
    ci: Interval | None
    p_value: float | None
    sd: float | None


def wilson(successes: float, n: int, *, level: float = 0.95) -> Interval:
    """Wilson's score interval of a share.

    Args:
        successes: How many of the n, between 0 and n.
        n: How many were tried.
        level: Coverage.

    Returns:
        Lower and upper end, within [0, 1].

    Raises:
        ValueError: n is not positive, or successes lie outside 0..n.
    """
    if n <= 0 or not 0 <= successes <= n:
        raise ValueError(f"{successes} of {n} is not a share")
    z = _normal_quantile(0.5 + level / 2)
    share = successes / n
    centre = share + z * z / (2 * n)
    half = z * float(np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)))
    scale = 1 + z * z / n
    low = 0.0 if successes == 0 else (centre - half) / scale
    return low, 1.0 if successes == n else (centre + half) / scale


def cluster_bootstrap(
    values: ArrayLike,
    clusters: Sequence[Hashable],
    *,
    strata: Sequence[Hashable] | None = None,
    draws: int = DRAWS,
    level: float = 0.95,
    seed: int = 0,
) -> Bootstrap:
    """Interval and p-value of a mean (of paired differences, say) by the cluster bootstrap.

    Within a stratum, clusters are drawn with replacement and a draw's mean is the sum of its values over the
    number of its items, so only cluster sums and sizes are ever drawn. Where the draws are cut corrects for
    skew and for few clusters (cutting.py). The p-value turns the interval round, and is
    never below 2 / (draws + 1).

    Args:
        values: One number per item, shape (n,).
        clusters: The cluster of each item, length n.
        strata: The stratum of each item; the mean is then the plain mean of the strata's means.
        draws: How many resamples.
        level: Coverage.
        seed: Seed of the generator.

    Returns:
        The mean, its interval, its p-value and its standard error.

    Raises:
        ValueError: No values, or lengths that differ.
    """
    data = np.asarray(values, dtype=float)
    layers = ["" for _ in clusters] if strata is None else list(strata)
    if data.ndim != 1 or data.size == 0 or not data.size == len(clusters) == len(layers):
        raise ValueError(
            f"{data.shape} values, {len(clusters)} clusters and {len(layers)} strata do not pair up"
        )
    generator = np.random.default_rng(seed)
    masks = [np.array([layer == name for layer in layers]) for name in dict.fromkeys(layers)]
    mean = float(np.mean([data[mask].mean() for mask in masks]))
    tables = [
        _cluster_table(data[mask], [c for c, m in zip(clusters, mask, strict=True) if m]) for mask in masks
    ]
    if any(len(sums) < 2 for sums, _ in tables):
        return Bootstrap(mean, None, None, None)
    drawn = np.mean([_draw_means(sums, sizes, draws, generator) for sums, sizes in tables], axis=0)
    cut = Cut.of(drawn, mean, [influence(sums, sizes) / len(tables) for sums, sizes in tables])
    low, high = np.quantile(drawn, [cut.share(0.5 - level / 2), cut.share(0.5 + level / 2)])
    return Bootstrap(
        mean, (float(low), float(high)), _sign_p_value(drawn, cut), cut.inflation * float(drawn.std())
    )


def _cluster_table(
    values: NDArray[np.float64], clusters: Sequence[Hashable]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum of values and number of items of each cluster, shapes (clusters,)."""
    numbers: dict[Hashable, int] = {}
    index = np.array([numbers.setdefault(cluster, len(numbers)) for cluster in clusters])
    sums: NDArray[np.float64] = np.bincount(index, weights=values).astype(np.float64)
    return sums, np.bincount(index).astype(np.float64)


def _draw_means(
    sums: NDArray[np.float64], sizes: NDArray[np.float64], draws: int, generator: np.random.Generator
) -> NDArray[np.float64]:
    """Mean of each resample, shape (draws,)."""
    means = np.empty(draws)
    for start in range(0, draws, _DRAWS_AT_ONCE):
        rows = min(_DRAWS_AT_ONCE, draws - start)
        picks = generator.integers(len(sums), size=(rows, len(sums)))
        means[start : start + rows] = sums[picks].sum(axis=1) / sizes[picks].sum(axis=1)
    return means


def _sign_p_value(drawn: NDArray[np.float64], cut: Cut) -> float:
    """Two-sided p-value from the draws' signs; draws at zero count on both sides."""
    below, not_above = (within(float(side.mean()), len(drawn)) for side in (drawn < 0, drawn <= 0))
    tail = min(cut.level(not_above), 1 - cut.level(below))
    return min(1.0, max(2 * tail, 2 / (len(drawn) + 1)))


def pass_hat_k(successes: int, trials: int, k: int) -> float:
    """The chance that ``k`` trials of one case all succeed (pass^k of tau-bench, arXiv:2406.12045).

    Unbiased: the share of all choices of ``k`` among the trials made in which every one succeeded.

    Args:
        successes: Trials that succeeded.
        trials: Trials made, of the same case.
        k: How many must succeed, at most ``trials``.

    Raises:
        ValueError: Not 0 <= successes <= trials, or not 1 <= k <= trials.
    """
    if not (0 <= successes <= trials and 1 <= k <= trials):
        raise ValueError(f"{successes} of {trials} trials say nothing of {k} in a row")
    return comb(successes, k) / comb(trials, k)


def mcnemar_exact(only_before: int, only_after: int) -> float:
    """Exact two-sided McNemar test on the items whose yes or no changed.

    Args:
        only_before: Items right before and wrong after.
        only_after: Items wrong before and right after.

    Returns:
        The p-value; 1 when nothing changed.

    Raises:
        ValueError: A negative count.
    """
    if only_before < 0 or only_after < 0:
        raise ValueError("counts of changed items cannot be negative")
    changed = only_before + only_after
    if changed == 0:
        return 1.0
    from scipy.stats import binomtest

    return float(binomtest(only_before, changed, 0.5).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment.

    Args:
        p_values: One per hypothesis.

    Returns:
        Adjusted p-values in the same order, each at least as large as the one given and at most 1.
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def minimum_detectable_difference(standard_error: float, *, power: float = 0.8, alpha: float = 0.05) -> float:
    """The smallest true difference that a two-sided test would find with the given power.

    Args:
        standard_error: Standard error of the difference, in the difference's own unit.
        power: Chance of finding it.
        alpha: Chance of a false alarm.

    Returns:
        The difference, in the standard error's unit (normal approximation).
    """
    return standard_error * (_normal_quantile(1 - alpha / 2) + _normal_quantile(power))


def _normal_quantile(share: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(share)
