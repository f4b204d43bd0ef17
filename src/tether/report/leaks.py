"""Measured prompts that stand, word for word or nearly, in what a model has seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tether.report.examples import BRIEF
from tether.report.tables import Row, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tether.results import StudyResults

LISTED = 20
NOTHING: dict[str, Any] = {"exact": "refuse", "found": []}  # of studies from before it was written down


def leaks(results: StudyResults) -> Table:
    """Which prompt of which set stands where; the exact ones first."""
    found: Sequence[dict[str, str]] = results.provenance.get("leaks", NOTHING)["found"]
    rows = tuple(
        Row((leak["kind"], leak["a"], brief(leak["text"] or leak["id_a"]), leak["b"], brief(leak["id_b"])))
        for leak in found[:LISTED]
    )
    left = f" {len(found) - LISTED} more stand in results.json." if len(found) > LISTED else ""
    return Table(
        "Measured prompts that the models have seen",
        "Near: four fifths of the shorter text's runs of five words stand in the other. Such are measured: "
        "read their scores with care. Exact ones are measured only where the study allows it, or where they "
        f"stand among prompts that were taught with the model's own answers.{left}",
        ("Overlap", "Measured", "Prompt", "Stands in", "There"),
        rows,
        texts=5,
    )


def leak_warnings(results: StudyResults) -> list[str]:
    """What a reader must know of prompts that stand word for word in what the models have seen."""
    told = results.provenance.get("leaks", NOTHING)
    same = sum(leak["kind"] == "exact" for leak in told["found"])
    if not same:
        return []
    done = "were left out" if told["exact"] == "drop" else "were measured all the same"
    return [f"{same} measured prompts stand word for word in what the models have seen, and {done}."]


def brief(text: str) -> str:
    """A text's beginning on one line."""
    line = " ".join(text.split())
    return line if len(line) <= BRIEF else f"{line[:BRIEF]} …"
