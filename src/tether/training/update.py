"""The update that training made to the base, which can be scaled: theta0 + alpha * (theta - theta0).

Scaling an adapter's output by alpha is that interpolation; for all weights, a copy of the base's is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import torch
from peft import PeftModel
from peft.helpers import rescale_adapter_scale
from peft.tuners.lora import LoraLayer

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Update(Protocol):
    """What a training changed."""

    model: PreTrainedModel

    def scaled(self, alpha: float) -> contextmanager[None]:  # type: ignore[valid-type]
        """The model with ``alpha`` times the update, within a `with` block."""

    def keep(self, alpha: float) -> None:
        """Make ``alpha`` times the update the update."""


class AdapterUpdate:
    """The update of a LoRA adapter."""

    def __init__(self, model: PeftModel) -> None:
        self.model = model

    @contextmanager
    def scaled(self, alpha: float) -> Iterator[None]:
        """The model with ``alpha`` times the update."""
        with rescale_adapter_scale(self.model, alpha):
            yield

    @torch.no_grad()
    def keep(self, alpha: float) -> None:
        """Scale the adapter's B matrices, so that the saved adapter needs no word about alpha."""
        for module in self.model.modules():
            if isinstance(module, LoraLayer):
                for name in module.active_adapters:
                    module.lora_B[name].weight.mul_(alpha)


class WeightUpdate:
    """The update of all weights.

    Args:
        model: The model before training; its weights are copied to the CPU in bfloat16, as the base has them.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self._base = {name: weight.detach().to("cpu", torch.bfloat16, copy=True) for name, weight in self._weights()}

    def _weights(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        return self.model.named_parameters()

    @contextmanager
    def scaled(self, alpha: float) -> Iterator[None]:
        """The model with ``alpha`` times the update; the tuned weights come back to the bit."""
        tuned = {name: weight.detach().clone() for name, weight in self._weights()}
        self.keep(alpha)
        try:
            yield
        finally:
            with torch.no_grad():
                for name, weight in self._weights():
                    weight.copy_(tuned[name])

    @torch.no_grad()
    def keep(self, alpha: float) -> None:
        """Move the weights to ``alpha`` times the update."""
        for name, weight in self._weights():
            base = self._base[name].to(weight)
            weight.copy_(base + alpha * (weight - base))
