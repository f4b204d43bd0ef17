"""A sequence of domains: what every domain and axis came to after each of them was learned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tether.results.comparing import Records, summarise_method
from tether.results.pairing import summarise
from tether.results.record import StageResult, Summary

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tether.results.items import Item

SKILL = "proficiency"


def stage_result(domain: str, records: Mapping[str, Records], f1: bool = False) -> StageResult:
    """One row of the matrix for each method.

    Args:
        domain: What was learned last.
        records: Items by method, after it was learned and of the base.
        f1: Whether token F1 is an axis too.
    """
    return StageResult(domain=domain, methods={name: _row(found, f1) for name, found in records.items()})


def _row(records: Records, f1: bool) -> dict[str, Summary]:
    """Skill source by source, then the other axes; each a change from the base."""
    before = _by_source(records.before.get(SKILL, ()))
    after = {seed: _by_source(items.get(SKILL, ())) for seed, items in records.after.items()}
    skills = {
        source: summarise(items, {seed: found.get(source, []) for seed, found in after.items()})
        for source, items in before.items()
    }
    axes = summarise_method(records, f1)
    return {**skills, **{axis: summary for axis, summary in axes.items() if axis != SKILL}}


def _by_source(items: Sequence[Item]) -> dict[str, list[Item]]:
    found: dict[str, list[Item]] = {}
    for item in items:
        found.setdefault(item.source, []).append(item)
    return found
