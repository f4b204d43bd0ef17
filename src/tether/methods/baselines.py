"""The two ways in which nearly everybody fine-tunes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tether.methods.registry import method

if TYPE_CHECKING:
    from tether.methods.run import Run
    from tether.methods.tuned import Tuned


@method("full")
def full(run: Run, *, learning_rate: float | None = None) -> Tuned:
    """All weights are trained."""
    return run.tune("full", learning_rate)


@method("lora", paper="arXiv:2106.09685")
def lora(run: Run, *, rank: int = 16, alpha: int = 32, learning_rate: float | None = None) -> Tuned:
    """Low-rank updates of all linear layers."""
    return run.tune("lora", learning_rate, rank=rank, alpha=alpha)
