"""Anchors in the loss at a fixed weight: what tether is without budget, geometry and rewind."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from tether.methods.registry import method
from tether.training.anchored import Anchoring, Constraint
from tether.training.budget import LARGEST, SMALLEST, Budget

if TYPE_CHECKING:
    from tether.methods.run import Run
    from tether.methods.tuned import Tuned


@method("kl-fixed", paper="arXiv:1606.09282")
def kl_fixed(
    run: Run,
    *,
    weight: Annotated[float, Field(ge=SMALLEST, le=LARGEST)] = 1.0,
    rank: int = 16,
    alpha: int = 32,
    learning_rate: float | None = None,
    anchor_every: Annotated[int, Field(gt=0)] = 2,
    anchor_tokens: Annotated[int, Field(gt=0)] = 384,
) -> Tuned:
    """LoRA with the drift on tether's anchors in its loss, at a fixed weight: learning without forgetting."""
    # No drift is above an infinite budget, and at a rate of nothing no multiplier moves.
    fixed = Budget(dict.fromkeys(run.anchors.groups, math.inf), start=weight, rate=0.0, memory=0.0, aim=1.0)
    held = Constraint(fixed, run.reference("train"))
    anchoring = Anchoring(run.anchors, held, every=anchor_every, tokens=anchor_tokens)
    told = {"anchors_sha256": run.anchors.sha256}
    return run.tune("lora", learning_rate, told, rank=rank, alpha=alpha, anchoring=anchoring)
