"""Anchored supervised fine-tuning."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from tether.methods.peft_adapters import refuse_all_weights
from tether.methods.registry import method
from tether.training.asft import AsftTrainer

if TYPE_CHECKING:
    from tether.methods.run import Run
    from tether.methods.tuned import Tuned


@method("asft", paper="arXiv:2509.23753")
def asft(
    run: Run,
    *,
    kl: Annotated[float, Field(ge=0)] = 0.1,
    rank: int = 16,
    alpha: int = 32,
    learning_rate: float | None = None,
) -> Tuned:
    """ASFT: a LoRA that learns tokens as much as it believes them, held near the base on the domain."""
    refuse_all_weights(run)
    trainer = partial(AsftTrainer, kl=kl)
    return run.tune("lora", learning_rate, rank=rank, alpha=alpha, trainer=trainer)
