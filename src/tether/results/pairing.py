"""Before and after on the same items: what changed, how surely, and against another method."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from statistics import fmean, stdev
from typing import TYPE_CHECKING, cast

import numpy as np

from tether.errors import UserError
from tether.results.items import Item, scored
from tether.results.record import AXES, Comparison, Summary, Unit
from tether.stats import (
    Bootstrap,
    cluster_bootstrap,
    holm,
    mcnemar_exact,
    minimum_detectable_difference,
    wilson,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

Key = tuple[str, str]


@dataclass(frozen=True)
class Records:
    """The items of one method by axis: its base's, and by seed its own."""

    base: str
    before: Mapping[str, Sequence[Item]]
    after: Mapping[str, Mapping[str, Sequence[Item]]]


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
    interval = _interval(paired)
    start = _mean(paired, paired.before)
    by_seed = [_mean(paired, scores) - start for scores in paired.after]
    test, p_value = _test(paired, interval)
    lost, gained = _turned(paired)
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
        delta_percent=100 * interval.mean / start if unit == "bits/byte" and start else None,
        lost=lost,
        gained=gained,
        unpaired=paired.unpaired,
    )


def _unit(items: Sequence[Item]) -> Unit:
    if items and items[0].axis == "drift":
        return "nats/token"
    return "bits/byte" if items and items[0].group == "open" else "share"


def _mean(paired: Paired, scores: NDArray[np.float64]) -> float:
    groups: dict[str, list[float]] = {}
    for stratum, score in zip(paired.strata, scores, strict=True):
        groups.setdefault(stratum, []).append(float(score))
    return fmean(fmean(values) for values in groups.values())


def _interval(paired: Paired) -> Bootstrap:
    """The change's interval; where not one yes or no turned, how many could have without our seeing it."""
    drawn = cluster_bootstrap(paired.changes, paired.clusters, strata=paired.strata)
    if drawn.ci is None or not paired.yes_or_no or paired.changes.any():
        return drawn
    unseen = fmean(
        wilson(0, len({c for c, s in zip(paired.clusters, paired.strata, strict=True) if s == stratum}))[1]
        for stratum in set(paired.strata)
    )
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


def with_gain(items: Mapping[str, Sequence[Item]]) -> dict[str, Sequence[Item]]:
    """Items by axis, with the free-form part of knowledge again as "knowledge_gain" where there is any.

    Args:
        items: Items by axis.

    Returns:
        The same and the part.
    """
    gains = [item for item in items.get("knowledge", ()) if item.group == "open"]
    return {**items, "knowledge_gain": gains} if gains else dict(items)


def summarise_drift(after: Mapping[str, Sequence[Item]]) -> Summary:
    """Drift from the base, whose own drift is zero by definition.

    Args:
        after: Drift items by seed.

    Returns:
        Mean drift over items and seeds in nats per token; no p-value, since no model drifts by exactly zero.
    """
    first = next(iter(after.values()), ())
    zeros = [item.model_copy(update={"score": 0.0}) for item in first]
    return summarise(zeros, after).model_copy(update={"unit": "nats/token", "p_value": None, "test": None})


def summarise_method(records: Records) -> dict[str, Summary]:
    """Every axis of one method.

    Args:
        records: Its items.

    Returns:
        A summary for each axis that both its base and some seed were measured on.

    Raises:
        UserError: An item stands twice in one file.
    """
    before = with_gain(records.before)
    after = {seed: with_gain(items) for seed, items in records.after.items()}
    summaries = {}
    for axis in AXES:
        measured = {seed: items[axis] for seed, items in after.items() if items.get(axis)}
        if before.get(axis) and measured:
            summaries[axis] = summarise(before[axis], measured)
    drifted = {seed: items["drift"] for seed, items in after.items() if items.get("drift")}
    if drifted:
        summaries["drift"] = summarise_drift(drifted)
    return summaries


def compare(a: Paired, b: Paired) -> Comparison:
    """One axis of one method against another method's.

    Each method's change from its own base is compared: a better base must not pass for a better method.

    Args:
        a: A method's pairs.
        b: Another's.

    Returns:
        The difference on the items that both answered, without names and without Holm's adjustment.
    """
    others = {(item.source, item.id): change for item, change in zip(b.items, b.changes, strict=True)}
    rows = [
        (change - others[item.source, item.id], item.cluster, stratum)
        for item, change, stratum in zip(a.items, a.changes, a.strata, strict=True)
        if (item.source, item.id) in others
    ]
    if not rows:
        return Comparison(a="", b="", axis="")
    values, clusters, strata = zip(*rows, strict=True)
    drawn = cluster_bootstrap(values, clusters, strata=strata)
    return Comparison(
        a="", b="", axis="", delta=drawn.mean, ci95=drawn.ci, p_value=drawn.p_value, n=len(rows)
    )


def compare_methods(records: Mapping[str, Records], *, reference: str | None = None) -> list[Comparison]:
    """The table of method against method, with Holm's adjustment over all of it.

    Args:
        records: Items by method.
        reference: The method that each other is compared with; None compares every two.

    Returns:
        One row per axis and two methods, where both were measured; the reference is `a`.

    Raises:
        UserError: An item stands twice in one file.
    """
    pairs = {name: _pairs(method) for name, method in records.items()}
    if reference is None:
        couples = list(combinations(records, 2))
    else:
        couples = [(reference, name) for name in records if name != reference and reference in records]
    rows = [
        compare(pairs[a][axis], pairs[b][axis]).model_copy(
            update={"a": a, "b": b, "axis": axis, "same_base": records[a].base == records[b].base}
        )
        for a, b in couples
        for axis in AXES
        if axis in pairs[a] and axis in pairs[b]
    ]
    return _adjusted([row for row in rows if row.n])


def _pairs(records: Records) -> dict[str, Paired]:
    before = with_gain(records.before)
    after = {seed: with_gain(items) for seed, items in records.after.items()}
    return {
        axis: pair(before[axis], {seed: items[axis] for seed, items in after.items() if items.get(axis)})
        for axis in AXES
        if before.get(axis) and any(items.get(axis) for items in after.values())
    }


def _adjusted(rows: list[Comparison]) -> list[Comparison]:
    tested = [row for row in rows if row.p_value is not None]
    adjusted = iter(holm([row.p_value for row in tested if row.p_value is not None]))
    return [row if row.p_value is None else row.model_copy(update={"p_holm": next(adjusted)}) for row in rows]
