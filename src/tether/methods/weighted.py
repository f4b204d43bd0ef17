"""LoRAs that learn what the base finds likely: tokens masked or rows weighted by its own likelihoods."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tether.methods.registry import method
from tether.training.weighting import Weighting

if TYPE_CHECKING:
    from tether.methods.run import Run
    from tether.methods.tuned import Tuned

STM_THRESHOLD = 2.5  # the authors'


@method("stm", paper="arXiv:2501.14315")
def stm(
    run: Run,
    *,
    threshold: float = STM_THRESHOLD,
    rank: int = 16,
    alpha: int = 32,
    learning_rate: float | None = None,
) -> Tuned:
    """Selective token masking: tokens of a higher perplexity under the base are not learned."""
    return run.tune("lora", learning_rate, rank=rank, alpha=alpha, weighting=Weighting(stm=threshold))


@method("flow", paper="arXiv:2502.02797")
def flow(run: Run, *, rank: int = 16, alpha: int = 32, learning_rate: float | None = None) -> Tuned:
    """FLOW: dialogues that the base finds easy weigh more."""
    return run.tune("lora", learning_rate, rank=rank, alpha=alpha, weighting=Weighting(flow=True))
