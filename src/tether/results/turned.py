"""Items right before and wrong after, or the other way round: what lies behind a small net change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tether.results.items import Item


@dataclass(frozen=True)
class Turned:
    """An item whose yes or no turned.

    Attributes:
        before: What the base answered.
        after: What the tuned model answered, of the first seed in which it turned.
        seeds: In how many seeds it turned.
    """

    before: Item
    after: Item
    seeds: int

    @property
    def lost(self) -> bool:
        """Whether it was right before."""
        return self.before.score > self.after.score

    @property
    def right(self) -> str:
        """What the wrong answer's record says of the right one."""
        return (self.after if self.lost else self.before).reason


def turned(before: Sequence[Item], after: Mapping[str, Sequence[Item]]) -> list[Turned]:
    """The items that turned, those lost first, then those that turned in most seeds.

    Args:
        before: The base's items of yes or no.
        after: The tuned model's by seed.

    Returns:
        Each once, in the base's order apart from that.
    """
    seeds = [{(item.source, item.id): item for item in items} for items in after.values()]
    found = []
    for item in before:
        others = [seed[item.source, item.id] for seed in seeds if (item.source, item.id) in seed]
        changed = [other for other in others if other.score != item.score]
        if changed:
            found.append(Turned(item, changed[0], len(changed)))
    return sorted(found, key=lambda one: (not one.lost, -one.seeds))
