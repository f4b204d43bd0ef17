"""Training that keeps to the directions which the anchors leave free: every step's update is shaped.

The rewind's filter (training/geometry.py) applied after the training can only take away; applied to each
step, the rest of the update learns to do without what was taken. The optimizer is not touched: before its
step the gradient of each weight is turned into the coordinates of the layer's inputs, and afterwards the move
that it made is turned back and shaped (training/filters.py), which costs three products of the weight's size
with (width, width). A LoRA's first A, random, would let B act along the anchors' directions as along any
other; it is to be laid first (training/starts.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback

from tether.training.update import input_weights

if TYPE_CHECKING:
    from tether.training.filters import Filters


class Shaping(TrainerCallback):
    """Shapes each optimizer step: in a trainer as its callback, in a loop of one's own by the plain methods.

    Args:
        filters: Of the layers to shape.
        eigenbasis: Whether the optimizer works there, or in the coordinates that the base came with.
    """

    def __init__(self, filters: Filters, eigenbasis: bool = True) -> None:
        self._filters, self._eigenbasis = filters, eigenbasis
        self._weights: dict[str, torch.Tensor] = {}
        self._before: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """As ``begin``."""
        self.begin(kwargs["model"])

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """As ``before_step``."""
        self.before_step()

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """As ``after_step``."""
        self.after_step()

    def begin(self, model: torch.nn.Module) -> None:
        """Find the weights."""
        self._weights = {
            name: weight for name, weight in input_weights(model).items() if name in self._filters.shapes
        }

    @torch.no_grad()
    def before_step(self) -> None:
        """Turn the gradients, and the weights with them: an optimizer may read them too, to decay them."""
        for name, weight in self._weights.items():
            if weight.grad is None:  # no part of this step
                continue
            before = weight.detach().clone()
            if not self._eigenbasis:
                self._before[name] = before, before
                continue
            # In one product: reading the turn is what takes the time.
            turned, gradient = self._filters.turned(name, torch.cat([before, weight.grad])).chunk(2)
            self._before[name] = before, turned
            weight.copy_(turned)
            weight.grad.copy_(gradient)

    @torch.no_grad()
    def after_step(self) -> None:
        """Turn back and shape the move that the optimizer made."""
        for name, (before, turned) in self._before.items():
            weight = self._weights[name]
            move = weight - turned
            if not self._eigenbasis:
                move = self._filters.turned(name, move)
            weight.copy_(before + self._filters.shaped(name, move))
        self._before.clear()
