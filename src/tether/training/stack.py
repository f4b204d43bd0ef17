"""A LoRA trained on top of another, and both as one: s1 B1 A1 + s2 B2 A2 = [s1 B1, s2 B2] [A1; A2]."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file

from tether.files import read_json, write_json

if TYPE_CHECKING:
    from pathlib import Path

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def stack(first: Path, second: Path) -> None:
    """Put the LoRA in ``first`` under the one in ``second``, which then does what both do to the base.

    Args:
        first: A folder with a plain LoRA.
        second: A folder with another of the same layers; it is written anew, its rank the sum of both.
    """
    under, over = load_file(first / WEIGHTS), load_file(second / WEIGHTS)
    about = read_json(second / CONFIG)
    scales = [config["lora_alpha"] / config["r"] for config in (read_json(first / CONFIG), about)]
    rank = read_json(first / CONFIG)["r"] + about["r"]
    stacked = {
        name: torch.cat(
            [scale * part[name] for scale, part in zip(scales, (under, over), strict=True)], dim=1
        )
        if ".lora_B." in name
        else torch.cat([under[name], over[name]])
        for name in over
    }
    save_file(stacked, second / WEIGHTS)
    write_json(second / CONFIG, {**about, "r": rank, "lora_alpha": rank})
