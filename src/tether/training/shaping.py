"""Training all weights in the directions which the anchors leave free: every step's update is filtered.

The rewind's filter (training/geometry.py) applied after the training can only take away; applied to each
step, the rest of the update learns to do without what was taken. The optimizer is not touched: the move that
it made is multiplied by the filter afterwards, which costs a product of the weight's size with (width,
width). A LoRA needs none of this, for its A is filtered once, before it begins (training/starts.py).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback

from tether.anchors.layered import owners
from tether.training.kept import Kept, keep
from tether.training.starts import Start, left_free
from tether.training.update import input_weights

if TYPE_CHECKING:
    from pathlib import Path

    from tether.anchors.layered import Layers
    from tether.training.geometry import Geometry


class Shaping(TrainerCallback):
    """Filters each optimizer step.

    Args:
        filters: By layer, what a move is multiplied by: (width, width), or a diagonal (width,).
    """

    def __init__(self, filters: Layers) -> None:
        self._filters = filters
        self._weights: dict[str, torch.Tensor] = {}
        self._before: dict[str, torch.Tensor] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Find the weights."""
        weights = input_weights(kwargs["model"])
        self._weights = {name: weight for name, weight in weights.items() if name in self._filters}

    @torch.no_grad()
    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Keep what the weights are."""
        self._before = {name: weight.detach().clone() for name, weight in self._weights.items()}

    @torch.no_grad()
    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Filter the move that the optimizer made."""
        for name, before in self._before.items():
            by = self._filters[name].to(before.device)
            move = (self._weights[name] - before).to(by.dtype)
            self._weights[name].copy_(before + (move * by if by.ndim == 1 else move @ by))
        self._before.clear()


def shaping(
    geometry: Geometry, pull: float, folder: Path, *, lora: bool, white: bool = True
) -> TrainerCallback:
    """What keeps a training to what the anchors leave free: of a LoRA its start, of all weights every step.

    Args:
        geometry: Of the model's inputs before training.
        pull: How strongly.
        folder: Where filters may lie while it trains.
        lora: Whether a LoRA is trained.
        white: Whether a LoRA begins with rows whose answers to the domain are white.
    """
    if lora:
        return Start(partial(left_free, geometry=geometry, pull=pull, white=white))
    return Shaping(_filters(geometry, pull, folder / "filters.safetensors"))


def _filters(geometry: Geometry, pull: float, file: Path) -> Layers:
    """Every layer's filter in bfloat16; layers that share an input share theirs.

    They lie in this file, as large as half the model: for a processor each is read when it is due, a GPU
    holds them all.
    """
    if not file.exists():
        shared = owners(geometry.domain)
        made = {owner: geometry.filter(owner, pull).bfloat16() for owner in dict.fromkeys(shared.values())}
        keep(file, {name: made[owner] for name, owner in shared.items()})
    kept = Kept(file)
    return kept if geometry.device.type == "cpu" else kept.all(geometry.device)
