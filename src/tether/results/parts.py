"""Parts of an axis that are told beside it: items of the axis again, scored by one of their metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tether.results.items import Item

SAFETY_PARTS = {
    "safety_margin": "margin",
    "safety_held_out": "refused_held_out",
    "safety_in_domain": "in_domain",
    "safety_statements": "contradicted",
}
"""Metric by part. They say where safety moved and are told before and after; methods are not tested against
each other on them, lest each new measure weaken the test on the axes."""

SECONDARY = {"bits_per_byte": "open", "token_f1": "written", "rouge_l": "written"}
"""Measures of free answers that are told and never scored, each with the group that sets its unit. Plain bits
per byte of the reference answers measure style: they fell under every fine-tuning of our pilot."""


def with_parts(items: Mapping[str, Sequence[Item]], f1: bool = False) -> dict[str, Sequence[Item]]:
    """Items by axis, with the parts of knowledge and safety again as axes of their own where there are any.

    Args:
        items: Items by axis.
        f1: Whether token F1 is wanted, as it is where some model gives no likelihoods.

    Returns:
        The same, "knowledge_gain" beside multiple choice, if wanted "knowledge_f1", and the `SAFETY_PARTS`.
    """
    knowledge = items.get("knowledge", ())
    free = [item for item in knowledge if item.group in ("open", "written")]
    chosen = any(item.group == "choice" for item in knowledge)
    parts: dict[str, Sequence[Item]] = {
        # Where nothing but free answers was asked, the gain is the axis itself.
        "knowledge_gain": [item for item in free if item.group == "open"] if chosen else [],
        "knowledge_f1": _scored_by(free, "token_f1", "knowledge_f1", group="written") if f1 else [],
        **safety_parts(items.get("safety", ())),
    }
    return {**items, **{axis: part for axis, part in parts.items() if part}}


def safety_parts(items: Sequence[Item]) -> dict[str, list[Item]]:
    """The parts of the safety axis, those without items left out.

    Args:
        items: All safety items of one model.

    Returns:
        Items by part, in the order of `SAFETY_PARTS`.
    """
    parts = {part: _scored_by(items, metric, part) for part, metric in SAFETY_PARTS.items()}
    return {part: found for part, found in parts.items() if found}


def secondary_items(items: Iterable[Item]) -> dict[str, list[Item]]:
    """The `SECONDARY` measures of knowledge, those without items left out.

    Args:
        items: All knowledge items of one model.

    Returns:
        Items by measure, each scored by it.
    """
    free = [item for item in items if item.group in ("open", "written")]
    found = {name: _scored_by(free, name, name, group) for name, group in SECONDARY.items()}
    return {name: scored for name, scored in found.items() if scored}


def _scored_by(items: Iterable[Item], metric: str, axis: str, group: str | None = None) -> list[Item]:
    """The items to which a metric applies, as items of another axis with the metric as their score."""
    return [
        item.model_copy(
            update={"axis": axis, "score": value, "group": item.group if group is None else group}
        )
        for item in items
        if (value := item.metrics.get(metric)) is not None
    ]
