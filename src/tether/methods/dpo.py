"""Preference tuning: a good turn made likelier than a bad one, plain and under tether's budget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from tether.methods.holding import ANCHOR_EVERY, ANCHOR_TOKENS, Holding
from tether.methods.registry import method
from tether.methods.tether import ALPHA, OWN_PULL, RANK, under_budget
from tether.training.preference import Objective

if TYPE_CHECKING:
    from tether.methods.run import Run
    from tether.methods.tuned import Tuned

BETA = 0.1  # the paper's, and TRL's
RATE = 5e-5  # not measured: a tenth of a LoRA's for chats, since one loss here is of a whole turn


@method("dpo", paper="arXiv:2305.18290", data="preferences")
def dpo(
    run: Run,
    *,
    beta: float = BETA,
    sft: Annotated[float, Field(ge=0)] = 0.0,
    rank: int = 16,
    alpha: int = 32,
    learning_rate: float = RATE,
) -> Tuned:
    """TRL's DPO of a LoRA on pairs of a good and a bad turn, with the good turns' own loss where asked."""
    parametrisation = run.parametrisation("lora")
    model, cost, rate = run.fit(
        run.load(parametrisation),
        parametrisation,
        learning_rate,
        rank=rank,
        alpha=alpha,
        preferring=Objective(beta, sft),
    )
    return run.finish(model, parametrisation, rate, cost)


@method("tether-dpo", paper="arXiv:2305.18290", data="preferences")
def tether_dpo(
    run: Run,
    *,
    budget: float | dict[str, float] | None = None,
    beta: float = BETA,
    sft: Annotated[float, Field(ge=0)] = 0.0,
    rank: int = RANK,
    alpha: int = ALPHA,
    learning_rate: float = RATE,
    pull: float = OWN_PULL,
    anchor_every: Annotated[int, Field(ge=0)] = ANCHOR_EVERY,
    anchor_tokens: Annotated[int, Field(gt=0)] = ANCHOR_TOKENS,
) -> Tuned:
    """DPO as tether trains: A laid by the geometry, anchors, a drift budget, the rewind, a certificate."""
    holding = Holding(budget=budget, pull=pull, anchor_every=anchor_every, anchor_tokens=anchor_tokens)
    return under_budget(run, holding, learning_rate, rank=rank, alpha=alpha, preferring=Objective(beta, sft))
