"""The report's charts, each a function of the results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from tether.report import sequence
from tether.report.drawing import GRID, INK, WIDTH, plain_frame
from tether.report.words import (
    AXIS_NAMES,
    UNIT_NAMES,
    axis_name,
    change,
    in_text,
    level,
    number,
    protagonists,
    scale,
)
from tether.results import AXES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from tether.results import StudyResults, Summary

# Okabe and Ito's palette: told apart by colour-blind readers, and readable on white and on near-black.
OURS, PLAIN, OTHER, BEFORE = "#0072b2", "#d55e00", "#56a088", "#9aa3ad"
NAMES = ("sequence", *AXES, "trade-off")
BAR = 0.38
LABEL = 0.19  # height of a name in a column, inches
FEW = 8  # with more methods than that, the whiskers of the others step back


def figures(results: StudyResults) -> dict[str, Figure]:
    """All charts that the results have numbers for.

    Args:
        results: The study's results.

    Returns:
        Figures by file name without ending, in the order in which they are shown.
    """
    drawn = {NAMES[0]: sequence.lines(results, _colours(results))} if results.stages else {}
    for axis in AXES:
        rows = [(n, m.summary[axis]) for n, m in results.methods.items() if axis in m.summary]
        rows = [(name, summary) for name, summary in rows if summary.delta is not None]
        if rows:
            drawn[axis] = bars(axis, rows, _colours(results))
    scatter = trade_off(results)
    return {**drawn, NAMES[-1]: scatter} if scatter is not None else drawn


def _colours(results: StudyResults) -> dict[str, str]:
    ours, plain = protagonists(results)
    special = {ours: OURS, plain: PLAIN}
    return {name: special.get(name, OTHER) for name in results.methods}


def bars(axis: str, rows: Sequence[tuple[str, Summary]], colours: dict[str, str]) -> Figure:
    """One axis before and after for each method, the net change printed behind the bar.

    Args:
        axis: The axis's key.
        rows: Methods and their summaries, top to bottom.
        colours: Colour of each method's after bar.

    Returns:
        A chart with two horizontal bars per method; the whisker on "after" is the change's 95% interval.
    """
    unit = rows[0][1].unit
    by = scale(unit)
    figure = Figure(figsize=(WIDTH, 1.1 + 0.62 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    for place, (name, summary) in enumerate(rows):
        before, after = by * (summary.before or 0.0), by * (summary.after or 0.0)
        axes.barh(place - BAR / 2, before, BAR, color=BEFORE, label="before" if place == 0 else None)
        axes.barh(place + BAR / 2, after, BAR, color=colours[name], label="after" if place == 0 else None)
        end = _whisker(axes, place + BAR / 2, summary, by)
        axes.annotate(
            _net(summary),
            (max(before, after, end, 0.0), place + BAR / 2),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=9.5,
            fontweight="bold",
            color=INK,
        )
    _finish_bars(axes, axis, rows)
    return figure


def _net(summary: Summary) -> str:
    """The net change as it stands behind a bar; of an association gain in percent too."""
    if summary.delta_percent is None:
        return change(summary.delta, summary.unit)
    return f"{change(summary.delta, summary.unit)} ({number(summary.delta_percent, 1, signed=True)}%)"


def _whisker(axes: Axes, place: float, summary: Summary, by: float) -> float:
    """Draw the change's interval about the after bar; its right end, in shown units."""
    if summary.ci95 is None or summary.before is None:
        return 0.0
    low, high = (by * (summary.before + end) for end in summary.ci95)
    axes.plot([low, high], [place, place], color=INK, linewidth=1.3, solid_capstyle="butt")
    axes.plot([low, high], [place, place], color=INK, linestyle="", marker="|", markersize=5)
    return high


def _finish_bars(axes: Axes, axis: str, rows: Sequence[tuple[str, Summary]]) -> None:
    unit = rows[0][1].unit
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.invert_yaxis()
    tops = [by for _, s in rows for by in (s.before or 0.0, s.after or 0.0, (s.before or 0.0) + _upper(s))]
    lows = [by for _, s in rows for by in (s.before or 0.0, s.after or 0.0, 0.0)]
    span = (max(*tops, 0.0) - min(lows)) * scale(unit) or 1.0
    room = 1.12 if rows[0][1].delta_percent is None else 1.24  # for the net change behind the longest bar
    axes.set_xlim(min(lows) * scale(unit), min(lows) * scale(unit) + room * span)
    gain = axis == "knowledge_gain" or rows[0][1].delta_percent is not None
    noun = "right steps" if axis == "proficiency" else "association gain" if gain else "score"
    axes.set_xlabel(f"{noun}, {UNIT_NAMES[unit]}", color=INK)
    axes.set_title(
        f"{AXIS_NAMES[axis]}: before (grey) and after fine-tuning",
        loc="left",
        fontsize=11,
        fontweight="bold",
        color=INK,
    )
    plain_frame(axes)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)


