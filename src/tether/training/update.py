"""The update that training made to the base, which can be scaled and shaped: theta0 + alpha * shape(delta).

Scaling an adapter's output by alpha is that interpolation; for all weights, a copy of the base's is kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol

import torch
from peft.helpers import rescale_adapter_scale
from peft.tuners.lora import LoraLayer, ParamWrapper

from tether.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

Shape = Callable[[str, torch.Tensor], torch.Tensor]
"""Takes a layer's name and its update, (rows, input width), and gives the update to use instead."""


PEFT_PREFIX, WRAPPED_SUFFIX = "base_model.model.", ".base_layer"


def linear_layers(model: torch.nn.Module) -> dict[str, torch.nn.Linear]:
    """The base's linear layers by the base's own names, a LoRA around them passed over."""
    named = (
        (name.removeprefix(PEFT_PREFIX).removesuffix(WRAPPED_SUFFIX), layer)
        for name, layer in model.named_modules()
        if ".lora_" not in name
    )
    return {name: layer for name, layer in named if isinstance(layer, torch.nn.Linear)}


def lora_targets(model: torch.nn.Module) -> str | list[str]:
    """What a LoRA is put on: all linear layers; where experts are stacked in one weight, the attention's.

    PEFT's LoRA of stacked experts is not B A, and of no other can the update be turned and told apart.
    """
    stacked = [name for name, weight in model.named_parameters() if ".experts." in name and weight.ndim == 3]
    if not stacked:
        return "all-linear"
    return sorted({name.rpartition(".")[2] for name in linear_layers(model) if "attn" in name})


def is_adapted(model: torch.nn.Module) -> bool:
    """Whether the model carries a LoRA."""
    return any(isinstance(layer, LoraLayer) for layer in model.modules())


def check_plain_lora(model: torch.nn.Module, where: str) -> None:
    """Of an adapter the update must be B A and nothing else, and nothing at the start.

    Raises:
        UserError: It is not, at the argument that ``where`` names.
    """
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    factors = {
        name: weight for name, weight in trained.items() if re.search(r"\.lora_[AB]\..*\.weight$", name)
    }
    begun = any(bool(weight.any()) for name, weight in factors.items() if ".lora_B." in name)
    if not factors or begun or factors.keys() != trained.keys():
        raise UserError(
            "the adapter is no plain LoRA that begins at nothing, whose update alone can be told apart",
            where=where,
            fix="use a LoraConfig without DoRA, bias, modules_to_save or a start of its own, on a bare model",
        )


