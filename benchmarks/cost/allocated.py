"""Memory that torch has allocated at a step's peak, of plain LoRA and of tether.

Run as ``python benchmarks/cost/allocated.py --out benchmarks/cost/allocated.json``. It is what
``torch.cuda.max_memory_allocated`` tells of a GPU, told of a CPU: the tensors that are alive when the counted
steps begin, and what torch's profiler sees allocated from there. The process's own memory, which
benchmarks/cost/run.py tells, has in it what the C library keeps of blocks that were freed. Each kind is a
process of its own.
"""

from __future__ import annotations

import argparse
import gc
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from run import KINDS, WARM_UP, in_a_process, measure
from torch.profiler import ProfilerActivity, profile
from transformers import TrainerCallback
from transformers.trainer import DEFAULT_CALLBACKS

from tether.environment import environment
from tether.files import read_json, write_json

DEFAULTS = ("lora", "lora-64", "tether-no-looks", "tether-fewer-looks", "tether")


def main() -> None:
    """Measure all kinds, or one in this process, and print each against plain LoRA."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", default="smollm2-135m-aligned")
    parser.add_argument("--data", default="builtin:hotels")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=DEFAULTS)
    parser.add_argument("--kind", choices=KINDS, help="only this one, in this process")
    arguments = parser.parse_args()
    if arguments.kind:
        DEFAULT_CALLBACKS.append(counted := Allocations())  # transformers gives every trainer these
        measure(arguments.kind, arguments.base, arguments.data, arguments.steps)
        print(counted.peak)
        return
    kinds = dict.fromkeys(["lora", *arguments.kinds])
    peaks = {kind: in_a_process(__file__, kind, arguments) for kind in kinds}
    ratios = {kind: peak / peaks["lora"] for kind, peak in peaks.items()}
    found = {"environment": environment(), "steps": arguments.steps, "bytes": peaks, "ratios": ratios}
    print(json.dumps(found, indent=2))
    if arguments.out:
        write_json(arguments.out, found)


class Allocations(TrainerCallback):
    """Counts what is allocated in a training's steps after the warm-up.

    Attributes:
        peak: Bytes at the highest.
    """

    def __init__(self) -> None:
        self.peak, self._alive = 0, 0
        self._profile = profile(activities=[ProfilerActivity.CPU], profile_memory=True)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin to count, once the optimizer has its state."""
        if state.global_step == WARM_UP:
            self._alive = alive()
            self._profile.start()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Read what was counted."""
        self._profile.stop()
        with tempfile.TemporaryDirectory() as scratch:
            trace = Path(scratch) / "trace.json"
            self._profile.export_chrome_trace(str(trace))
            events: list[dict[str, Any]] = read_json(trace)["traceEvents"]
        self.peak = self._alive + max(
            event["args"]["Total Allocated"] for event in events if event.get("name") == "[memory]"
        )


def alive() -> int:
    """Bytes of all tensors that there are, each storage once."""
    storages = [one.untyped_storage() for one in gc.get_objects() if isinstance(one, torch.Tensor)]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


if __name__ == "__main__":
    main()
