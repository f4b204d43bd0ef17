"""Tensors by layer, of which several layers may share one: what a layer is given, others are given too."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from functools import reduce
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

Layers = Mapping[str, torch.Tensor]


class Layered(Mapping[str, torch.Tensor], ABC):
    """Tensors made when they are asked for, and the last one kept: all together need not fit into memory.

    Args:
        owners: By layer, the first of those that share its tensor.
    """

    def __init__(self, owners: Mapping[str, str]) -> None:
        self.owners = owners
        self._last: tuple[str, torch.Tensor | None] = ("", None)

    def __getitem__(self, name: str) -> torch.Tensor:
        owner, (last, tensor) = self.owners[name], self._last
        if tensor is None or owner != last:
            self._last = ("", None)  # never two at once
            tensor = self.made(owner)
            self._last = (owner, tensor)
        return tensor

    @abstractmethod
    def made(self, owner: str) -> torch.Tensor:
        """The tensor of one layer."""

    def __iter__(self) -> Iterator[str]:
        return iter(self.owners)

    def __len__(self) -> int:
        return len(self.owners)


class Mean(Layered):
    """The mean of several sets.

    Args:
        sets: Tensors of the same layers, shared alike.
        shares: How much each set counts, together 1; None lets all count alike.
    """

    def __init__(self, sets: Sequence[Layers], shares: Sequence[float] | None = None) -> None:
        super().__init__(owners(sets[0]))
        self._sets, self._shares = sets, shares or [1 / len(sets)] * len(sets)

    def made(self, owner: str) -> torch.Tensor:
        """The mean at one layer."""
        parts = (share * one[owner] for share, one in zip(self._shares, self._sets, strict=True))
        return reduce(torch.add, parts)


def owners(tensors: Layers) -> Mapping[str, str]:
    """By layer, the first of those that share its tensor."""
    if isinstance(tensors, Layered):
        return tensors.owners
    first: dict[int, str] = {}
    return {name: first.setdefault(id(tensor), name) for name, tensor in tensors.items()}
