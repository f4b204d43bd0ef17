"""A base and the model tuned from it; of a LoRA, one model whose adapter is switched off and on."""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from peft.tuners.lora import LoraLayer

from tether import bases
from tether.errors import UserError
from tether.files import read_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Layer:
    """One weight of the base and what was added to it.

    Attributes:
        name: As the base's own files call it, without ".weight".
        weight: The base's, (output width, input width); of embeddings and norms, their own shape.
        update: A matrix R of the same input width with R^T R = dW^T dW, so that it has the update's norm
            under any weighting of input directions: dW itself, or a few rows in place of a LoRA's product.
    """

    name: str
    weight: torch.Tensor
    update: torch.Tensor


class Pair(Protocol):
    """A base and the model tuned from it."""

    tuned: PreTrainedModel

    def base(self) -> AbstractContextManager[PreTrainedModel]:
        """The base, within a `with` block; outside of it the tuned model is as it was."""

    @property
    def linear(self) -> dict[str, torch.nn.Module]:
        """The base's linear layers that may have changed, by the names of `layers`."""

    def layers(self) -> Iterator[Layer]:
        """Every weight that may have changed, one after the other."""


def open_pair(base: bases.Base, tuned: Path) -> Pair:
    """Load a base and what was tuned from it.

    Args:
        base: The base.
        tuned: Folder of a PEFT adapter or of a whole model.

    Raises:
        UserError: The folder holds no weights, or weights tuned from another base.
    """
    record = read_json(tuned / bases.RECORD_FILE)
    if record and record["revision"] != base.revision:
        raise UserError(
            f"this was tuned on {record['base']}, not on {base.name} as it is now",
            where=str(tuned),
            fix="name the base it was tuned on",
        )
    if bases.is_plain_lora(tuned):
        return AdapterPair(bases.put_lora(bases.load_model(base), tuned))
    # An adapter that has to be merged would lose some of its update to bfloat16's rounding.
    dtype = torch.float32 if bases.is_adapter(tuned) else None
    return ModelPair(bases.load_model(base, dtype), bases.load_tuned(base, tuned, dtype), str(tuned))


class AdapterPair:
    """A base with a LoRA on it, which is switched off to see the base.

    Args:
        tuned: A PEFT model with one active LoRA.
    """

    def __init__(self, tuned: PreTrainedModel) -> None:
        self.tuned = tuned

    @contextmanager
    def base(self) -> Iterator[PreTrainedModel]:
        """The same model with its adapter switched off."""
        wrapped: Any = self.tuned
        with wrapped.disable_adapter():
            yield self.tuned

    @property
    def linear(self) -> dict[str, torch.nn.Module]:
        """The adapted linear layers."""
        return {
            name: layer
            for name, layer in self._adapted()
            if isinstance(layer.get_base_layer(), torch.nn.Linear)
        }

    def layers(self) -> Iterator[Layer]:
        """The adapted layers."""
        linear = self.linear
        for name, layer in self._adapted():
            adapter = layer.active_adapters[0]
            update = _rows(layer, adapter) if name in linear else layer.get_delta_weight(adapter)
            yield Layer(name, layer.get_base_layer().weight, update)

    def _adapted(self) -> Iterator[tuple[str, Any]]:
        for name, layer in self.tuned.named_modules():
            if isinstance(layer, LoraLayer):
                yield name.removeprefix("base_model.model."), layer


@torch.no_grad()
def _rows(layer: Any, adapter: str) -> torch.Tensor:
    """(rank, input width): with B = QR the update s B A is Q (s R A), and Q's columns are orthonormal."""
    triangle = torch.linalg.qr(layer.lora_B[adapter].weight.float()).R
    rows: torch.Tensor = layer.scaling[adapter] * triangle @ layer.lora_A[adapter].weight.float()
    return rows


class ModelPair:
    """Two whole models of one shape.

    Args:
        base: The base.
        tuned: What was tuned from it.
        where: Where the tuned one comes from, for what is said of its faults.

    Raises:
        UserError: The models differ in shape.
    """

    def __init__(self, base: PreTrainedModel, tuned: PreTrainedModel, where: str) -> None:
        self._base, self.tuned = base, tuned
        shapes, others = (
            {name: tuple(weight.shape) for name, weight in model.named_parameters()}
            for model in (base, tuned)
        )
        differing = [name for name in shapes | others if shapes.get(name) != others.get(name)]
        if differing:
            raise UserError(
                f"this model's {differing[0]} has the shape {others.get(differing[0])}, "
                f"the base's {shapes.get(differing[0])}",
                where=where,
                fix="name the base it was tuned on",
            )

    @contextmanager
    def base(self) -> Iterator[PreTrainedModel]:
        """The base, which is always there."""
        yield self._base

    @property
    def linear(self) -> dict[str, torch.nn.Module]:
        """All linear layers of the base."""
        named = self._base.named_modules()
        return {name: layer for name, layer in named if isinstance(layer, torch.nn.Linear)}

    @torch.no_grad()
    def layers(self) -> Iterator[Layer]:
        """All weights, embeddings and norms among them."""
        tuned = dict(self.tuned.named_parameters())
        for name, weight in self._base.named_parameters():
            yield Layer(name.removesuffix(".weight"), weight, tuned[name].float() - weight.float())
