"""What bfloat16 costs this machine: reading, learning and answering in it, against float32.

Run as ``python benchmarks/precision/run.py --out benchmarks/precision/results.json``.

The two take turns in one process; ratios are taken round by round, and their median is told.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import torch

from tether import bases
from tether.environment import environment

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import PreTrainedModel

PRECISIONS = (torch.bfloat16, torch.float32)


def main() -> None:
    """Time each piece of work in either precision, round by round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", default="smollm2-135m-aligned")
    parser.add_argument("--tokens", type=int, default=128, help="of the text that is read and learned from")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    base = bases.resolve(arguments.base)
    models = {dtype: bases.load_model(base, dtype) for dtype in PRECISIONS}
    ids = torch.arange(1000, 1000 + arguments.tokens)[None]
    for model in models.values():
        _read(model, ids[:, :8])  # what is compiled and allocated at the first call is not timed
    rounds = [
        {work: {str(dtype): _seconds(do, model, ids) for dtype, model in models.items()} for work, do in WORK}
        for _ in range(arguments.rounds)
    ]
    slow, fast = map(str, PRECISIONS)
    ratios = {work: median(r[work][slow] / r[work][fast] for r in rounds) for work, _ in WORK}
    found = {
        "environment": environment(),
        "tokens": arguments.tokens,
        "rounds": rounds,
        "bfloat16 / float32": ratios,
    }
    text = json.dumps(found, indent=2)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")


def _seconds(
    work: Callable[[PreTrainedModel, torch.Tensor], None], model: PreTrainedModel, ids: torch.Tensor
) -> float:
    started = time.perf_counter()
    work(model, ids)
    return time.perf_counter() - started


@torch.inference_mode()
def _read(model: PreTrainedModel, ids: torch.Tensor) -> None:
    model(input_ids=ids)


def _learn(model: PreTrainedModel, ids: torch.Tensor) -> None:
    model(input_ids=ids, labels=ids).loss.backward()
    model.zero_grad()


@torch.inference_mode()
def _answer(model: PreTrainedModel, ids: torch.Tensor) -> None:
    model.generate(ids[:, :8], max_new_tokens=8, min_new_tokens=8, do_sample=False)


WORK = (("reading", _read), ("learning", _learn), ("answering, token by token", _answer))


if __name__ == "__main__":
    main()
