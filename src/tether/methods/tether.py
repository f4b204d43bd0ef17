"""tether: train under a drift budget, rewind, certify."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import torch
from pydantic import Field

from tether import bases
from tether.chatdata.preferences import only_preferences
from tether.methods.holding import ANCHOR_EVERY, ANCHOR_TOKENS, MULTIPLIER, Holding
from tether.methods.registry import method
from tether.training.anchored import Constraint
from tether.training.budget import Budget
from tether.training.certificate import Certificate
from tether.training.preference import Objective, PreferenceLoss
from tether.training.rewind import WHOLE, DialogueLoss, Rewind
from tether.training.stopping import EarlyStop
from tether.training.update import AdapterUpdate, WeightUpdate
from tether.training.weighting import Weighting

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import PreTrainedModel

    from tether.anchors.reference import Reference
    from tether.inference import LocalModel
    from tether.methods.run import Run
    from tether.methods.tuned import Tuned

# tether's own LoRA takes longer steps through a filter ten times as strong: 100 steps learned as much as full
# fine-tuning's, where half the alpha at a pull of 3 had learned as LoRA's, at hardly more drift
# (docs/tried.md). At rank 16 a stronger pull costs learning: a LoRA of somebody else's has the lesser one.
RANK, ALPHA, OWN_PULL = 64, 128, 30.0


@method("tether")
def tether(
    run: Run,
    *,
    budget: float | dict[str, float] | None = None,
    training_budget: float | dict[str, float] | None = None,
    rank: int = RANK,
    alpha: int = ALPHA,
    learning_rate: float | None = None,
    pull: float = OWN_PULL,
    anchor_every: Annotated[int, Field(ge=0)] = ANCHOR_EVERY,
    anchor_tokens: Annotated[int, Field(gt=0)] = ANCHOR_TOKENS,
    rewinding: bool = True,
    geometry: bool = True,
    beginnings: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    penalty: Annotated[float, Field(ge=0)] = 0.0,
    stm: float | None = None,
    flow: bool = False,
    first_tokens: float = 1.0,
    eigenbasis: bool = True,
    white: bool = True,
    train_a: bool = False,
    stop_every: Annotated[int, Field(ge=0)] = 0,
    step_back_every: Annotated[int, Field(ge=0)] = 0,
    blind_to: str | None = None,
    domain_safety: bool = False,
    sdft: bool = False,
) -> Tuned:
    """The domain is learned in directions that the model's own answers leave free, under a drift budget."""
    run = run.retold() if sdft else run
    return under_budget(
        run.with_domain_safety() if domain_safety else run,
        Holding(
            budget=budget,
            training_budget=training_budget,
            pull=pull,
            anchor_every=anchor_every,
            anchor_tokens=anchor_tokens,
            rewinding=rewinding,
            geometry=geometry,
            beginnings=beginnings,
            penalty=penalty,
            first_tokens=first_tokens,
            eigenbasis=eigenbasis,
            white=white,
            train_a=train_a,
            stop_every=stop_every,
            step_back_every=step_back_every,
            blind_to=blind_to,
        ),
        learning_rate,
        rank=rank,
        alpha=alpha,
        weighting=Weighting(stm, flow),
    )


def under_budget(
    run: Run,
    holding: Holding,
    learning_rate: float | None,
    *,
    rank: int,
    alpha: int,
    preferring: Objective | None = None,
    weighting: Weighting | None = None,
) -> Tuned:
    """Train on chats, or with an objective on preferences, and hold the model to its budget."""
    parametrisation = run.parametrisation("lora")
    holding.check(parametrisation)
    limits = holding.limits(run)
    reference = run.reference(*holding.splits)
    model = run.load(parametrisation)
    # In the precision in which it is given out: rounding is no drift.
    computing = bases.precision()
    before = WeightUpdate(model, torch.bfloat16, held=computing) if parametrisation == "full" else None
    domain_loss = _domain_loss(run, model, preferring)
    shaped = holding.shaped(run, model, parametrisation)
    multipliers = Budget(limits.trained, **MULTIPLIER)
    stop = EarlyStop(holding.stop_every, lambda now: domain_loss(run.live(now)), multipliers)
    steps_back = holding.steps_back(multipliers, limits, shaped.measured)
    tuned, cost, rate = run.fit(
        model,
        parametrisation,
        learning_rate,
        rank=rank,
        alpha=alpha,
        anchoring=holding.anchoring(Constraint(multipliers, reference)),
        callbacks=[*shaped.callbacks, *steps_back, *([stop] if holding.stop_every else [])],
        preferring=preferring,
        weighting=weighting,
    )
    if before is None:  # as it will be given out; the float32 was for the optimizer
        bases.to_bfloat16(tuned, held=computing)
    rewind = None
    if holding.rewinding:
        update = before.trained() if before else AdapterUpdate(tuned)
        loss, drift = partial(domain_loss, run.live(tuned)), partial(reference.drift, tuned, split="select")
        rewind = Rewind(update, loss, drift, limits.rewound, shaped.measured)
    kept = hold(run, rewind, reference, limits.certified, tuned)
    kept["extra_seconds"]["geometry"] = shaped.seconds
    curves = {"multipliers": multipliers.curves(), "looks": stop.looks}
    return run.finish(tuned, parametrisation, rate, cost, training_pull=holding.pull, **curves, **kept)


def _domain_loss(
    run: Run, base: PreTrainedModel, preferring: Objective | None
) -> Callable[[LocalModel], float]:
    """What the rewind is judged by; of preferences the base, before it is trained, is the reference."""
    if preferring is None:
        return DialogueLoss(run.renderer, run.select)
    return PreferenceLoss(run.live(base), only_preferences(run.select), preferring)


def hold(
    run: Run,
    rewind: Rewind | None,
    reference: Reference,
    epsilons: dict[str, float],
    tuned: PreTrainedModel,
) -> dict[str, dict[str, Any]]:
    """Rewind the update, where wanted, and write its certificate; returns what the record says of both."""
    started = time.perf_counter()
    choice = rewind() if rewind else WHOLE
    rewound = time.perf_counter()
    bases.to_bfloat16(tuned, held=bases.precision())  # what is certified is what is given out
    drifts = reference.drifts(tuned)
    Certificate.of(drifts, run.anchors.sha256, epsilons, choice.alpha, choice.pull).write(run.out, run.base)
    seconds = {
        "base_states": reference.seconds,
        "rewind": rewound - started,
        "certify": time.perf_counter() - rewound,
    }
    return {"rewind": choice.record(), "extra_seconds": seconds}
