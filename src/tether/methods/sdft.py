"""Learning the domain in the base's own words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tether.methods.registry import method

if TYPE_CHECKING:
    from tether.methods.run import Run
    from tether.methods.tuned import Tuned


@method("sdft", paper="arXiv:2402.13669")
def sdft(run: Run, *, rank: int = 16, alpha: int = 32, learning_rate: float | None = None) -> Tuned:
    """SDFT: LoRA on the agent's turns as the base itself words them."""
    return run.retold().tune("lora", learning_rate, rank=rank, alpha=alpha)
