"""Where a LoRA begins: its A laid into directions of its layer's input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback

from tether.anchors.layered import owners
from tether.training.update import input_weights

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import PreTrainedModel

    from tether.anchors.layered import Layers


class NullSpace(TrainerCallback):
    """Lays every A into the directions in which its layer's input has the least energy, and leaves it there.

    LoRA-Null's second version (arXiv:2503.02659): with A frozen, B A x = 0 for all x that the moments saw, as
    far as they leave a null space.

    Args:
        moments: Measures the inputs' second moments of the model before it is trained.
    """

    def __init__(self, moments: Callable[[PreTrainedModel], Layers]) -> None:
        self._moments = moments

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Lay A, unless it comes from a checkpoint; freeze it."""
        weights = input_weights(kwargs["model"])
        if state.global_step == 0:
            least = _least(self._moments(kwargs["model"]), max(map(len, weights.values())))
            for name, weight in weights.items():
                _lay(weight, least[name][: len(weight)])
        for weight in weights.values():
            weight.requires_grad_(False)


@torch.no_grad()
def _lay(weight: torch.Tensor, directions: torch.Tensor) -> None:
    """Take the directions, (rows, width), at the size that the weight has."""
    weight.copy_(directions * (weight.norm() / directions.norm()))


def _least(moments: Layers, rank: int) -> dict[str, torch.Tensor]:
    """By layer, the (rank, width) orthonormal directions of least energy."""
    found: dict[str, torch.Tensor] = {}
    for name, owner in owners(moments).items():
        found[name] = found[owner] if owner in found else _directions(moments[owner], rank)
    return found


def _directions(moment: torch.Tensor, rank: int) -> torch.Tensor:
    if moment.ndim == 1:
        return torch.eye(len(moment), device=moment.device)[moment.argsort()[:rank]]
    _, vectors = torch.linalg.eigh(moment.double())
    least: torch.Tensor = vectors[:, :rank].T.float()
    return least
