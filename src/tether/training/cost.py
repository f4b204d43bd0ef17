"""What a training run takes: time by step, tokens, memory."""

from __future__ import annotations

import ctypes
import gc
import resource
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch


@dataclass
class Cost:
    """What a run took, kept over restarts.

    Attributes:
        step_seconds: Wall clock of each optimizer step.
        tokens: Domain tokens seen, padding not counted.
        peak_memory_bytes: Highest resident (CPU) or allocated (CUDA) memory.
        trainable_parameters: Parameters with gradients.
        losses: (step, mean domain loss in nats per learned token) as logged.
    """

    step_seconds: list[float] = field(default_factory=list)
    tokens: int = 0
    peak_memory_bytes: int = 0
    trainable_parameters: int = 0
    losses: list[tuple[int, float]] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Wall clock inside training steps."""
        return sum(self.step_seconds)

    def record(self) -> dict[str, Any]:
        """For the run's record, with the totals."""
        speed = self.tokens / self.seconds if self.seconds else 0.0
        times = [round(seconds, 4) for seconds in self.step_seconds]
        return {**asdict(self), "step_seconds": times, "seconds": self.seconds, "tokens_per_second": speed}


def reset_peak_memory() -> None:
    """Begin to measure peak memory anew, where the system allows it."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    elif sys.platform == "linux":
        # glibc keeps what an earlier run of this process has freed, and it would count; musl does not.
        gc.collect()
        with suppress(AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
        with suppress(OSError):  # some sandboxes do not let a process reset its peak
            Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> int:
    """Peak memory in bytes: allocated on CUDA, else resident since the last reset (off Linux, the start)."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    if sys.platform == "linux":
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
