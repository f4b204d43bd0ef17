"""Knowledge by source, category and passage: where it was lost, which the axis's one number does not say."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from tether.results.pairing import summarise
from tether.results.record import Part

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tether.results.comparing import Records
    from tether.results.items import Item

SMALLEST = 10
"""Items of a category that stands by itself; the smaller ones of a source stand together."""


class _Kind(NamedTuple):
    source: str
    group: str
    category: str
    passage: bool


def breakdown(records: Records) -> list[Part]:
    """What became of each kind of knowledge.

    Args:
        records: A method's items.

    Returns:
        One part for each source, way of scoring, category and passage or none that its base was asked;
        none without a seed that was asked too.

    Raises:
        UserError: An item stands twice in one file.
    """
    base = records.before.get("knowledge", ())
    after = {seed: items["knowledge"] for seed, items in records.after.items() if items.get("knowledge")}
    if not after:
        return []
    kinds = _kinds(base)

    def of(kind: _Kind, items: Sequence[Item]) -> list[Item]:
        return [item for item in items if kinds.get((item.source, item.id)) == kind]

    return [
        Part(
            **kind._asdict(),
            summary=summarise(of(kind, base), {seed: of(kind, items) for seed, items in after.items()}),
        )
        for kind in sorted(set(kinds.values()))
    ]


def _kinds(items: Sequence[Item]) -> dict[tuple[str, str], _Kind]:
    """The kind of each item by source and id, small categories under one name."""
    sizes = Counter(map(_kind, items))
    small = Counter(kind._replace(category="") for kind, n in sizes.items() if n < SMALLEST)
    return {(item.source, item.id): _together(_kind(item), sizes, small) for item in items}


def _together(kind: _Kind, sizes: Counter[_Kind], small: Counter[_Kind]) -> _Kind:
    others = small[kind._replace(category="")]
    if sizes[kind] >= SMALLEST or others < 2:
        return kind
    return kind._replace(category=f"({others} small categories)")


def _kind(item: Item) -> _Kind:
    return _Kind(item.source, item.group, item.category, item.passage)
