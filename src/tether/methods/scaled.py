"""WiSE-FT: train as ever, then go some of the way back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import torch
from pydantic import Field

from tether.methods.registry import method
from tether.training.update import AdapterUpdate, WeightUpdate

if TYPE_CHECKING:
    from tether.methods.run import Run
    from tether.methods.tuned import Tuned
    from tether.training.update import Update


@method("wise-ft", paper="arXiv:2109.01903")
def wise_ft(
    run: Run,
    *,
    scale: Annotated[float, Field(ge=0, le=1)] = 0.5,
    rank: int = 16,
    alpha: int = 32,
    learning_rate: float | None = None,
) -> Tuned:
    """A LoRA, or all weights, of whose finished update a fixed share is kept."""
    parametrisation = run.parametrisation("lora")
    model = run.load(parametrisation)
    before = WeightUpdate(model, torch.bfloat16) if parametrisation == "full" else None
    tuned, cost, rate = run.fit(model, parametrisation, learning_rate, rank=rank, alpha=alpha)
    update: Update = before.trained() if before else AdapterUpdate(tuned)
    update.keep(scale)
    return run.finish(tuned, parametrisation, rate, cost, scale=scale)
