"""The per-item records behind a study's results, for what the report shows in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tether.results import Item, read_items

if TYPE_CHECKING:
    from pathlib import Path

    from tether.results import MethodResult


def items_of(run: Path, axis: str, name: str, method: MethodResult, seed: str, *, before: bool) -> list[Item]:
    """One axis's items of a method's base or of what it made of it.

    Args:
        run: The study's folder.
        axis: The axis.
        name: The method's name.
        method: The method.
        seed: One of its seeds.
        before: Whether its base's items are wanted.

    Returns:
        The items; none where there are no records.

    Raises:
        UserError: The file of records has a bad row.
    """
    cell = method.seeds[seed].axes.get(axis)
    if before and cell is None:  # its base was not measured, and the study's may be another
        return []
    told = None if cell is None else cell.before if before else cell.after
    folder = "base/items" if before else f"methods/{name}/seed-{seed}/items"
    path = run / (told.items if told is not None and told.items else f"{folder}/{axis}.jsonl")
    return read_items(path) if path.is_file() else []
