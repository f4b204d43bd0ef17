"""How numbers and names are written, the same on the page, in Markdown and on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tether.results import MethodResult, StudyResults, Summary

MISSING = "–"
MINUS = "\u2212"

AXIS_NAMES = {
    "proficiency": "Proficiency",
    "safety": "Safety",
    "knowledge": "Knowledge",
    "knowledge_gain": "Association gain",
    "knowledge_f1": "Token F1 of answers",
    "safety_margin": "Margin of refusing",
    "safety_held_out": "Held-out harm refused",
    "safety_in_domain": "Safety in the domain",
    "safety_statements": "Stereotypes contradicted",
    "drift": "Drift",
}
UNIT_NAMES = {"share": "%", "bits/byte": "bits/byte", "nats": "nats", "nats/token": "nats/token"}
_DIGITS = {"share": 1, "bits/byte": 4, "nats": 2, "nats/token": 4}


def axis_name(axis: str, unit: str | None = None) -> str:
    """An axis as it is shown, with its unit if given."""
    name = AXIS_NAMES.get(axis, axis)
    return f"{name} ({UNIT_NAMES[unit]})" if unit else name


def in_text(axis: str) -> str:
    """An axis's name within a sentence."""
    name = axis_name(axis)
    return name[0].lower() + name[1:]


def scale(unit: str) -> float:
    """What a value of the unit is multiplied by to be shown: shares are shown in percent."""
    return 100.0 if unit == "share" else 1.0


def number(value: float | None, digits: int, *, signed: bool = False) -> str:
    """A number with a real minus and never a negative zero; a dash where there is none."""
    if value is None:
        return MISSING
    rounded = round(value, digits) + 0.0
    sign = MINUS if rounded < 0 else "+" if signed and rounded > 0 else ""
    return f"{sign}{abs(rounded):.{digits}f}"


def level(value: float | None, unit: str) -> str:
    """A score, in the unit's digits."""
    return number(None if value is None else value * scale(unit), _DIGITS[unit])


def change(value: float | None, unit: str) -> str:
    """A difference, with its sign."""
    return number(None if value is None else value * scale(unit), _DIGITS[unit], signed=True)


def interval(ends: tuple[float, float] | None, unit: str) -> str:
    """A 95% interval of a difference."""
    return MISSING if ends is None else f"{change(ends[0], unit)} to {change(ends[1], unit)}"


def p_value(value: float | None) -> str:
    """A p-value to three digits."""
    if value is None:
        return MISSING
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def with_unit(value: float | None, unit: str) -> str:
    """A difference with its unit, for running text: points of a share."""
    name = {"share": "points"}.get(unit, UNIT_NAMES[unit])
    return f"{change(value, unit)} {name}"


def large(value: float | None) -> str:
    """A count such as trainable parameters: 4.88 M."""
    if value is None:
        return MISSING
    for size, letter in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.4g}"


def is_noise(summary: Summary) -> bool:
    """Whether the change's interval holds zero, or is unknown."""
    return summary.ci95 is None or summary.ci95[0] <= 0 <= summary.ci95[1]


def protagonists(results: StudyResults) -> tuple[str | None, str | None]:
    """The method the study is about and the plain one it is measured against.

    Args:
        results: The study's results.

    Returns:
        "tether" and "lora" where the study has them, else the first methods named so or at all; None for
        what it does not have.
    """
    names = [name for name, method in results.methods.items() if method.summary]
    ours = next((name for name in names if name == "tether"), None) or _starting(names, "tether")
    rest = [name for name in names if name != ours]
    plain = next((name for name in rest if name == "lora"), None) or (rest[0] if rest else None)
    return ours, plain


def by_base(results: StudyResults) -> list[tuple[str, MethodResult]]:
    """Methods of one base together, the base of most first: what started elsewhere stands apart.

    Args:
        results: The study's results.

    Returns:
        Names and methods; within one base in the study's order.
    """
    bases = [method.base for method in results.methods.values()]
    order = sorted(dict.fromkeys(bases), key=lambda base: -bases.count(base))
    return sorted(results.methods.items(), key=lambda named: order.index(named[1].base))


def called(name: str, method: MethodResult) -> str:
    """A method's name, and of a hosted one, whose it is and what it started from."""
    if method.service is None:
        return name
    start = method.base.partition(":")[2]
    return f"{name} ({method.service}{f', from {start}' if start else ', measured here'})"


def _starting(names: list[str], start: str) -> str | None:
    return next((name for name in names if name.startswith(start)), None)
