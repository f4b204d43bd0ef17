"""One layer's second moment to compute with: whole, or of a wide layer what a sketch shows of it.

C has width^2 entries, 0.8 GB of a layer that is 14,336 wide. Of such a layer are kept Y = C Omega, with a
random Omega (width, ``SKETCH``) that all layers of this width share, and C's diagonal. Both are linear in C,
so sketches are added and averaged as moments are. They give Nyström's U U^T = Y (Omega^T Y)^-1 Y^T (Tropp et
al., arXiv:1706.05736), which is nowhere above C, and the d that it leaves of the diagonal: U U^T + diag(d)
stands for C.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, Self

import torch

WIDEST = 4096  # of which all is kept: 64 MB a layer in float32
SKETCH = 512
LEAST = 1e-6  # of the strongest direction that a sketch shows: below it, what float32 has left

Solver = Callable[[torch.Tensor], torch.Tensor]


def blank(width: int, device: torch.device) -> torch.Tensor:
    """The moment of no input, as it is kept, float32: (width, width), or above ``WIDEST`` a sketch."""
    return torch.zeros(width, width if width <= WIDEST else SKETCH + 1, device=device)


def is_sketch(kept: torch.Tensor) -> bool:
    """Whether a moment as it is kept is a sketch."""
    return kept.shape[0] != kept.shape[1]


def add(sketch: torch.Tensor, inputs: torch.Tensor) -> None:
    """Add the sum of x x^T over (tokens, width) inputs to a sketch, in place."""
    sketch[:, :-1].addmm_(inputs.T, inputs @ directions(len(sketch), sketch.shape[1] - 1, inputs.device))
    sketch[:, -1].add_(inputs.square().sum(0))


@lru_cache(maxsize=2)
def directions(width: int, count: int, device: torch.device) -> torch.Tensor:
    """Omega, (width, count) float32, the same wherever it is drawn."""
    drawn = torch.randn(width, count, generator=torch.Generator().manual_seed(width))
    return drawn.to(device)


class Moment(Protocol):
    """C, symmetric, with no negative energy."""

    @property
    def diagonal(self) -> torch.Tensor:
        """(width,)."""

    def times(self, rows: torch.Tensor) -> torch.Tensor:
        """Rows C, as (rows, width)."""

    def plus(self, other: Self, share: float) -> Self:
        """C + share times another of the same kind."""

    def lifted(self, by: float) -> Self:
        """C + by I."""

    def solver(self) -> Solver:
        """What solves C x = b for (width, columns); C must be lifted."""

    def dense(self) -> torch.Tensor:
        """(width, width)."""

    def least(self, count: int) -> torch.Tensor:
        """The (count, width) orthonormal directions of least energy; of a sketch, nearly."""


def opened(kept: torch.Tensor, dtype: torch.dtype = torch.float64) -> Moment:
    """A moment as it is kept, in a precision to compute in."""
    return _nystrom(kept.double(), dtype) if is_sketch(kept) else Whole(kept.to(dtype))


def _nystrom(kept: torch.Tensor, dtype: torch.dtype) -> Sketched:
    sketch, diagonal = kept[:, :-1], kept[:, -1]
    core = directions(*sketch.shape, kept.device).to(sketch).T @ sketch
    energies, turn = torch.linalg.eigh((core + core.T) / 2)
    shown = energies > LEAST * energies[-1:].clamp(min=0)
    factor = sketch @ (turn[:, shown] * energies[shown].rsqrt())
    rest = (diagonal - factor.square().sum(1)).clamp(min=0)
    return Sketched(factor.to(dtype), rest.to(dtype))


@dataclass(frozen=True)
class Whole:
    """All of C."""

    matrix: torch.Tensor

    @property
    def diagonal(self) -> torch.Tensor:
        """(width,)."""
        return self.matrix.diagonal()

    def times(self, rows: torch.Tensor) -> torch.Tensor:
        """Rows C."""
        return rows @ self.matrix

    def plus(self, other: Whole, share: float) -> Whole:
        """C + share times another."""
        return Whole(self.matrix + share * other.matrix)

    def lifted(self, by: float) -> Whole:
        """C + by I."""
        lifted = self.matrix.clone()
        lifted.diagonal().add_(by)
        return Whole(lifted)

    def solver(self) -> Solver:
        """By Cholesky."""
        factor = torch.linalg.cholesky(self.matrix)
        return lambda b: torch.cholesky_solve(b, factor)

    def dense(self) -> torch.Tensor:
        """C itself."""
        return self.matrix

    def least(self, count: int) -> torch.Tensor:
        """Its last eigenvectors."""
        vectors: torch.Tensor = torch.linalg.eigh(self.matrix).eigenvectors
        return vectors[:, :count].T


@dataclass(frozen=True)
class Sketched:
    """U U^T + diag(d).

    Attributes:
        factor: U, (width, rank).
        rest: d, (width,).
    """

    factor: torch.Tensor
    rest: torch.Tensor

    @property
    def diagonal(self) -> torch.Tensor:
        """C's own."""
        return self.factor.square().sum(1) + self.rest

    def times(self, rows: torch.Tensor) -> torch.Tensor:
        """Rows C."""
        return rows @ self.factor @ self.factor.T + rows * self.rest

    def plus(self, other: Sketched, share: float) -> Sketched:
        """C + share times another."""
        factor = torch.cat([self.factor, share**0.5 * other.factor], dim=1)
        return Sketched(factor, self.rest + share * other.rest)

    def lifted(self, by: float) -> Sketched:
        """C + by I."""
        return Sketched(self.factor, self.rest + by)

    def solver(self) -> Solver:
        """By Woodbury's identity, from d and a matrix of U's rank."""
        scaled = self.factor / self.rest[:, None]
        inner = self.factor.T @ scaled
        inner.diagonal().add_(1)
        root = torch.linalg.cholesky(inner)
        return lambda b: b / self.rest[:, None] - scaled @ torch.cholesky_solve(scaled.T @ b, root)

    def dense(self) -> torch.Tensor:
        """All of what stands for C."""
        return self.factor @ self.factor.T + self.rest.diag()

    def least(self, count: int) -> torch.Tensor:
        """The coordinates of least energy, turned off U."""
        quiet = torch.eye(len(self.rest)).to(self.rest)[:, self.diagonal.argsort()[:count]]
        loud = torch.linalg.qr(self.factor).Q
        turned: torch.Tensor = torch.linalg.qr(quiet - loud @ (loud.T @ quiet)).Q
        return turned.T
