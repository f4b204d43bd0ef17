"""Where a LoRA begins: its A laid into directions of its layer's input, to be trained from there or to stay.

An A that stays leaves B alone to learn, in directions chosen once and for all: no step has to be shaped, and
each layer's input, which only A's gradient asks for, need not be kept until the backward pass (LoRA-FA,
arXiv:2308.03303; tether's directions in the spirit of InfLoRA, arXiv:2404.00228).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback

from tether.anchors.layered import owners
from tether.anchors.sketch import opened
from tether.training.update import input_weights

if TYPE_CHECKING:
    from tether.anchors.layered import Layers
    from tether.training.geometry import Geometry

Directions = Callable[[torch.nn.Module], Mapping[str, torch.Tensor]]
"""Of a model before it is trained the (rank, width) rows, by layer, into which each A is laid."""

LEAST = 1e-6  # of the strongest mixture of an A's rows: below it, what rounding has left


class Laid(TrainerCallback):
    """Lays every A before it is trained, or instead.

    Args:
        directions: Where to.
        stays: Whether it is left there, and B alone is trained.

    Attributes:
        seconds: What finding them has taken.
    """

    def __init__(self, directions: Directions, stays: bool = True) -> None:
        self._directions, self._stays, self.seconds = directions, stays, 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Lay A, unless it comes from a checkpoint; where it stays, freeze it.

        One that stays is held in the base's precision, which autocast computes in: the same products, without
        a copy of each in float32 beside the one that the backward pass keeps.
        """
        started, model = time.perf_counter(), kwargs["model"]
        if state.global_step == 0:
            lay(model, self._of_base)
        if self._stays:
            for weight in input_weights(model).values():
                weight.requires_grad_(False).data = weight.to(model.dtype)
        self.seconds += time.perf_counter() - started

    def _of_base(self, model: Any) -> Mapping[str, torch.Tensor]:
        with model.disable_adapter():  # which adds nothing yet
            return self._directions(model)


@torch.no_grad()
def lay(model: torch.nn.Module, directions: Directions) -> None:
    """Take the directions for a LoRA's As, each at the size that it has; one without directions stays."""
    weights = input_weights(model)
    for name, rows in directions(model).items():
        weight = weights[name]
        weight.copy_(rows * (weight.norm() / rows.norm()))


def null_space(moments: Callable[[Any], Layers], model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The directions in which each layer's input has the least energy.

    As LoRA-Null's second version begins (arXiv:2503.02659): with A frozen, B A x = 0 for all x that the
    moments saw, as far as they leave a null space.
    """
    measured, weights = moments(model), input_weights(model)
    least = _least(measured, max(map(len, weights.values())))
    return {name: least[name][: len(weight)] for name, weight in weights.items()}


def _least(moments: Layers, rank: int) -> dict[str, torch.Tensor]:
    """By layer, the (rank, width) orthonormal directions of least energy."""
    found: dict[str, torch.Tensor] = {}
    for name, owner in owners(moments).items():
        found[name] = found[owner] if owner in found else opened(moments[owner]).least(rank).float()
    return found


@torch.no_grad()
def left_free(
    geometry: Geometry, pull: float, model: torch.nn.Module, *, white: bool = True
) -> dict[str, torch.Tensor]:
    """Each A's own random rows, turned away from what the anchors use (training/geometry.py) and white."""
    found = {}
    for name, weight in input_weights(model).items():
        if name in geometry.domain:
            rows = geometry.shaped(name, weight, pull)
            found[name] = whitened(rows, geometry.domain[name]) if white else rows
    return found


def whitened(rows: torch.Tensor, moment: torch.Tensor) -> torch.Tensor:
    """Rows, (rank, width), mixed until what they answer to inputs of this second moment, as kept, is white.

    Shaped random rows answer alike: of 64 the strongest mixture had 300 times the energy of the middle one (a
    block of the embedded model), and B would learn from one feature many times over and from most of them
    hardly. What the rows span stays.
    """
    wide = rows.double()
    answers = opened(moment.to(rows.device)).times(wide) @ wide.T
    energies, mixtures = torch.linalg.eigh(answers)
    scales = energies.clamp(min=LEAST * float(energies.max())).rsqrt()
    mixed: torch.Tensor = (mixtures * scales) @ (mixtures.T @ wide)
    return mixed.to(rows)
