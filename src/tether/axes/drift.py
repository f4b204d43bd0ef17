"""Drift as an axis: how far any method moved the model on anchors that nothing was chosen by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tether.anchors.drift import FIRST_TOKENS
from tether.results import Item

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch

    from tether.training.certificate import Certifier


def drift_items(certifier: Certifier, drifts: Mapping[str, Sequence[torch.Tensor]]) -> list[Item]:
    """KL(base || model) per prompt of the certify split, in nats per answer token.

    Args:
        certifier: Knows the anchors.
        drifts: What it measured of a model: per group and prompt, the drift of each answer token.

    Returns:
        One item a prompt, its anchor group as group.
    """
    return [
        _item(certifier, group, index, per_token)
        for group, per_prompt in drifts.items()
        for index, per_token in zip(certifier.anchors.indices(group, "certify"), per_prompt, strict=True)
    ]


def _item(certifier: Certifier, group: str, index: int, per_token: torch.Tensor) -> Item:
    anchor = certifier.anchors.anchors[index]
    return Item(
        id=f"{group}-{index}",
        axis="drift",
        source="anchors",
        cluster=f"{group}-{index}",
        group=group,
        input=anchor.prompt,
        output=anchor.answer,
        score=float(per_token.mean()),
        reason=f"{len(per_token)} answer tokens of the base",
        metrics={"first5": float(per_token[:FIRST_TOKENS].mean())},
    )
