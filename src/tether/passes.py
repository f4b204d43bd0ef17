"""How much a model is given at once; what is fastest is not the same on processors and on GPUs.

A processor works longest on a token when a pass has many of them, for what it has just computed falls out of
its cache. A GPU takes as long for a hundred tokens as for a thousand, and padding costs it next to nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class PassSizes:
    """Sizes of what is computed together.

    Attributes:
        tokens: Of one pass, padding included.
        padding: Tokens whose time a pass takes by itself: more padding than that is worth another pass.
        logit_tokens: Of a pass that keeps a vocabulary of logits for each.
        softmax_tokens: Logits that are copied to float32 at once.
        generated_rows: Answers that are written on together.
        dialogue_tokens: Positions, padding included, of dialogues whose turns are answered together.
        cache_bytes: Keys and values of all rows that are scored or answered together.
    """

    tokens: int
    padding: int
    logit_tokens: int
    softmax_tokens: int
    generated_rows: int
    dialogue_tokens: int
    cache_bytes: int


SIZES = {
    "cpu": PassSizes(
        tokens=1024,
        padding=64,
        logit_tokens=256,
        softmax_tokens=32,
        generated_rows=96,
        dialogue_tokens=8192,
        cache_bytes=2 << 30,
    ),
    "cuda": PassSizes(
        tokens=8192,
        padding=1024,
        logit_tokens=2048,
        softmax_tokens=2048,
        generated_rows=256,
        dialogue_tokens=32768,
        cache_bytes=4 << 30,
    ),
}


def pass_sizes(device: torch.device) -> PassSizes:
    """What is fastest on this device; another kind of accelerator is taken for a GPU."""
    return SIZES["cpu" if device.type == "cpu" else "cuda"]
