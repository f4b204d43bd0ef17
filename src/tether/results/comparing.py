"""A method's axes, and method against method."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from tether.results.pairing import Paired, change, pair, summarise
from tether.results.parts import SAFETY_PARTS, SECONDARY, secondary_items, with_parts
from tether.results.record import AXES, Comparison, Summary
from tether.stats import holm

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tether.results.items import Item


@dataclass(frozen=True)
class Records:
    """The items of one method by axis: its base's, and by seed its own."""

    base: str
    before: Mapping[str, Sequence[Item]]
    after: Mapping[str, Mapping[str, Sequence[Item]]]


def any_written(records: Iterable[Records]) -> bool:
    """Whether some method's answers were scored by token F1 alone."""
    everything = (items for method in records for items in (method.before, *method.after.values()))
    return any(item.group == "written" for items in everything for item in items.get("knowledge", ()))


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


def summarise_method(records: Records, f1: bool = False) -> dict[str, Summary]:
    """Every axis of one method.

    Args:
        records: Its items.
        f1: Whether token F1 is an axis too.

    Returns:
        A summary for each axis, and part of safety, that both its base and some seed were measured on.

    Raises:
        UserError: An item stands twice in one file.
    """
    before = with_parts(records.before, f1)
    after = {seed: with_parts(items, f1) for seed, items in records.after.items()}
    summaries = {}
    for axis in (*AXES, *SAFETY_PARTS):
        measured = {seed: items[axis] for seed, items in after.items() if items.get(axis)}
        if before.get(axis) and measured:
            summaries[axis] = summarise(before[axis], measured)
    drifted = {seed: items["drift"] for seed, items in after.items() if items.get("drift")}
    if drifted:
        summaries["drift"] = summarise_drift(drifted)
    return summaries


def summarise_secondary(records: Records) -> dict[str, Summary]:
    """The measures of free answers that are told beside the axes.

    Args:
        records: A method's items.

    Returns:
        A summary for each of `SECONDARY` that both its base and some seed have.

    Raises:
        UserError: An item stands twice in one file.
    """
    before = secondary_items(records.before.get("knowledge", ()))
    after = {seed: secondary_items(items.get("knowledge", ())) for seed, items in records.after.items()}
    return {
        name: summarise(before[name], {seed: found[name] for seed, found in after.items() if name in found})
        for name in SECONDARY
        if name in before and any(name in found for found in after.values())
    }


def compare(a: Paired, b: Paired) -> Comparison:
    """One axis of one method against another method's.

    Each method's change from its own base is compared: a better base must not pass for a better method.

    Args:
        a: A method's pairs.
        b: Another's.

    Returns:
        The difference on the items that both answered, without names and without Holm's adjustment.
    """
    others = {(item.source, item.id): turned for item, turned in zip(b.items, b.changes, strict=True)}
    rows = [
        (turned - others[item.source, item.id], item.cluster, stratum)
        for item, turned, stratum in zip(a.items, a.changes, a.strata, strict=True)
        if (item.source, item.id) in others
    ]
    if not rows:
        return Comparison(a="", b="", axis="")
    values, clusters, strata = zip(*rows, strict=True)
    drawn = change(values, clusters, strata, yes_or_no=a.yes_or_no and b.yes_or_no)
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
    f1 = any_written(records.values())
    pairs = {name: _pairs(method, f1) for name, method in records.items()}
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


def _pairs(records: Records, f1: bool) -> dict[str, Paired]:
    before = with_parts(records.before, f1)
    after = {seed: with_parts(items, f1) for seed, items in records.after.items()}
    return {
        axis: pair(before[axis], {seed: items[axis] for seed, items in after.items() if items.get(axis)})
        for axis in AXES
        if before.get(axis) and any(items.get(axis) for items in after.values())
    }


def _adjusted(rows: list[Comparison]) -> list[Comparison]:
    tested = [row for row in rows if row.p_value is not None]
    adjusted = iter(holm([row.p_value for row in tested if row.p_value is not None]))
    return [row if row.p_value is None else row.model_copy(update={"p_holm": next(adjusted)}) for row in rows]
