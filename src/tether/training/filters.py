"""What shapes a layer's steps: where its optimizer works, and how its moves come back.

Adam scales every coordinate of a step alike, the strong and the weak, and which coordinates there are is an
accident of the base. In the eigenbasis of what a layer is given on the domain they mean something: Adam there
is one side of Shampoo (SOAP, arXiv:2409.11321). On the way back each move is multiplied by P = D (D + pull
C)^-1, which turns it away from the anchors' directions (training/geometry.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from tether import bases
from tether.anchors.layered import owners
from tether.anchors.sketch import is_sketch
from tether.training.kept import Kept, keep

if TYPE_CHECKING:
    from pathlib import Path

    from tether.anchors.layered import Layers
    from tether.training.geometry import Geometry


@dataclass(frozen=True)
class Filters:
    """By layer, what a gradient and the move that an optimizer makes of it are multiplied by.

    All in `bases.precision`. In bfloat16, along the direction that is strongest on anchors, its rounding let
    through 2% at the most of what P itself does, in one layer of the embedded model 11% (looked at once,
    docs/results.md).

    Attributes:
        turns: Q, the eigenvectors of the domain's moment, (width, width); none of a wide layer.
        shapes: Back, Q^T P, (width, width), or of a wide layer the P of its diagonals (width,).
    """

    turns: Layers
    shapes: Layers

    def turned(self, name: str, rows: torch.Tensor) -> torch.Tensor:
        """A gradient or a weight, (rows, width), in the coordinates in which the optimizer works."""
        if name not in self.turns:
            return rows
        turn = self.turns[name].to(rows.device)
        return (rows.to(turn.dtype) @ turn).to(rows.dtype)

    def shaped(self, name: str, move: torch.Tensor) -> torch.Tensor:
        """A move in these coordinates, (rows, width), back and shaped."""
        by = self.shapes[name].to(move.device)
        lower = move.to(by.dtype)
        return (lower * by if by.ndim == 1 else lower @ by).to(move.dtype)

    def keep(self, folder: Path) -> None:
        """Write them to a folder, which is there only when all of them are."""
        unfinished = folder.with_name(f"{folder.name}.unfinished")
        for kind, tensors in (("turns", self.turns), ("shapes", self.shapes)):
            keep(unfinished / f"{kind}.safetensors", tensors)
        unfinished.rename(folder)

    @classmethod
    def kept(cls, folder: Path, device: torch.device) -> Filters:
        """What ``keep`` wrote: for a processor each layer's is read when it is due, a GPU holds them all.

        Reading the embedded model's takes 0.3 s, which is long for a step on a GPU.
        """
        kinds = [Kept(folder / f"{kind}.safetensors") for kind in ("turns", "shapes")]
        return cls(*kinds) if device.type == "cpu" else cls(*(kind.all(device) for kind in kinds))


def filters(geometry: Geometry, pull: float) -> Filters:
    """Every layer's, under a pull towards the base; layers that share an input share theirs."""
    turns: dict[str, torch.Tensor] = {}
    shapes: dict[str, torch.Tensor] = {}
    for name, owner in owners(geometry.domain).items():
        if name == owner:
            moment, shape = geometry.domain[owner], geometry.filter(owner, pull)
            if not is_sketch(moment):
                _, turn = torch.linalg.eigh(moment.to(shape.device))
                shape = turn.T @ shape
                turns[owner] = turn.to(bases.precision()).contiguous()
            shapes[owner] = shape.to(bases.precision())
        for kind in (turns, shapes):
            if owner in kind:
                kind[name] = kind[owner]
    return Filters(turns, shapes)
