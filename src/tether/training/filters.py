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

from tether.training.kept import Kept, keep, owners

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tether.anchors.moments import Moments
    from tether.training.geometry import Geometry


@dataclass(frozen=True)
class Filters:
    """By layer, what a gradient and the move that an optimizer makes of it are multiplied by.

    All in bfloat16: along the direction that is strongest on anchors, its rounding lets through 2% of what P
    itself does (of the first layer's attention 11%).

    Attributes:
        turns: Q, the eigenvectors of the domain's moment, (width, width); not of layers of which
            only the diagonal is known, nor where it works in the base's own coordinates.
        shapes: Back, Q^T P, (width, width) float32, P alone where nothing is turned, or its diagonal
            (width,).
    """

    turns: Mapping[str, torch.Tensor]
    shapes: Mapping[str, torch.Tensor]

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

    def kept(self, path: Path) -> Filters:
        """The same from a file, each layer's read when it is due."""
        keep(path, {"turn": dict(self.turns), "shape": dict(self.shapes)})
        return Filters(Kept(path, "turn"), Kept(path, "shape"))


def filters(geometry: Geometry, pull: float, eigenbasis: bool = True) -> Filters:
    """Every layer's, layers that share an input sharing theirs.

    Args:
        geometry: Of the base's inputs.
        pull: Towards the base.
        eigenbasis: Whether the optimizer works there, or in the coordinates that the base came with.
    """
    turns: Moments = {}
    shapes: Moments = {}
    for owner, names in owners(geometry.domain).items():
        shape = geometry.filter(owner, pull)
        if eigenbasis and shape.ndim == 2:
            turn = torch.linalg.eigh(geometry.domain[owner].to(shape.device)).eigenvectors
            shape = turn.T @ shape
            turns |= dict.fromkeys(names, turn.bfloat16().contiguous())
        shapes |= dict.fromkeys(names, shape.bfloat16())
    return Filters(turns, shapes)
