"""What a finished study says on a terminal: a table, the sentence that matters, and where the page is."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from tether.report.headline import headline_sentences, warnings
from tether.report.words import axis_name, change, interval, level

if TYPE_CHECKING:
    from pathlib import Path

    from tether.results import StudyResults

WIDTH = 100


def summary_text(results: StudyResults, page: Path) -> str:
    """Methods by axes with before, after, difference and interval; then the headline and the page's path."""
    written = io.StringIO()
    screen = Console(file=written, width=WIDTH)
    screen.print(_outcomes(results))
    if results.stages:
        screen.print(_stages(results))
    for sentence in (*headline_sentences(results), *warnings(results)):
        screen.print(f"\n{sentence}", highlight=False, markup=False)
    # Not through rich, which would break a long path into lines.
    return f"{written.getvalue().rstrip()}\n\nReport: {page}"


def _stages(results: StudyResults) -> Table:
    """A sequence's levels after each domain."""
    from tether.report import sequence  # draws with matplotlib, which other studies' tables do not need

    content = sequence.stages(results)
    table = Table(title=content.title)
    for place, column in enumerate(content.columns):
        table.add_column(column, justify="left" if place < content.texts else "right")
    for row in content.rows:
        table.add_row(*row.cells)
    return table


def _outcomes(results: StudyResults) -> Table:
    table = Table("Method", "Axis")
    for column in ("Before", "After", "Difference", "95% interval"):
        table.add_column(column, justify="right")
    for name, method in results.methods.items():
        for number, (axis, summary) in enumerate(method.summary.items()):
            unit = summary.unit
            table.add_row(
                name if number == 0 else "",
                axis_name(axis, unit),
                level(summary.before, unit),
                level(summary.after, unit),
                change(summary.delta, unit),
                interval(summary.ci95, unit),
            )
        table.add_section()
    return table
