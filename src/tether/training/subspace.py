"""Keeping to a subspace after the optimizer's step instead of before it.

OSF (arXiv:2504.07097) takes of the gradients what lies in the directions to be kept. Adam then divides each
entry by a scale of its own, which turns the result back into those directions. What holds is to take the same
of the move that was made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from peft.tuners.osf.layer import OSFLayer
from transformers import TrainerCallback

if TYPE_CHECKING:
    from collections.abc import Iterator


class AfterStep(TrainerCallback):
    """Takes of OSF's factors, after each step, what has moved into the directions that are kept."""

    @torch.no_grad()
    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Keep every layer off."""
        for layer, adapter in _layers(kwargs["model"]):
            factors = layer.osf_svd_params[adapter]
            kept = layer._osf_U_high, layer._osf_V_high
            first = layer._osf_U_low_init[adapter], layer._osf_V_low_init[adapter]
            up = _off(factors["U_low"] - first[0], first[0], _of(kept[0], adapter))
            down = _off((factors["V_low"] - first[1]).T, first[1].T, _of(kept[1], adapter, rows=True))
            factors["U_low"].copy_(first[0] + up)
            factors["V_low"].copy_(first[1] + down.T)


def _of(kept: Any, adapter: str, rows: bool = False) -> torch.Tensor | None:
    """The directions that PEFT keeps, in columns; it stores none where ``_low_init`` spans all others."""
    if adapter not in kept:
        return None
    directions: torch.Tensor = kept[adapter]
    return directions.T if rows else directions


def _off(move: torch.Tensor, free: torch.Tensor, kept: torch.Tensor | None) -> torch.Tensor:
    """What of a move, in columns, lies off the kept directions; where none are stored, in the free ones."""
    return free @ (free.T @ move) if kept is None else move - kept @ (kept.T @ move)


def _layers(model: torch.nn.Module) -> Iterator[tuple[Any, str]]:
    for layer in model.modules():
        if isinstance(layer, OSFLayer):
            for adapter in layer.active_adapters:
                yield layer, adapter
