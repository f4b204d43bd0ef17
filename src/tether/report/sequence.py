"""A sequence of domains on paper: what each stage left of every domain and axis, as a table and a chart."""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from tether.names import domain_name
from tether.report.drawing import GRID, INK, WIDTH, plain_frame
from tether.report.tables import Row, Table
from tether.report.words import MISSING, UNIT_NAMES, axis_name, change, is_noise, level, scale
from tether.results import AXES, SAFETY_PARTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes

    from tether.results import StudyResults, Summary

DRIFT = "drift"
PANELS_A_ROW, PANEL_HEIGHT = 2, 2.2  # inches


def stages(results: StudyResults) -> Table:
    """Methods by stages: the level of every domain and axis, and what was forgotten of earlier domains."""
    columns = _columns(results)
    rows = tuple(
        Row((method, stage, *cells, _forgotten(results, method, number)))
        for method in results.methods
        for number, (stage, cells) in enumerate(_levels(results, method, columns))
    )
    return Table(
        "Domain after domain",
        "Levels before, and after each domain was learned; an asterisk marks a change from the base whose "
        "interval excludes zero. Forgotten: right steps on a domain just after it was learned less those "
        "now, averaged over the earlier domains, in points.",
        ("Method", "After", *(_title(results, column) for column in columns), "Forgotten"),
        rows,
        texts=2,
    )


def _levels(results: StudyResults, method: str, columns: list[str]) -> list[tuple[str, list[str]]]:
    """What a method came to: the base's row, then a row for each stage."""
    first = results.stages[0].methods[method]
    before = [
        level(first[column].before, first[column].unit) if column in first else MISSING for column in columns
    ]
    rows = [("nothing", before)]
    for stage in results.stages:
        found = stage.methods[method]
        rows.append((domain_name(stage.domain), [_cell(found.get(column)) for column in columns]))
    return rows


def _cell(summary: Summary | None) -> str:
    if summary is None:
        return MISSING
    star = "" if summary.p_value is None or is_noise(summary) else "*"  # drift is never zero, nor tested
    return f"{level(summary.after, summary.unit)}{star}"


def _forgotten(results: StudyResults, method: str, number: int) -> str:
    """After ``number`` domains, the mean loss of skill on those before the last."""
    rows = [(stage.domain, stage.methods[method]) for stage in results.stages[:number]]
    losses = [
        (then[domain].after or 0.0) - (rows[-1][1][domain].after or 0.0)
        for domain, then in rows[:-1]
        if domain in then and then[domain].n
    ]
    return change(fmean(losses), "share") if losses else MISSING


def _columns(results: StudyResults) -> list[str]:
    """The sources of skill, then the axes and drift; the parts of axes are told elsewhere."""
    found = dict.fromkeys(c for stage in results.stages for row in stage.methods.values() for c in row)
    axes = [axis for axis in (*AXES, DRIFT) if axis in found]
    return [*(column for column in found if column not in (*axes, *SAFETY_PARTS)), *axes]


def _title(results: StudyResults, column: str) -> str:
    unit = next(row[column].unit for row in results.stages[0].methods.values() if column in row)
    if column in (*AXES, DRIFT):
        return axis_name(column, unit)
    return f"{domain_name(column)} ({UNIT_NAMES[unit]})"


def lines(results: StudyResults, colours: Mapping[str, str]) -> Figure:
    """A panel for each domain and axis, a line for each method, from the base over all stages.

    Args:
        results: Of a sequence.
        colours: By method.
    """
    columns = _columns(results)
    rows = -(-len(columns) // PANELS_A_ROW)
    figure = Figure(figsize=(WIDTH, PANEL_HEIGHT * rows), layout="constrained")
    grid = list(figure.subplots(rows, PANELS_A_ROW, squeeze=False).flat)
    for axes, column in zip(grid, columns, strict=False):
        _panel(axes, results, column, colours)
    for axes in grid[len(columns) :]:
        axes.set_visible(False)
    handles, names = grid[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return figure


def _panel(axes: Axes, results: StudyResults, column: str, colours: Mapping[str, str]) -> None:
    for method in results.methods:
        row = [stage.methods[method].get(column) for stage in results.stages]
        found = [summary for summary in row if summary is not None]
        if found:
            by = scale(found[0].unit)
            heights = [by * (height or 0.0) for height in (found[0].before, *(s.after for s in found))]
            axes.plot(range(len(heights)), heights, marker="o", color=colours[method], label=method)
    learned = [stage.domain for stage in results.stages]
    if column in learned:
        axes.axvline(learned.index(column) + 1, color=GRID, linestyle="--", linewidth=0.8)
    axes.set_xticks(range(len(learned) + 1), ["base", *map(domain_name, learned)])
    axes.set_title(_title(results, column), loc="left", fontsize=10, fontweight="bold", color=INK)
    plain_frame(axes)


def describe(results: StudyResults) -> str:
    """The chart in words."""
    domains = ", ".join(domain_name(stage.domain) for stage in results.stages)
    return f"Every domain and axis before and after each of {domains}, a line for each method."
