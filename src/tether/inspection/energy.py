"""How large an update is, and how much of it the anchors' inputs can see.

With C = E[x x^T] of a layer's inputs x on anchors (anchors/moments.py), tr(dW C dW^T) = E|dW x|^2 is what the
update adds to the layer's output in the mean square. Beside it stand what the base's weight gives there, and
what an update of the same norm would add that does not know of the anchors, one spread evenly over all input
directions: |dW|^2 tr(C) / width.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from tether.anchors.sketch import opened

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tether.anchors.sketch import Moment
    from tether.inspection.pair import Layer

_BLOCK = re.compile(r"\.(\d+)\.")


@dataclass(frozen=True)
class Energy:
    """One weight's squares; the last three are 0 where no inputs were seen.

    Attributes:
        update: |dW|^2, Frobenius.
        weight: |W|^2.
        added: tr(dW C dW^T).
        given: tr(W C W^T).
        even: |dW|^2 tr(C) / width.
    """

    update: float
    weight: float
    added: float = 0.0
    given: float = 0.0
    even: float = 0.0

    @property
    def size(self) -> float | None:
        """|dW| / |W|; None of a weight that is all zeros."""
        return _root(self.update, self.weight)

    @property
    def disturbance(self) -> float | None:
        """sqrt(E|dW x|^2 / E|W x|^2): the relative change of the layer's output on the base's own inputs."""
        return _root(self.added, self.given)

    @property
    def alignment(self) -> float | None:
        """The root of what it adds over what an even update would: 1 knows nothing of anchors, 0 spares them.

        None where nothing was updated, or no inputs were seen.
        """
        return _root(self.added, self.even)


@dataclass(frozen=True)
class Place:
    """One weight's energies and where it sits.

    Attributes:
        name: As the base's own files call it, without ".weight".
        block: Number of its decoder block from 0; None outside of the blocks.
        projection: The last part of its name without "_proj": q, k, v, o, gate, up, down.
        energy: Its energies.
    """

    name: str
    block: int | None
    projection: str
    energy: Energy


def place(layer: Layer, moment: torch.Tensor | None) -> Place:
    """Measure one weight's update.

    Args:
        layer: The weight and its update.
        moment: C of its inputs, as kept (anchors/sketch.py); None where there is none.
    """
    projection = layer.name.rpartition(".")[2].removesuffix("_proj")
    return Place(layer.name, block_of(layer.name), projection, energy(layer, moment))


def block_of(name: str) -> int | None:
    """Number of the decoder block that a weight sits in, from 0; None outside of the blocks."""
    found = _BLOCK.search(name)
    return int(found[1]) if found else None


@torch.no_grad()
def energy(layer: Layer, moment: torch.Tensor | None) -> Energy:
    """The energies of one weight and its update."""
    update, weight = layer.update.float(), layer.weight.float()
    sizes = float(update.square().sum()), float(weight.square().sum())
    if moment is None:
        return Energy(*sizes)
    inputs = opened(moment, torch.float32)
    spread = float(inputs.diagonal.mean())
    return Energy(*sizes, _seen(update, inputs), _seen(weight, inputs), sizes[0] * spread)


@dataclass(frozen=True)
class Typical:
    """What several weights show, each counting alike: their outputs have scales of their own.

    Attributes:
        size: Root mean square of their sizes.
        disturbance: Of their disturbances.
        alignment: Of their alignments; all three None where no weight has one.
    """

    size: float | None
    disturbance: float | None
    alignment: float | None


def typical(places: Iterable[Place]) -> Typical:
    """Several weights together."""
    energies = [one.energy for one in places]
    return Typical(
        _root_mean([energy.size for energy in energies]),
        _root_mean([energy.disturbance for energy in energies]),
        _root_mean([energy.alignment for energy in energies]),
    )


def _root_mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return _root(sum(value**2 for value in known), len(known))


def _seen(matrix: torch.Tensor, inputs: Moment) -> float:
    """tr(M C M^T); rounding may leave a little less than nothing of what C does not see."""
    return max(0.0, float((inputs.times(matrix) * matrix).sum()))


def _root(part: float, whole: float) -> float | None:
    return (part / whole) ** 0.5 if whole > 0 else None
