"""Scored items of the fewest words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tether.results import Item

if TYPE_CHECKING:
    from collections.abc import Sequence


def item(number: int, score: float, axis: str = "knowledge", group: str = "choice", **more: object) -> Item:
    fields = {"source": "set", "cluster": str(number), "input": "q", "output": "a", "reason": "", **more}
    return Item.model_validate({"id": str(number), "axis": axis, "score": score, "group": group, **fields})


def items(scores: Sequence[float], axis: str = "knowledge", group: str = "choice") -> list[Item]:
    return [item(number, score, axis, group) for number, score in enumerate(scores)]
