"""All weights, each pulled back to where it began."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from tether.errors import UserError
from tether.methods.registry import method
from tether.training.penalty import Penalty, fisher

if TYPE_CHECKING:
    from tether.methods.run import Run
    from tether.methods.tuned import Tuned

Strength = Annotated[float, Field(gt=0)]


@method("l2sp", paper="arXiv:1802.01483")
def l2sp(run: Run, *, strength: Strength = 0.1, learning_rate: float | None = None) -> Tuned:
    """L2-SP: the squared distance from the base's weights is in the loss."""
    return _pulled(run, strength, learning_rate, weighted=False)


@method("ewc", paper="arXiv:1612.00796")
def ewc(run: Run, *, strength: Strength = 0.1, learning_rate: float | None = None) -> Tuned:
    """Elastic weight consolidation: the same, each weight as strongly as the anchors' answers need it."""
    return _pulled(run, strength, learning_rate, weighted=True)


def _pulled(run: Run, strength: float, learning_rate: float | None, *, weighted: bool) -> Tuned:
    if run.settings.parametrisation == "lora":
        raise UserError(
            "this method pulls the base's own weights and trains all of them",
            where="parametrisation",
            fix="leave it out",
        )
    model = run.load("full")
    importance = fisher(model, run.anchors) if weighted else None
    penalty = Penalty(model, strength, importance)
    tuned, cost, rate = run.fit(model, "full", learning_rate, callbacks=[penalty])
    return run.finish(tuned, "full", rate, cost, strength=strength)
