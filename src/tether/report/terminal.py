"""The report's first table for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from tether.report.headline import warnings
from tether.report.tables import overview

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tether.results import StudyResults


def summary_table(results: StudyResults) -> RenderableType:
    """Methods by axes with their changes and intervals, and below it what a reader must know.

    Args:
        results: The study's results.

    Returns:
        Something that rich can print.
    """
    content = overview(results)
    table = Table(box=box.SIMPLE_HEAD, title=content.title, title_justify="left", title_style="bold")
    for place, column in enumerate(content.columns):
        table.add_column(column, justify="left" if place == 0 else "right", overflow="fold")
    for row in content.rows:
        table.add_row(*(_stacked(cell) for cell in row.cells))
    notes = [
        Text(warning, style="bold red" if "ABOVE" in warning else "yellow") for warning in warnings(results)
    ]
    return Group(table, Text(content.note, style="dim"), *notes)


def _stacked(cell: str) -> Text:
    """The interval under its number, so that five columns fit 100 characters."""
    value, _, ends = cell.partition(" [")
    return Text(value) if not ends else Text.assemble(value, "\n", (f"[{ends}", "dim"))
