"""Training that keeps to the directions which the anchors leave free: every step's update is shaped.

The rewind's filter (training/geometry.py) applied after the training can only take away; applied to each
step, the rest of the update learns to do without what was taken. The optimizer is not touched: after its step
the move of each weight is multiplied by P = D (D + pull C)^-1, which costs one product of the weight's size
with (width, width). A LoRA's first A, random, would let B act along the anchors' directions as along any
other; it is shaped too, its size kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback

from tether.training.update import input_weights, is_adapted

if TYPE_CHECKING:
    from tether.anchors.moments import Moments


class Shaping(TrainerCallback):
    """Shapes each optimizer step: in a trainer as its callback, in a loop of one's own by the plain methods.

    Args:
        filters: P by layer, (width, width) or its diagonal (width,), float32.
    """

    def __init__(self, filters: Moments) -> None:
        self._filters = filters
        self._weights: dict[str, torch.Tensor] = {}
        self._before: dict[str, torch.Tensor] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """As ``begin``."""
        self.begin(kwargs["model"], state.global_step)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """As ``before_step``."""
        self.before_step()

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """As ``after_step``."""
        self.after_step()

    def begin(self, model: torch.nn.Module, step: int = 0) -> None:
        """Find the weights; of a LoRA that begins, shape the first A."""
        self._weights = {
            name: weight for name, weight in input_weights(model).items() if name in self._filters
        }
        if is_adapted(model) and step == 0:
            self._shape_start()

    @torch.no_grad()
    def _shape_start(self) -> None:
        for name, weight in self._weights.items():
            shaped = self._shaped(name, weight)
            weight.copy_(shaped * (weight.norm() / shaped.norm()))

    @torch.no_grad()
    def before_step(self) -> None:
        """Remember where the weights are."""
        for name, weight in self._weights.items():
            self._before[name] = weight.detach().clone()

    @torch.no_grad()
    def after_step(self) -> None:
        """Shape the move that the optimizer made."""
        for name, weight in self._weights.items():
            before = self._before.pop(name)
            weight.copy_(before + self._shaped(name, weight - before))

    def _shaped(self, name: str, update: torch.Tensor) -> torch.Tensor:
        by = self._filters[name].to(update.device, update.dtype)
        return update * by if by.ndim == 1 else update @ by
