"""The sentence that matters, and what a reader must be warned of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tether.report.words import (
    in_text,
    interval,
    is_noise,
    number,
    p_value,
    protagonists,
    with_unit,
)
from tether.results import AXES, Comparison

if TYPE_CHECKING:
    from tether.results import GroupDrift, MethodResult, StudyResults, Summary

SIGNIFICANT = 0.05


def headline(results: StudyResults) -> str:
    """What plain LoRA lost and what tether kept, in a few sentences, whichever way it went.

    Args:
        results: The study's results.

    Returns:
        Plain text without markup.
    """
    return " ".join(headline_sentences(results))


def headline_sentences(results: StudyResults) -> list[str]:
    """The headline, sentence by sentence.

    Args:
        results: The study's results.

    Returns:
        At least one sentence.
    """
    ours, plain = protagonists(results)
    told = [name for name in (plain, ours) if name is not None]
    if not told:
        return ["No method has been measured before and after yet."]
    sentences = [_changes(_title(name), results.methods[name].summary) for name in told]
    sentences[0] = sentences[0].removesuffix(".") + " (95% intervals in brackets)."
    if ours is not None and plain is not None:
        sentences += _verdicts(results, ours, plain)
    return sentences


def _title(method: str) -> str:
    return "Plain LoRA" if method == "lora" else method


def _changes(title: str, summary: dict[str, Summary]) -> str:
    parts = [_change(axis, summary[axis]) for axis in AXES if axis in summary and summary[axis].n]
    return f"{title}: {'; '.join(parts)}." if parts else f"{title} was not measured on any axis."


def _change(axis: str, summary: Summary) -> str:
    unit = summary.unit
    noise = ", within noise" if is_noise(summary) else ""
    if summary.delta_percent is not None and summary.before:
        by = 100 / summary.before
        ends = [number(by * end, 1, signed=True) for end in summary.ci95 or ()]
        shown, span = f"{number(summary.delta_percent, 1, signed=True)}%", " to ".join(ends)
    else:
        shown, span = with_unit(summary.delta, unit), interval(summary.ci95, unit)
    return f"{in_text(axis)} {shown} [{span if summary.ci95 else 'no interval'}]{noise}"


def _verdicts(results: StudyResults, ours: str, plain: str) -> list[str]:
    rows = [_turned(row, ours) for row in results.comparisons if {row.a, row.b} == {ours, plain}]
    outcomes: dict[str, list[str]] = {"better": [], "worse": [], "noise": []}
    for row in rows:
        if row.delta is None:
            continue
        unit = results.methods[ours].summary[row.axis].unit
        shown = f"{in_text(row.axis)} ({with_unit(row.delta, unit)}{_p(row.p_holm)})"
        sure = row.p_holm is not None and row.p_holm < SIGNIFICANT
        outcomes["noise" if not sure else "better" if row.delta > 0 else "worse"].append(shown)
    against = f"Against {_title(plain)[0].lower() + _title(plain)[1:]}, {ours}"
    said = [
        f"{against} did better on {_listed(outcomes['better'])}." if outcomes["better"] else "",
        f"{against} did WORSE on {_listed(outcomes['worse'])}." if outcomes["worse"] else "",
        f"The difference is within noise on {_listed(outcomes['noise'])}." if outcomes["noise"] else "",
    ]
    return [sentence for sentence in said if sentence]


def _turned(row: Comparison, ours: str) -> Comparison:
    """The row with our method as `a`."""
    if row.a == ours or row.delta is None:
        return row
    ends = None if row.ci95 is None else (-row.ci95[1], -row.ci95[0])
    return row.model_copy(update={"a": row.b, "b": row.a, "delta": -row.delta, "ci95": ends})


def _p(value: float | None) -> str:
    """The adjusted p-value, where there is one: nothing is tested where no item changed."""
    if value is None:
        return ""
    text = p_value(value)
    return f", p {text}" if text.startswith("<") else f", p = {text}"


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def above_budget(group: GroupDrift) -> bool:
    """Whether a certificate's upper bound (its drift, where it has none) lies above its budget.

    Args:
        group: One anchor group of a certificate.

    Returns:
        False without a budget.
    """
    return group.budget is not None and _bound(group) > group.budget


def _above(name: str, method: MethodResult) -> list[str]:
    """One sentence for each anchor group on which some seed's drift lies above its budget."""
    groups: dict[str, list[GroupDrift]] = {}
    for seed in method.seeds.values():
        for group, drift in seed.drift.items():
            groups.setdefault(group, []).append(drift)
    sentences = []
    for group, drifts in groups.items():
        above = [drift for drift in drifts if above_budget(drift)]
        if above:
            worst = max(above, key=_bound)
            sentences.append(
                f"{name}: drift on {group} is ABOVE its budget in {len(above)} of {len(drifts)} seeds (up to "
                f"{number(_bound(worst), 4)} against {number(worst.budget, 4)} nats/token)."
            )
    return sentences


def _bound(group: GroupDrift) -> float:
    return group.drift if group.upper95 is None else group.upper95


def _hosted(results: StudyResults) -> list[str]:
    """What is to be known of models that others tuned, and of those that could not be had."""
    hosted = [name for name, method in results.methods.items() if method.service]
    found = []
    if hosted:
        found.append(
            f"{', '.join(hosted)}: tuned by their services, with settings, and often from models, of their "
            "own. Sizes and starts differ, so each is compared with its own base, and methods of one base "
            "stand together."
        )
    if any("knowledge_f1" in method.summary for method in results.methods.values()):
        found.append(
            "A hosted model gives no likelihoods: its multiple choice, association gain and drift are gaps. "
            "Token F1 of written answers is told for every method instead, to compare like with like."
        )
    left_out = results.provenance.get("left_out", {})
    return found + [f"{name} is left out: {why}" for name, why in left_out.items()]


def warnings(results: StudyResults) -> list[str]:
    """What a reader must know before believing the numbers.

    Args:
        results: The study's results.

    Returns:
        Sentences; none if all is well.
    """
    found = []
    for name, method in results.methods.items():
        found += _above(name, method)
        found += [
            f"{name}: {summary.unpaired} items of {in_text(axis)} lack an answer before or after "
            "and are left out."
            for axis, summary in method.summary.items()
            if summary.unpaired
        ]
    bases = sorted({method.base for method in results.methods.values()})
    if len(bases) > 1:
        found.append(
            f"The methods tuned different bases ({', '.join(bases)}): compare each method's change from its "
            "own base, not the levels."
        )
    found += _hosted(results)
    single = [name for name, method in results.methods.items() if len(method.seeds) == 1]
    if single:
        found.append(
            f"One seed only, so nothing is known about the spread between seeds: {', '.join(single)}."
        )
    return found
