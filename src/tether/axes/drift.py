"""Drift as an axis: how far any method moved the model on anchors that nothing was chosen by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tether.anchors.drift import FIRST_TOKENS
from tether.results import Item

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch

    from tether.anchors.anchors import Anchor, AnchorSet


def drift_items(anchors: AnchorSet, drifts: Mapping[str, Sequence[torch.Tensor]]) -> list[Item]:
    """KL(base || model) per prompt of the certify split, in nats per answer token.

    Args:
        anchors: The anchors.
        drifts: What was measured of a model: per group and prompt, the drift of each answer token.

    Returns:
        One item a prompt, its anchor group as group.
    """
    return [
        _item(anchors.anchors[index], index, per_token)
        for group, per_prompt in drifts.items()
        for index, per_token in zip(anchors.indices(group, "certify"), per_prompt, strict=True)
    ]


def _item(anchor: Anchor, index: int, per_token: torch.Tensor) -> Item:
    return Item(
        id=f"{anchor.group}-{index}",
        axis="drift",
        source="anchors",
        cluster=f"{anchor.group}-{index}",
        group=anchor.group,
        input=anchor.prompt,
        output=anchor.answer,
        score=float(per_token.mean()),
        reason=f"{len(per_token)} answer tokens of the base",
        metrics={"first5": float(per_token[:FIRST_TOKENS].mean())},
    )
