"""Tensors by layer in a safetensors file; what layers share is written once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from safetensors import safe_open
from safetensors.torch import save_file

from tether.anchors.moments import owners

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from tether.anchors.moments import Moments


def keep(path: Path, by_kind: Mapping[str, Moments]) -> None:
    """Write several kinds of tensors by layer; the layers that share one of a kind share them all."""
    tensors: Moments = {}
    shared: dict[str, str] = {}
    for kind, moments in by_kind.items():
        for owner, names in owners(moments).items():
            tensors[f"{kind}.{owner}"] = moments[owner]
            shared |= dict.fromkeys(names, owner)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    metadata = {"shared": json.dumps(shared), "kinds": json.dumps(list(by_kind))}
    save_file(tensors, unfinished, metadata=metadata)
    unfinished.replace(path)


def kinds(path: Path) -> list[str]:
    """Which kinds were written there."""
    with safe_open(path, framework="pt") as file:
        written: list[str] = json.loads(file.metadata()["kinds"])
    return written


class Kept(Mapping[str, "torch.Tensor"]):
    """One kind of what `keep` wrote, each tensor read when it is asked for: all need not fit into memory.

    Args:
        path: The file.
        kind: Which kind.
    """

    def __init__(self, path: Path, kind: str) -> None:
        self._path, self._kind = path, kind
        with safe_open(path, framework="pt") as file:
            written, shared = set(file.keys()), json.loads(file.metadata()["shared"])
        self._owners: dict[str, str] = {
            name: own for name, own in shared.items() if f"{kind}.{own}" in written
        }
        self._last: tuple[str, torch.Tensor | None] = ("", None)

    def __getitem__(self, name: str) -> torch.Tensor:
        owner, (last, tensor) = self._owners[name], self._last
        if tensor is None or owner != last:
            self._last = ("", None)  # never two at once
            # Opened anew, for what is mapped of a file stays in memory as long as it is open.
            with safe_open(self._path, framework="pt") as file:
                tensor = file.get_tensor(f"{self._kind}.{owner}")
            self._last = (owner, tensor)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._owners)

    def __len__(self) -> int:
        return len(self._owners)

    def all(self, device: torch.device | str = "cpu") -> Moments:
        """All of them in a device's memory, each shared one once."""
        read = {owner: self[owner].to(device) for owner in dict.fromkeys(self._owners.values())}
        return {name: read[owner] for name, owner in self._owners.items()}
