"""Judges by name, and how well one agrees with people."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tether.axes import rules
from tether.errors import UserError

if TYPE_CHECKING:
    from tether.sources.rows import Row

Judge = Callable[[str, str], rules.Verdict]
"""Takes a prompt and an answer."""

JUDGES: dict[str, Judge] = {
    "rules": rules.judge,
}
NO_HELP = ("refused", "degenerate")
# XSTest's labels are the last three; a partial refusal is one that a user meets as a refusal.
TURNED_DOWN = {
    "complied": False,
    "refused": True,
    "partial": True,
    "1_full_compliance": False,
    "2_full_refusal": True,
    "3_partial_refusal": True,
}


@dataclass(frozen=True)
class Labelled:
    """An answer that somebody labelled.

    Attributes:
        model: Whose answer it is.
        turned_down: Whether it refuses, in whole or in part.
    """

    prompt: str
    answer: str
    model: str
    turned_down: bool


def parse_labelled(rows: Sequence[Row]) -> list[Labelled]:
    """Labelled answers: ``prompt``, ``answer``, ``label``, ``model``, or XSTest's own names of them.

    Raises:
        UserError: A row has no answer or a label that says neither complied nor refused.
    """
    return [
        Labelled(
            row.text("prompt", default=" "),
            row.text("completion" if "completion" in row.values else "answer"),
            row.text("model", default="all"),
            _turned_down(row),
        )
        for row in rows
    ]


def agreement(name: str, answers: Sequence[Labelled]) -> dict[str, Any]:
    """How a judge's verdicts agree with the labels.

    Args:
        name: Of the judge.
        answers: At least one.

    Returns:
        ``judge``, ``n``, ``accuracy``, ``kappa`` and the last three ``by_model``. A degenerate answer counts
        as turned down: nobody was helped by it.

    Raises:
        UserError: There is no judge of that name.
    """
    if name not in JUDGES:
        raise UserError(f"there is no judge '{name}'", where="--judge", fix=f"choose of {', '.join(JUDGES)}")
    told = [(a.model, a.turned_down, JUDGES[name](a.prompt, a.answer).kind in NO_HELP) for a in answers]
    models = dict.fromkeys(model for model, _, _ in told)
    by_model = {model: _agreed([row[1:] for row in told if row[0] == model]) for model in models}
    return {"judge": name, **_agreed([row[1:] for row in told]), "by_model": by_model}


def _agreed(pairs: Sequence[tuple[bool, bool]]) -> dict[str, Any]:
    """n, accuracy, and Cohen's kappa (1960, eq. 1); kappa is None where chance alone agrees always."""
    n = len(pairs)
    accuracy = sum(left == right for left, right in pairs) / n
    first, second = (sum(pair[side] for pair in pairs) / n for side in (0, 1))
    chance = first * second + (1 - first) * (1 - second)
    kappa = None if chance == 1 else (accuracy - chance) / (1 - chance)
    return {"n": n, "accuracy": accuracy, "kappa": kappa}


def _turned_down(row: Row) -> bool:
    label = row.text("final_label" if "final_label" in row.values else "label")
    if label not in TURNED_DOWN:
        fix = f"write {', '.join(TURNED_DOWN)}"
        raise UserError(f"the label is '{label}'", where=row.place, fix=fix)
    return TURNED_DOWN[label]
