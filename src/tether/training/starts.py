"""Where a LoRA begins: its A laid into directions of its layer's input, and left there.

With A frozen, all that B can learn acts on what A reads. B alone is trained, which takes less time and memory
than both: the inputs of A need not be kept for its gradient (LoRA-FA, arXiv:2308.03303).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from peft.tuners.lora import LoraLayer
from transformers import TrainerCallback

from tether.anchors.layered import owners
from tether.training.update import input_weights

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tether.anchors.layered import Layers
    from tether.training.geometry import Geometry

LEAST = 1e-6  # of the strongest mixture of rows: below it, what rounding has left


class Start(TrainerCallback):
    """Lays every A when training begins, and freezes it.

    Args:
        rows: By layer what A shall be, (rank, width), of the model as its LoRA begins.
    """

    def __init__(self, rows: Callable[[Any], Mapping[str, torch.Tensor]]) -> None:
        self._rows = rows

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Lay A, unless it comes from a checkpoint; freeze it."""
        if state.global_step == 0:
            lay(kwargs["model"], self._rows(kwargs["model"]))
        freeze(kwargs["model"])


@torch.no_grad()
def lay(model: torch.nn.Module, rows: Mapping[str, torch.Tensor]) -> None:
    """Take these rows, each at the size that its A has."""
    weights = input_weights(model)
    for name, laid in rows.items():
        weights[name].copy_(laid * (weights[name].norm() / laid.norm()))


def freeze(model: torch.nn.Module) -> None:
    """Leave every A where it is."""
    for layer in model.modules():
        if isinstance(layer, LoraLayer):
            # Whenever PEFT switches adapters on, as DPO's reference makes it do, all of theirs may be trained
            # again but for what stands here.
            layer.frozen_peft_weight_names = dict.fromkeys(layer.active_adapters, ("lora_A",))
            layer._freeze_non_trainable_peft_weights()


def least_energy(model: torch.nn.Module, moments: Layers) -> dict[str, torch.Tensor]:
    """The orthonormal directions in which a layer's input has the least energy.

    LoRA-Null's second version (arXiv:2503.02659): B A x = 0 for all x that the moments saw, as far as they
    leave a null space.
    """
    weights = input_weights(model)
    most, shared = max(map(len, weights.values())), owners(moments)
    least = {owner: _directions(moments[owner], most) for owner in dict.fromkeys(shared.values())}
    return {name: least[shared[name]][: len(weight)].to(weight) for name, weight in weights.items()}


def _directions(moment: torch.Tensor, rank: int) -> torch.Tensor:
    if moment.ndim == 1:
        return torch.eye(len(moment), device=moment.device)[moment.argsort()[:rank]]
    _, vectors = torch.linalg.eigh(moment.double())
    least: torch.Tensor = vectors[:, :rank].T
    return least


def left_free(
    model: torch.nn.Module, geometry: Geometry, pull: float, white: bool = True
) -> dict[str, torch.Tensor]:
    """The A that each layer begins with, filtered, and mixed until its answers to the domain are white.

    Args:
        model: Carries the LoRA, its As random as PEFT made them.
        geometry: Of the model's inputs on the domain and on anchors.
        pull: How strongly the rows are turned away from the anchors' directions.
        white: Whether they are mixed.
    """
    rows = {}
    for name, weight in input_weights(model).items():
        if name in geometry.domain:
            free = geometry.free(name, weight.detach(), pull)
            rows[name] = (whitened(free, geometry.domain[name]) if white else free).to(weight)
    return rows


def whitened(rows: torch.Tensor, moment: torch.Tensor) -> torch.Tensor:
    """Rows (rank, width) mixed, within their span, until what they answer to such inputs is white; float64.

    Filtered random rows answer alike: of 64 the strongest mixture had 300 times the energy of the middle one
    (a block of the embedded model), and B would learn from one feature many times over and from most of them
    hardly.
    """
    rows, moment = rows.double(), moment.to(rows.device, torch.float64)
    answers = rows * moment @ rows.T if moment.ndim == 1 else rows @ moment @ rows.T
    energies, mixtures = torch.linalg.eigh(answers)
    scales = energies.clamp(min=LEAST * float(energies.max())).rsqrt()
    mixed: torch.Tensor = (mixtures * scales) @ (mixtures.T @ rows)
    return mixed
