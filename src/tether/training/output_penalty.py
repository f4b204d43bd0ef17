"""A penalty on what an update does to a layer's outputs on anchors: tr(dW C dW^T) over tr(W C W^T).

With C the second moment of the layer's inputs on anchors (anchors/moments.py) the one is what the update adds
to the outputs in the mean square, the other what the base gives there. Of a LoRA whose A stays, dW = s B A,
so that the penalty is a form of rank by rank, tr(B F B^T) with F = s^2 A C A^T / tr(W C W^T), found once
before training; no anchor is read for it and a step costs one product more of each B. `tether inspect` shows
the root of a layer's as its disturbance (inspection/energy.py).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback

from tether.anchors.sketch import opened
from tether.training.update import linear_layers, lora_products

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tether.anchors.layered import Layers


class OutputPenalty(TrainerCallback):
    """Adds the gradient of the penalty, all layers' together, to each step's, after clipping.

    Args:
        strength: Of the penalty: at 1 an update that adds as much to one layer's outputs as the base gives
            there costs 1 nat per token.
        anchors: The second moments of the layers' inputs on anchors.

    Attributes:
        seconds: What finding the forms has taken.
    """

    def __init__(self, strength: float, anchors: Layers) -> None:
        self._strength, self._anchors, self.seconds = strength, anchors, 0.0
        self._forms: list[tuple[torch.Tensor, torch.Tensor]] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Find the forms of A as it now is, where it stays."""
        started = time.perf_counter()
        self._forms = list(output_forms(kwargs["model"], self._anchors))
        self.seconds += time.perf_counter() - started

    @torch.no_grad()
    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Pull every B that has a gradient."""
        for weight, form in self._forms:
            if weight.grad is not None:
                weight.grad.addmm_(weight, form, alpha=2 * self._strength)


@torch.no_grad()
def output_forms(model: torch.nn.Module, anchors: Layers) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """By layer whose inputs were seen B, (rows, rank), and F, (rank, rank): the penalty is tr(B F B^T)."""
    layers = linear_layers(model)
    for name, (first, second, scale) in lora_products(model).items():
        if name in anchors:
            weight = layers[name].weight.float()
            inputs = opened(anchors[name].to(first.device), torch.float32)
            given = (inputs.times(weight) * weight).sum()
            seen = inputs.times(first.float()) @ first.float().T
            yield second, (scale**2 * seen / given).to(second)