def input_weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The trained weights whose rows are input directions, by the names of the base's layers.

    Of a LoRA these are the As; without one, the weights of all linear layers.
    """
    factors = dict(_factors(model, "lora_A"))
    return factors or {name: layer.weight for name, layer in linear_layers(model).items()}


def lora_products(model: torch.nn.Module) -> dict[str, tuple[torch.Tensor, torch.Tensor, float]]:
    """A, B and s of each layer's update s B A, by the names of the base's layers."""
    firsts, seconds = dict(_factors(model, "lora_A")), dict(_factors(model, "lora_B"))
    return {
        name: (firsts[name], seconds[name], layer.scaling[adapter])
        for name, layer, adapter in _adapted(model)
    }


def _factors(model: torch.nn.Module, factor: str) -> Iterator[tuple[str, torch.Tensor]]:
    for name, layer, adapter in _adapted(model):
        yield name, getattr(layer, factor)[adapter].weight


def _adapted(model: torch.nn.Module) -> Iterator[tuple[str, LoraLayer, str]]:
    # peft's LoRA layers are modules all, but their common class does not say so.
    for name, layer in model.named_modules():
        if isinstance(layer, LoraLayer):
            for adapter in layer.active_adapters:
                _check_linear(name, layer, adapter)
                yield name.removeprefix(PEFT_PREFIX), layer, adapter


def _check_linear(name: str, layer: LoraLayer, adapter: str) -> None:
    """See that a layer's update is B A: embeddings', convolutions' and stacked experts' is not."""
    if (
        isinstance(layer, ParamWrapper)
        or adapter not in layer.lora_A
        or layer.lora_A[adapter].weight.ndim != 2
    ):
        raise UserError(
            f"the LoRA of '{name}' is none of a linear layer, and only of such can the update be told apart",
            fix="leave the module out of the LoRA, or train all weights (--set parametrisation=full)",
        )


def as_it_is(name: str, update: torch.Tensor) -> torch.Tensor:
    """The shape that changes nothing."""
    return update


class Update(Protocol):
    """What a training changed."""

    model: torch.nn.Module

    def scaled(self, alpha: float, shape: Shape = as_it_is) -> AbstractContextManager[None]:
        """The model with ``alpha`` times the shaped update, within a `with` block."""

    def keep(self, alpha: float, shape: Shape = as_it_is) -> None:
        """Make ``alpha`` times the shaped update the update."""


class AdapterUpdate:
    """The update of a LoRA adapter, B A; a shape is applied to A, whose rows are input directions.

    B's columns are made orthonormal first, at the same product: A is then as large as the update.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self.model = model
        self._turn()

    @contextmanager
    def scaled(self, alpha: float, shape: Shape = as_it_is) -> Iterator[None]:
        """The model with ``alpha`` times the shaped update; afterwards all of it again."""
        whole = {name: weight.detach().clone() for name, weight in input_weights(self.model).items()}
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
        for _, weight in _factors(self.model, "lora_B"):
            weight.mul_(alpha)

    @torch.no_grad()
    def _turn(self) -> None:
        for (_, first), (_, second) in zip(
            _factors(self.model, "lora_A"), _factors(self.model, "lora_B"), strict=True
        ):
            columns, rest = torch.linalg.qr(second.float())  # fewer columns where the rank is above the rows
            product = rest @ first.float()
            first.zero_()[: len(product)] = product
            second.zero_()[:, : len(product)] = columns

    @torch.no_grad()
    def _shape(self, shape: Shape) -> None:
        for name, weight in input_weights(self.model).items():
            weight.copy_(shape(name, weight))


class WeightUpdate:
    """The update of all weights.

    Args:
        model: The model before training; its weights are copied to the CPU.
        dtype: In which the base was given out, and the tuned model shall be, where it trains in another;
            None where every weight trains as it came.
        held: In which the tuned model, once rounded to it, is computed with; ``dtype`` unless told.
    """

    def __init__(
        self, model: torch.nn.Module, dtype: torch.dtype | None = None, held: torch.dtype | None = None
    ) -> None:
        self.model, self._held = model, held
        self._base = {name: _copy(weight, dtype or weight.dtype) for name, weight in model.named_parameters()}
        self._tuned: dict[str, torch.Tensor] = {}

    def trained(self) -> WeightUpdate:
        """After training: keep the tuned weights in float32; go on in the precision that is given out."""
        self._tuned = {name: _copy(weight, torch.float32) for name, weight in self.model.named_parameters()}
        for name, weight in self.model.named_parameters():
            rounded = weight.data.to(self._base[name].dtype)
            weight.data = rounded.to(self._held or rounded.dtype)
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
        """Move the weights to ``alpha`` times the shaped update, and go on from there."""
        for name, weight in self._moved(alpha, shape):
            self._tuned[name] = weight
        self._set(1.0, as_it_is)

    @torch.no_grad()
    def _set(self, alpha: float, shape: Shape) -> None:
        weights = dict(self.model.named_parameters())
        for name, moved in self._moved(alpha, shape):
            weights[name].copy_(moved.to(self._base[name].dtype))

    @torch.no_grad()
    def _moved(self, alpha: float, shape: Shape) -> Iterator[tuple[str, torch.Tensor]]:
        """Each weight as it is with ``alpha`` times the shaped update, float32."""
        for name, tuned in self._tuned.items():
            base = self._base[name].float()
            yield name, base + alpha * shape(name.removesuffix(".weight"), tuned - base)


def _copy(weight: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return weight.detach().to("cpu", dtype, copy=True)
