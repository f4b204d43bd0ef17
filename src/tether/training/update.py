"""The update that training made to the base, which can be scaled and shaped: theta0 + alpha * shape(delta).

Scaling an adapter's output by alpha is that interpolation; for all weights, a copy of the base's is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol

import torch
from peft.helpers import rescale_adapter_scale
from peft.tuners.lora import LoraLayer

from tether.bases import to_bfloat16

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import PreTrainedModel

Shape = Callable[[str, torch.Tensor], torch.Tensor]
"""Takes a layer's name and its update, (rows, input width), and gives the update to use instead."""


def as_it_is(name: str, update: torch.Tensor) -> torch.Tensor:
    """The shape that changes nothing."""
    return update


class Update(Protocol):
    """What a training changed."""

    model: PreTrainedModel

    @property
    def layers(self) -> dict[str, torch.nn.Module]:
        """The linear layers that changed, by the names that shapes are given."""

    def scaled(self, alpha: float, shape: Shape = as_it_is) -> AbstractContextManager[None]:
        """The model with ``alpha`` times the shaped update, within a `with` block."""

    def keep(self, alpha: float, shape: Shape = as_it_is) -> None:
        """Make ``alpha`` times the shaped update the update."""


class AdapterUpdate:
    """The update of a LoRA adapter, B A; a shape is applied to A, whose rows are input directions."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model

    @property
    def layers(self) -> dict[str, torch.nn.Module]:
        """The adapted layers."""
        # peft's LoRA layers are modules all, but their common class does not say so.
        named = self.model.named_modules()
        return {name: layer for name, layer in named if isinstance(layer, LoraLayer)}  # type: ignore[misc]

    @contextmanager
    def scaled(self, alpha: float, shape: Shape = as_it_is) -> Iterator[None]:
        """The model with ``alpha`` times the shaped update; afterwards all of it again."""
        whole = {name: weight.detach().clone() for name, weight in self._factors("lora_A")}
        self._shape(shape)
        try:
            with rescale_adapter_scale(self.model, alpha):
                yield
        finally:
            self._shape(lambda name, update: whole[name])

    @torch.no_grad()
    def keep(self, alpha: float, shape: Shape = as_it_is) -> None:
        """Shape A and scale B, so that the saved adapter needs no word about either."""
        self._shape(shape)
        for _, weight in self._factors("lora_B"):
            weight.mul_(alpha)

    @torch.no_grad()
    def _shape(self, shape: Shape) -> None:
        for name, weight in self._factors("lora_A"):
            weight.copy_(shape(name, weight))

    def _factors(self, factor: str) -> Iterator[tuple[str, torch.Tensor]]:
        for name, layer in self.layers.items():
            for adapter in layer.active_adapters:  # type: ignore[union-attr]
                yield name, getattr(layer, factor)[adapter].weight


class WeightUpdate:
    """The update of all weights.

    Args:
        model: The model before training; its weights are copied to the CPU in bfloat16, as the base has them.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self._base = {name: _copy(weight, torch.bfloat16) for name, weight in model.named_parameters()}
        self._tuned: dict[str, torch.Tensor] = {}

    @property
    def layers(self) -> dict[str, torch.nn.Module]:
        """All linear layers."""
        return {
            name: layer for name, layer in self.model.named_modules() if isinstance(layer, torch.nn.Linear)
        }

    def trained(self) -> WeightUpdate:
        """After training: keep the tuned weights in float32; go on in bfloat16, as the model is saved."""
        self._tuned = {name: _copy(weight, torch.float32) for name, weight in self.model.named_parameters()}
        to_bfloat16(self.model)
        return self

    @contextmanager
    def scaled(self, alpha: float, shape: Shape = as_it_is) -> Iterator[None]:
        """The model with ``alpha`` times the shaped update; afterwards all of it again."""
        self._set(alpha, shape)
        try:
            yield
        finally:
            self._set(1.0, as_it_is)

    def keep(self, alpha: float, shape: Shape = as_it_is) -> None:
        """Move the weights to ``alpha`` times the shaped update."""
        self._set(alpha, shape)

    @torch.no_grad()
    def _set(self, alpha: float, shape: Shape) -> None:
        for name, weight in self.model.named_parameters():
            base = self._base[name].float()
            update = shape(name.removesuffix(".weight"), self._tuned[name] - base)
            weight.copy_(base + alpha * update)


def _copy(weight: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return weight.detach().to("cpu", dtype, copy=True)