def _upper(summary: Summary) -> float:
    return summary.ci95[1] if summary.ci95 else 0.0


def trade_off(results: StudyResults) -> Figure | None:
    """What each method learned against what it lost: safety in one panel, knowledge in the other.

    Args:
        results: The study's results.

    Returns:
        The scatter, or None where no method has both a skill and something to lose.
    """
    panels = [axis for axis in ("safety", "knowledge") if _points(results, axis)]
    if not panels:
        return None
    tall = max(3.5, 0.9 + LABEL * len(results.methods))
    figure = Figure(figsize=(WIDTH, tall * len(panels)), layout="constrained")
    grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False)
    for axes, axis in zip(grid[:, 0], panels, strict=True):
        _panel(axes, axis, results, tall)
        axes.tick_params(labelbottom=True)
    return figure


Point = tuple[str, "Summary", "Summary"]


def _points(results: StudyResults, axis: str) -> list[Point]:
    """Methods with a change of skill and a change of the axis."""
    found = []
    for name, method in results.methods.items():
        skill, kept = method.summary.get("proficiency"), method.summary.get(axis)
        if skill is not None and kept is not None and skill.delta is not None and kept.delta is not None:
            found.append((name, skill, kept))
    return found


def _panel(axes: Axes, axis: str, results: StudyResults, tall: float) -> None:
    colours = _colours(results)
    points = _points(results, axis)
    unit = points[0][2].unit
    axes.axhline(0, color=INK, linewidth=0.9)
    for name, skill, kept in points:
        x, y = 100 * (skill.delta or 0.0), scale(unit) * (kept.delta or 0.0)
        arms = axes.errorbar(
            x,
            y,
            xerr=_arms(skill, 100),
            yerr=_arms(kept, scale(unit)),
            fmt="o",
            markersize=5 if colours[name] == OTHER else 8,
            color=colours[name],
            elinewidth=1.1,
        )
        for line in arms.lines[2]:
            line.set_alpha(0.6 if colours[name] != OTHER else 0.4 if len(points) <= FEW else 0.15)
    axes.margins(x=0.14, y=0.12)
    plain_frame(axes)
    axes.set_xlabel("skill gained: change in proficiency, points", color=INK)
    shown = "points" if unit == "share" else UNIT_NAMES[unit]
    axes.set_ylabel(f"change in {in_text(axis)}, {shown}", color=INK)
    title = f"Skill gained and {in_text(axis)} kept (up and right is better)"
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=INK)
    places = [(n, 100 * (s.delta or 0.0), scale(unit) * (k.delta or 0.0)) for n, s, k in points]
    _name_points(axes, places, tall)


def _arms(summary: Summary, by: float) -> list[list[float]] | None:
    if summary.ci95 is None or summary.delta is None:
        return None
    low, high = summary.ci95
    return [[max(0.0, by * (summary.delta - low))], [max(0.0, by * (high - summary.delta))]]


def _name_points(axes: Axes, points: list[tuple[str, float, float]], tall: float) -> None:
    """Write the names in a column at the right, in the points' order of height, each led to its point."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    gap = LABEL / (tall - 0.8) * (high - low)  # title and axis label take 0.8 inches
    ordered = sorted(points, key=lambda point: (-point[2], -point[1]))
    for (name, x, y), place in zip(ordered, _spread([y for _, _, y in ordered], gap, low, high), strict=True):
        axes.annotate(
            name,
            (x, y),
            xytext=(1.03, place),
            textcoords=("axes fraction", "data"),
            va="center",
            fontsize=9,
            color=INK,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": GRID, "alpha": 0.6, "linewidth": 0.7, "shrinkB": 4},
        )


def _spread(heights: list[float], gap: float, low: float, high: float) -> list[float]:
    """Places near falling heights, at least a gap apart, between low and high as far as they fit."""
    places: list[float] = []
    for height in heights:
        places.append(min(height, places[-1] - gap) if places else min(height, high))
    floor = low
    for index in range(len(places) - 1, -1, -1):
        places[index] = max(places[index], floor)
        floor = places[index] + gap
    return places


def describe(axis: str, results: StudyResults) -> str:
    """A chart in words, for those who cannot see it.

    Args:
        axis: A key of `figures`.
        results: The study's results.

    Returns:
        One sentence.
    """
    if axis == NAMES[0]:
        return sequence.describe(results)
    if axis == NAMES[-1]:
        return "Change in proficiency against change in safety and in knowledge, one point per method."
    parts = [
        f"{name} {level(s.before, s.unit)} to {level(s.after, s.unit)} ({change(s.delta, s.unit)})"
        for name, method in results.methods.items()
        if (s := method.summary.get(axis)) is not None
    ]
    unit = next((m.summary[axis].unit for m in results.methods.values() if axis in m.summary), None)
    return f"{axis_name(axis, unit)} before and after: {'; '.join(parts)}."
