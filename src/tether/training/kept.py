"""Tensors by layer in a safetensors file; what layers share is written once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from safetensors import safe_open
from safetensors.torch import save_file

from tether.anchors.layered import Layered, owners

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from tether.anchors.layered import Layers


def keep(path: Path, tensors: Layers) -> Kept:
    """Write tensors by layer, and read them from there."""
    shared = owners(tensors)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    once = {owner: tensors[owner] for owner in dict.fromkeys(shared.values())}
    save_file(once, unfinished, metadata={"owners": json.dumps(shared)})
    unfinished.replace(path)
    return Kept(path)


class Kept(Layered):
    """What `keep` wrote, each tensor read when it is asked for.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with safe_open(path, framework="pt") as file:
            super().__init__(json.loads(file.metadata()["owners"]))

    def made(self, owner: str) -> torch.Tensor:
        """Read one layer's."""
        # Opened anew, for what is mapped of a file stays in memory as long as it is open.
        with safe_open(self._path, framework="pt") as file:
            tensor: torch.Tensor = file.get_tensor(owner)
        return tensor

    def all(self, device: torch.device | str) -> dict[str, torch.Tensor]:
        """All of them in a device's memory, each shared one once."""
        read = {owner: self[owner].to(device) for owner in dict.fromkeys(self.owners.values())}
        return {name: read[owner] for name, owner in self.owners.items()}
