"""tether: train under a drift budget, rewind, certify."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from tether.methods.registry import method
from tether.training.anchored import Anchoring
from tether.training.budget import Budget
from tether.training.geometry import Geometry
from tether.training.rewind import WHOLE, Rewind, dialogue_loss, select_drift
from tether.training.shaping import Shaping
from tether.training.update import AdapterUpdate, Update, WeightUpdate

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from tether.methods.run import Run, Tuned
    from tether.training.certificate import Certifier

# First study: at 0.05 and 0.015 measured, 96.5% of AdvBench was refused where the base refuses 97.7%.
GROUP_BUDGETS = {"general": 0.05, "safety": 0.03}
OTHER_GROUPS = 0.05
# At 0.3 anchors halved the drift of shaped training and lowered the domain's loss too (docs/method.md); from
# there it moves slowly, for drift is measured on a few anchors. The aim leaves room for the certificate's
# interval.
MULTIPLIER = {"start": 0.3, "rate": 0.05, "memory": 0.8, "aim": 0.5}

# From a pull of 1 to 3 shaping costs 0.002 nats of domain loss for 30% less drift, a rewind four times that.
PULL, ANCHOR_EVERY, ANCHOR_TOKENS = 3.0, 4, 384


@method("tether")
def tether(
    run: Run,
    *,
    budget: float | dict[str, float] | None = None,
    rank: int = 16,
    alpha: int = 32,
    learning_rate: float | None = None,
    pull: float = PULL,
    anchor_every: int = ANCHOR_EVERY,
    anchor_tokens: int = ANCHOR_TOKENS,
    rewinding: bool = True,
    geometry: bool = True,
) -> Tuned:
    """The domain is learned in directions that the model's own answers leave free, under a drift budget."""
    parametrisation = run.parametrisation("lora")
    epsilons = run.place.shares(budgets(budget, run.anchors.groups))
    certifier = run.certifier(epsilons)
    model = run.load(parametrisation)
    # In the precision in which it is given out: rounding is no drift.
    before = WeightUpdate(model, torch.bfloat16) if parametrisation == "full" else None
    started = time.perf_counter()
    measured = run.measured(model) if geometry else None
    # Only the filters stay in memory while it trains.
    shaping = Shaping(Geometry.load(measured).filters(pull)) if measured and pull else None
    measuring = time.perf_counter() - started
    multipliers = Budget(epsilons, **MULTIPLIER)
    tuned, cost, rate = run.fit(
        model,
        parametrisation,
        learning_rate,
        rank=rank,
        alpha=alpha,
        anchoring=Anchoring(run.anchors, multipliers, anchor_every, anchor_tokens) if anchor_every else None,
        shaping=shaping,
    )

    update: Update = before.trained() if before else AdapterUpdate(tuned)
    directions = Geometry.load(measured) if measured else None
    domain_loss = dialogue_loss(run.live(tuned), run.select)
    drift = partial(select_drift, tuned, run.anchors, epsilons, run.tokenizer.pad_token_id)
    rewind = Rewind(update, domain_loss, drift, epsilons, directions)
    held = hold(run, rewind if rewinding else None, certifier, tuned)
    held["extra_seconds"]["geometry"] = measuring
    curves = {name: group.curve for name, group in multipliers.groups.items()}
    return run.finish(tuned, parametrisation, rate, cost, training_pull=pull, multipliers=curves, **held)


def hold(
    run: Run, rewind: Rewind | None, certifier: Certifier, tuned: PreTrainedModel
) -> dict[str, dict[str, Any]]:
    """Rewind the update, where wanted, and write its certificate; returns what the record says of both."""
    started = time.perf_counter()
    choice = rewind() if rewind else WHOLE
    rewound = time.perf_counter()
    certifier.certify(tuned, choice.alpha, choice.pull).write(run.out, run.base)
    seconds = {
        "base_states": certifier.seconds,
        "rewind": rewound - started,
        "certify": time.perf_counter() - rewound,
    }
    return {"rewind": choice.record(), "extra_seconds": seconds}


def budgets(budget: float | dict[str, float] | None, groups: list[str]) -> dict[str, float]:
    """The budget of every anchor group: one number for all, or by name over the defaults."""
    if isinstance(budget, float | int):
        return dict.fromkeys(groups, float(budget))
    named = {**GROUP_BUDGETS, **(budget or {})}
    return {group: named.get(group, OTHER_GROUPS) for group in groups}
