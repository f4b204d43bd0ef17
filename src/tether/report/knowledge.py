"""Knowledge in detail: what was kept item by item, by kind, and by measures that are no score."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tether.report.examples import shorten
from tether.report.records import items_of
from tether.report.tables import Row, Table
from tether.report.words import MISSING, by_base, called, change, interval, level, number
from tether.results import SECONDARY, turned

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tether.results import Item, MethodResult, Part, StudyResults, Turned

LISTED = 60  # items of one method that are shown; the others are counted
MEASURES = {
    "bits_per_byte": "Plain bits per byte (lower fits better)",
    "token_f1": "Token F1 of generated answers",
    "rouge_l": "ROUGE-L of generated answers",
}
SCORED_BY = {
    "choice": "multiple choice, %",
    "open": "association gain, bits/byte",
    "text": "bits/byte of running text, minus",
    "written": "token F1, %",
}


def retained(results: StudyResults) -> Table:
    """How many of the right answers each method kept."""
    rows = tuple(
        Row((called(name, method), *_retained(method)))
        for name, method in by_base(results)
        if "knowledge" in method.summary and method.summary["knowledge"].retained is not None
    )
    return Table(
        "Knowledge retained",
        "Multiple choice, item by item: of the questions that the base had right, the share still right, "
        "averaged over seeds, with its 95% interval over items. A net change near zero can hide as many lost "
        "as gained. Any change of the weights turns some: compare methods.",
        ("Method", "Kept (%)", "95% interval", "Lost (1 to 0)", "Gained (0 to 1)", "n", "Seeds"),
        rows,
    )


def _retained(method: MethodResult) -> tuple[str, ...]:
    found = method.summary["knowledge"]
    ends = found.retained_ci95
    return (
        level(found.retained, "share"),
        MISSING if ends is None else f"{level(ends[0], 'share')} to {level(ends[1], 'share')}",
        number(found.lost, 1),
        number(found.gained, 1),
        str(found.n),
        str(found.seeds),
    )


def turned_items(run: Path, results: StudyResults) -> list[Table]:
    """Per method, the questions of multiple choice that turned, with the answers picked.

    Args:
        run: The study's folder, with its per-item records.
        results: The study's results.

    Returns:
        One table for each method with any such question.

    Raises:
        UserError: A file of records has a bad row.
    """
    return [_turned_table(name, method, found) for name, method, found in _turned(run, results) if found]


def _turned(run: Path, results: StudyResults) -> Iterator[tuple[str, MethodResult, list[Turned]]]:
    for name, method in results.methods.items():
        if method.seeds:
            before = _choices(run, name, method, next(iter(method.seeds)), before=True)
            after = {seed: _choices(run, name, method, seed, before=False) for seed in method.seeds}
            yield name, method, turned(before, after)


def _choices(run: Path, name: str, method: MethodResult, seed: str, *, before: bool) -> list[Item]:
    """The answers to multiple choice, but for those whose texts were not kept (benchmarks/keep.py)."""
    items = items_of(run, "knowledge", name, method, seed, before=before)
    return [item for item in items if item.group == "choice" and item.input]


def _turned_table(name: str, method: MethodResult, found: list[Turned]) -> Table:
    rows = tuple(
        Row(
            (
                "lost" if one.lost else "gained",
                shorten(one.before.input),
                shorten(one.before.output),
                shorten(one.after.output),
                shorten(one.right),
                one.before.source,
                f"{one.seeds} of {len(method.seeds)}",
            )
        )
        for one in found[:LISTED]
    )
    lost = sum(one.lost for one in found)
    left = f" {len(found) - LISTED} more stand in the records." if len(found) > LISTED else ""
    return Table(
        f"{name}: {lost} questions lost and {len(found) - lost} gained",
        f"In some seed; the answer after is that of the first seed in which it turned.{left}",
        ("Turned", "Question", "Picked before", "Picked after", "Right", "Source", "Seeds"),
        rows,
        texts=6,
    )


def secondary(results: StudyResults) -> Table:
    """Measures of free answers that are told and not scored, before and after."""
    rows = tuple(
        Row(
            (
                MEASURES[name],
                called(method_name, method),
                level(found.before, found.unit),
                level(found.after, found.unit),
                change(found.delta, found.unit),
                number(found.delta_percent, 1, signed=True),
                interval(found.ci95, found.unit),
                str(found.n),
            )
        )
        for name in SECONDARY
        for method_name, method in by_base(results)
        if (found := method.secondary.get(name)) is not None
    )
    return Table(
        "Secondary measures of free answers",
        "Told, not scored. Plain bits per byte of the reference answers measure style, not knowledge: under "
        "every fine-tuning of our pilot they fell, by 15%, as if much had been learned, while the "
        "association gain, which cancels style, fell by 1%. Token F1 and ROUGE-L (in %) reward answers of "
        "the reference's length and wording.",
        ("Measure", "Method", "Before", "After", "Difference", "In % of base", "95% interval", "n"),
        rows,
        texts=2,
    )


def parts(results: StudyResults) -> Table:
    """Knowledge by source, category and passage, the methods of one kind together."""
    told = [(part, called(name, method)) for name, method in by_base(results) for part in method.knowledge]
    told.sort(key=lambda row: _kind(row[0]))
    return Table(
        "Knowledge by source, category and passage",
        "Passage: whether the question came with a text to answer it from. Categories of few items stand "
        "together. Many rows of few items each: read where a loss lies, not whether there is one; one row in "
        "twenty shows a change where there is none.",
        (
            "Source",
            "Category",
            "Passage",
            "Scored by",
            "Method",
            "Before",
            "After",
            "Change",
            "95% interval",
            "n",
        ),
        tuple(_part(part, name) for part, name in told if part.summary.n),
        texts=5,
    )


def _kind(part: Part) -> tuple[str, str, str, bool]:
    return part.source, part.group, part.category, part.passage


def _part(part: Part, method: str) -> Row:
    found = part.summary
    return Row(
        (
            part.source,
            part.category or MISSING,
            "with" if part.passage else "without" if part.group in ("open", "written") else MISSING,
            SCORED_BY[part.group],
            method,
            level(found.before, found.unit),
            level(found.after, found.unit),
            change(found.delta, found.unit),
            interval(found.ci95, found.unit),
            str(found.n),
        )
    )
