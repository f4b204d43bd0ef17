"""Before and after on the same items: what changed, how surely, and against another method."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TYPE_CHECKING, cast

import numpy as np

from tether.errors import UserError
from tether.results.items import Item, clusters_of, mean_of, scored
from tether.results.record import Summary, Unit
from tether.stats import (
    Bootstrap,
    cluster_bootstrap,
    mcnemar_exact,
    minimum_detectable_difference,
    wilson,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

Key = tuple[str, str]


@dataclass(frozen=True)
class Paired:
    """Items that the base and every seed answered.

    Attributes:
        items: The base's items, n of them.
        before: Scores of the base, shape (n,).
        after: Scores by seed, shape (seeds, n).
        by_group: Whether the score is the mean of the groups' means.
        unpaired: Items left out.
    """

    items: Sequence[Item]
    before: NDArray[np.float64]
    after: NDArray[np.float64]
    by_group: bool
    unpaired: int

    @property
    def changes(self) -> NDArray[np.float64]:
        """After - before, averaged over seeds, shape (n,)."""
        return cast("NDArray[np.float64]", self.after.mean(axis=0) - self.before)

    @property
    def strata(self) -> list[str]:
        """The stratum of each item."""
        return [item.group if self.by_group else "" for item in self.items]

    @property
    def clusters(self) -> list[str]:
        """The cluster of each item."""
        return [item.cluster for item in self.items]

    @property
    def yes_or_no(self) -> bool:
        """Whether every score is 0 or 1."""
        return bool(np.isin(self.before, (0, 1)).all() and np.isin(self.after, (0, 1)).all())


def pair(before: Sequence[Item], after: Mapping[str, Sequence[Item]]) -> Paired:
    """Pair one axis's items by source and id.

    Args:
        before: The base's items.
        after: The tuned model's items by seed.

    Returns:
        The items that all of them answered, in the base's order.

    Raises:
        UserError: An item stands twice in one file.
    """
    chosen, by_group = scored(before)
    bases = _by_key(chosen)
    seeds = [_by_key(scored(items)[0]) for items in after.values()]
    everyone = [set(bases), *(set(seed) for seed in seeds)]
    common = set.intersection(*everyone) if seeds else set()
    keys = [key for key in bases if key in common]
    after_scores = [[seed[key].score for key in keys] for seed in seeds]
    return Paired(
        items=[bases[key] for key in keys],
        before=np.array([bases[key].score for key in keys], dtype=float),
        after=np.array(after_scores, dtype=float).reshape(len(seeds), len(keys)),
        by_group=by_group,
        unpaired=len(set.union(*everyone)) - len(keys),
    )


def _by_key(items: Sequence[Item]) -> dict[Key, Item]:
    table: dict[Key, Item] = {}
    for item in items:
        if (item.source, item.id) in table:
            raise UserError(
                f"The item {item.id!r} of {item.source} stands twice among the {item.axis} records"
            )
        table[item.source, item.id] = item
    return table


def summarise(before: Sequence[Item], after: Mapping[str, Sequence[Item]]) -> Summary:
    """What one method did to one axis.

    Args:
        before: The base's items of the axis.
        after: The tuned model's items of the axis, by seed.

    Returns:
        The paired change with its interval, p-value and smallest detectable difference; empty (n = 0) where
        nothing can be paired.

    Raises:
        UserError: An item stands twice in one file.
    """
    paired = pair(before, after)
    unit = _unit(paired.items)
    if not paired.items:
        return Summary(unit=unit, unpaired=paired.unpaired)
    interval = change(paired.changes, paired.clusters, paired.strata, yes_or_no=paired.yes_or_no)
    start = _mean(paired, paired.before)
    by_seed = [_mean(paired, scores) - start for scores in paired.after]
    test, p_value = _test(paired, interval)
    lost, gained = _turned(paired)
    kept = _retained(paired)
    return Summary(
        before=start,
        after=start + interval.mean,
        delta=interval.mean,
        ci95=interval.ci,
        p_value=p_value,
        test=test,
        n=len(paired.items),
        unit=unit,
        seeds=len(by_seed),
        seed_sd=stdev(by_seed) if len(by_seed) > 1 else None,
        mdd=minimum_detectable_difference(interval.sd) if interval.sd else None,
        delta_percent=100 * interval.mean / start if unit == "bits/byte" and start > 0 else None,
        lost=lost,
        gained=gained,
        retained=None if kept is None else kept.mean,
        retained_ci95=None if kept is None else kept.ci,
        unpaired=paired.unpaired,
    )


def _unit(items: Sequence[Item]) -> Unit:
    if items and items[0].axis in ("drift", "safety_margin"):
        return "nats/token" if items[0].axis == "drift" else "nats"
    return "bits/byte" if items and items[0].group in ("open", "text") else "share"


def _mean(paired: Paired, scores: NDArray[np.float64]) -> float:
    groups: dict[str, list[float]] = {}
    for stratum, score in zip(paired.strata, scores, strict=True):
        groups.setdefault(stratum, []).append(float(score))
    return fmean(fmean(values) for values in groups.values())


def change(
    values: Sequence[float] | NDArray[np.float64],
    clusters: Sequence[str],
    strata: Sequence[str],
    *,
    yes_or_no: bool,
) -> Bootstrap:
    """A mean change with its interval; where not one yes or no turned, how many could have unseen.

    Args:
        values: The change of each item.
        clusters: The cluster of each.
        strata: The stratum of each.
        yes_or_no: Whether what changed is a yes or no.

    Returns:
        Mean, interval and p-value.
    """
    drawn = cluster_bootstrap(values, clusters, strata=strata)
    if drawn.ci is None or not yes_or_no or any(values):
        return drawn
    unseen = fmean(wilson(0, n)[1] for n in clusters_of(clusters, strata))
    return Bootstrap(0.0, (-unseen, unseen), 1.0, None)


def _test(paired: Paired, interval: Bootstrap) -> tuple[str | None, float | None]:
    """McNemar's exact test needs one yes or no per independent item; all else is the bootstrap's."""
    independent = len(set(paired.clusters)) == len(paired.items) and len(set(paired.strata)) == 1
    if paired.yes_or_no and independent and len(paired.after) == 1:
        lost, gained = int((paired.changes < 0).sum()), int((paired.changes > 0).sum())
        return "mcnemar", mcnemar_exact(lost, gained)
    return ("cluster bootstrap", interval.p_value) if interval.p_value is not None else (None, None)


def _turned(paired: Paired) -> tuple[float | None, float | None]:
    """Items lost and gained per seed, on average."""
    if not paired.yes_or_no:
        return None, None
    turns = paired.after - paired.before
    return float((turns < 0).sum(axis=1).mean()), float((turns > 0).sum(axis=1).mean())


def _retained(paired: Paired) -> Bootstrap | None:
    """The share right after of what was right before, averaged over seeds, for yes or no scores."""
    right = [place for place, score in enumerate(paired.before) if score == 1]
    if not right or not paired.yes_or_no:
        return None
    shares = paired.after.mean(axis=0)
    return mean_of([float(shares[place]) for place in right], [paired.clusters[place] for place in right])
