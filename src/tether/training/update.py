"""The update that training made to the base, which can be scaled: theta0 + alpha * (theta - theta0).

Scaling an adapter's output by alpha is that interpolation; for all weights, a copy of the base's is kept.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol

import torch
from peft.helpers import rescale_adapter_scale
from peft.tuners.lora import LoraLayer

from tether.bases import to_bfloat16

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import PreTrainedModel


class Update(Protocol):
    """What a training changed."""

    model: PreTrainedModel

    def scaled(self, alpha: float) -> AbstractContextManager[None]:
        """The model with ``alpha`` times the update, within a `with` block."""

    def keep(self, alpha: float) -> None:
        """Make ``alpha`` times the update the update."""


class AdapterUpdate:
    """The update of a LoRA adapter."""

    def __init__(self, model: PreTrainedModel) -> None:
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
                    module.lora_B[name].weight.mul_(alpha)  # type: ignore[operator]


class WeightUpdate:
    """The update of all weights.

    Args:
        model: The model before training; its weights are copied to the CPU in bfloat16, as the base has them.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self._base = {name: _copy(weight, torch.bfloat16) for name, weight in model.named_parameters()}
        self._tuned: dict[str, torch.Tensor] = {}

    def trained(self) -> WeightUpdate:
        """After training: keep the tuned weights in float32; go on in bfloat16, as the model is saved."""
        self._tuned = {name: _copy(weight, torch.float32) for name, weight in self.model.named_parameters()}
        to_bfloat16(self.model)
        return self

    @contextmanager
    def scaled(self, alpha: float) -> Iterator[None]:
        """The model with ``alpha`` times the update; afterwards all of it again."""
        self._set(alpha)
        try:
            yield
        finally:
            self._set(1.0)

    def keep(self, alpha: float) -> None:
        """Move the weights to ``alpha`` times the update."""
        self._set(alpha)

    @torch.no_grad()
    def _set(self, alpha: float) -> None:
        for name, weight in self.model.named_parameters():
            base = self._base[name].float()
            weight.copy_(base + alpha * (self._tuned[name] - base))


def _copy(weight: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return weight.detach().to("cpu", dtype, copy=True)
