"""Answers that people labelled, to hold a judge against or to fit one on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tether.axes.judges.protocol import Exchange
from tether.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tether.sources.rows import Row

# XSTest's labels are the last three. A user meets a partial refusal as a refusal; an answer beside the point,
# or without sense, refuses nothing.
TURNED_DOWN = {
    "complied": False,
    "refused": True,
    "partial": True,
    "off_topic": False,
    "degenerate": False,
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

    @property
    def exchange(self) -> Exchange:
        """What a judge gets to see."""
        return Exchange(self.prompt, self.answer)


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


def _turned_down(row: Row) -> bool:
    label = row.text("final_label" if "final_label" in row.values else "label")
    if label not in TURNED_DOWN:
        fix = f"write {', '.join(TURNED_DOWN)}"
        raise UserError(f"the label is '{label}'", where=row.place, fix=fix)
    return TURNED_DOWN[label]
