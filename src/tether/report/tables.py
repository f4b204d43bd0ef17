"""The report's tables as plain text cells, for the page, Markdown and the terminal alike."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from tether.report.headline import above_budget
from tether.report.words import (
    MISSING,
    axis_name,
    by_base,
    called,
    change,
    in_text,
    interval,
    is_noise,
    large,
    level,
    number,
    p_value,
)
from tether.results import AXES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tether.results import GroupDrift, MethodResult, StudyResults, Summary, Train


@dataclass(frozen=True)
class Row:
    """One row: its cells, and whether it must leap to the eye."""

    cells: tuple[str, ...]
    loud: bool = False


@dataclass(frozen=True)
class Table:
    """A table with a title and a note on how to read it."""

    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    texts: int = 1  # leading columns of words; the others are numbers and stand at the right


def overview(results: StudyResults) -> Table:
    """One row per method: the change on each axis with its interval, and the worst drift."""
    axes = [axis for axis in AXES if any(axis in method.summary for method in results.methods.values())]
    units = {axis: _unit(results, axis) for axis in axes}
    rows = tuple(
        Row(
            (called(name, method), *(_brief(method.summary.get(axis)) for axis in axes), _worst_drift(method))
        )
        for name, method in by_base(results)
    )
    return Table(
        "At a glance",
        "Change from the method's own base, with its 95% interval over items; shares in points. An asterisk "
        "marks a change whose interval excludes zero. Drift: of the group that drifted furthest, in "
        "nats/token, averaged over seeds.",
        ("Method", *(axis_name(axis, units[axis]) for axis in axes), "Drift"),
        rows,
    )


def _unit(results: StudyResults, axis: str) -> str:
    units = (m.summary[axis].unit for m in results.methods.values() if axis in m.summary)
    return next(units, "share")


def _brief(summary: Summary | None) -> str:
    if summary is None or summary.delta is None:
        return MISSING
    star = "" if is_noise(summary) else "*"
    ends = "" if summary.ci95 is None else f" [{interval(summary.ci95, summary.unit)}]"
    return f"{change(summary.delta, summary.unit)}{star}{ends}"


def _worst_drift(method: MethodResult) -> str:
    worst = [max(g.drift for g in seed.drift.values()) for seed in method.seeds.values() if seed.drift]
    return number(fmean(worst), 4) if worst else MISSING


def outcomes(results: StudyResults) -> Table:
    """Methods by axes: before, after, difference, interval, p, n and what n could have shown."""
    rows = tuple(
        Row((called(name, method), axis_name(axis, summary.unit), *_outcome(summary)))
        for name, method in by_base(results)
        for axis, summary in method.summary.items()
    )
    return Table(
        "Before and after",
        "Difference = after \u2212 before on the same items, averaged over seeds. The interval and p are "
        "over items, whole dialogues or prompts at a time; the spread between seeds stands apart. Smallest "
        "visible: the true difference that these items would show with 80% power. Lost and gained: items "
        "that turned from right to wrong and from wrong to right, per seed.",
        (
            "Method",
            "Axis",
            "Before",
            "After",
            "Difference",
            "In % of base",
            "95% interval",
            "p",
            "n",
            "Seeds",
            "Seed s.d.",
            "Smallest visible",
            "Lost",
            "Gained",
            "Test",
        ),
        rows,
        texts=2,
    )


def _outcome(summary: Summary) -> tuple[str, ...]:
    unit = summary.unit
    return (
        level(summary.before, unit),
        level(summary.after, unit),
        change(summary.delta, unit),
        number(summary.delta_percent, 1, signed=True),
        interval(summary.ci95, unit),
        p_value(summary.p_value),
        str(summary.n),
        str(summary.seeds),
        level(summary.seed_sd, unit),
        level(summary.mdd, unit),
        number(summary.lost, 1),
        number(summary.gained, 1),
        summary.test or MISSING,
    )


def comparisons(results: StudyResults) -> Table:
    """Method against method, Holm-adjusted."""
    rows = []
    for row in results.comparisons:
        unit = next(
            (m.summary[row.axis].unit for m in results.methods.values() if row.axis in m.summary), "share"
        )
        cells = (
            row.a,
            row.b,
            axis_name(row.axis, unit),
            change(row.delta, unit),
            interval(row.ci95, unit),
            p_value(row.p_value),
            p_value(row.p_holm),
            str(row.n),
            "yes" if row.same_base else "no",
        )
        rows.append(Row(cells))
    return Table(
        "Method against method",
        "A's change from its base less B's, on the same items: above zero, A gained or kept more. "
        "p (Holm) is adjusted over this whole table.",
        ("A", "B", "Axis", "A less B", "95% interval", "p", "p (Holm)", "n", "Same base"),
        tuple(rows),
        texts=3,
    )


def certificates(results: StudyResults) -> Table:
    """Drift of every tuned model on anchors read once, against its budget."""
    rows = tuple(
        _certificate(name, seed, group, drift)
        for name, method in results.methods.items()
        for seed, result in method.seeds.items()
        for group, drift in result.drift.items()
    )
    return Table(
        "Drift certificates",
        "KL from the base in nats per answer token, on anchor prompts that neither training nor rewind read. "
        "What is held against the budget is the upper 95% bound. A mean can hide single flips: beside it "
        "stand the 95th percentile of the prompts' own means, and the mean over the first five tokens of the "
        "answers, where it is settled whether to refuse.",
        (
            "Method",
            "Seed",
            "Anchors",
            "Drift",
            "Upper 95%",
            "Budget",
            "Verdict",
            "95th percentile of prompts",
            "First five tokens",
            "Prompts",
            "Tokens",
        ),
        rows,
        texts=3,
    )


def _certificate(name: str, seed: str, group: str, drift: GroupDrift) -> Row:
    above = above_budget(drift)
    verdict = "no budget" if drift.budget is None else "ABOVE BUDGET" if above else "within"
    numbers = (number(drift.drift, 4), number(drift.upper95, 4), number(drift.budget, 4))
    within = (number(drift.prompt_p95, 4), number(drift.first5, 4))
    counts = tuple(MISSING if count is None else f"{count:,}" for count in (drift.prompts, drift.tokens))
    return Row((name, seed, group, *numbers, verdict, *within, *counts), loud=above)


def sweeps(results: StudyResults) -> Table:
    """Every learning rate tried, with its loss on the select split."""
    rows = tuple(
        Row(
            (
                name,
                f"{point.learning_rate:.3g}",
                number(point.select_loss, 4),
                "yes" if point.chosen else "",
            )
        )
        for name, points in results.sweeps.items()
        for point in points
    )
    return Table(
        "Learning rates tried",
        "Loss on training data kept aside, never on an evaluation file: nats per token of chats, DPO's per "
        "pair of preferences. A dash is a run that diverged.",
        ("Method", "Learning rate", "Loss", "Chosen"),
        rows,
    )


def training(results: StudyResults) -> Table:
    """What each method's training took, averaged over its seeds."""
    rows = []
    for name, method in results.methods.items():
        runs = [seed.train for seed in method.seeds.values() if seed.train is not None]
        cells = (
            name,
            method.base,
            ", ".join(method.seeds) or MISSING,
            large(_mean(runs, lambda train: train.trainable_parameters)),
            number(_mean(runs, lambda train: train.seconds), 0),
            number(_mean(runs, lambda train: train.tokens_per_second), 0),
            _gibibytes(_mean(runs, lambda train: train.peak_memory_bytes)),
        )
        rows.append(Row(cells))
    return Table(
        "Training",
        "Averages over seeds.",
        ("Method", "Base", "Seeds", "Trained parameters", "Seconds", "Tokens/s", "Peak memory (GiB)"),
        tuple(rows),
        texts=3,
    )


def _mean(runs: Iterable[Train], value: Callable[[Train], float | None]) -> float | None:
    values = [found for run in runs if (found := value(run)) is not None]
    return fmean(values) if values else None


def _gibibytes(value: float | None) -> str:
    return number(None if value is None else value / 2**30, 2)


def missing_cells(results: StudyResults) -> list[str]:
    """Which axis of which method has no number, for the page to say so.

    Args:
        results: The study's results.

    Returns:
        Names such as "openai: drift".
    """
    seen = [axis for axis in AXES if any(axis in m.summary for m in results.methods.values())]
    return [
        f"{name}: {in_text(axis)}"
        for name, method in results.methods.items()
        for axis in seen
        if axis not in method.summary or method.summary[axis].delta is None
    ]
