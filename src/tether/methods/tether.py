"""tether: train under a drift budget, rewind, certify."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import torch
from pydantic import Field

from tether import bases
from tether.chatdata.preferences import only_preferences
from tether.errors import UserError, did_you_mean
from tether.methods.registry import method
from tether.training.anchored import LONGEST, Anchoring, Constraint
from tether.training.budget import Budget, check_allowed
from tether.training.certificate import Certificate
from tether.training.filters import Filters, filters
from tether.training.preference import Objective, PreferenceLoss
from tether.training.rewind import WHOLE, DialogueLoss, Rewind
from tether.training.shaping import Shaping
from tether.training.starts import Laid, left_free
from tether.training.stepback import StepBack
from tether.training.stopping import EarlyStop
from tether.training.update import AdapterUpdate, WeightUpdate
from tether.training.weighting import Weighting

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from transformers import PreTrainedModel

    from tether.anchors.reference import Reference
    from tether.inference import LocalModel
    from tether.methods.run import Run
    from tether.methods.tuned import Tuned
    from tether.training.measured import Measured

# A rewind to less took skill and gave little back: to 0.03 on safety 5.8 points of right steps, for a tenth
# of a point of safety (one seed, a pull at all groups alike; docs/tried.md).
BUDGET = 0.05
# At 0.3 anchors halved the drift of shaped training and lowered the domain's loss too (docs/method.md); from
# there it moves slowly, for drift is measured on a few anchors. The aim leaves room for the certificate's
# interval.
MULTIPLIER = {"start": 0.3, "rate": 0.05, "memory": 0.8, "aim": 0.5}

PULL, ANCHOR_EVERY, ANCHOR_TOKENS = 3.0, 4, 384
# tether's own LoRA takes longer steps through a filter ten times as strong: 100 steps learned as much as full
# fine-tuning's, where half the alpha at a pull of 3 had learned as LoRA's, at hardly more drift
# (docs/tried.md). At rank 16 a stronger pull costs learning: a LoRA of somebody else's has the lesser one.
RANK, ALPHA, OWN_PULL = 64, 128, 30.0


@dataclass(frozen=True)
class Holding:
    """How a training is held.

    Attributes:
        budget: Drift allowed in nats per answer token, for all anchor groups or by group.
        training_budget: What the multipliers hold drift to in training; None is the budget. A tighter one
            leaves less to the rewind, which takes more skill than their pull does.
        pull: How strongly the geometry turns A, or each step, away from what anchors use; 0 does not.
        anchor_every: Steps between looks at anchors; 0 looks at none.
        anchor_tokens: Tokens of a look.
        rewinding: Whether the update is rewound until it fits.
        geometry: Whether the inputs' moments are measured at all, for steps and rewind.
        first_tokens: How much the first five tokens of an anchor's answer count in the loss.
        eigenbasis: Whether steps that are shaped are made in the eigenbasis of the domain's inputs.
        white: Whether a LoRA's A is laid into rows whose answers to the domain are white.
        train_a: Whether a LoRA's A is trained on from where the geometry has laid it, or stays there.
        stop_every: Steps between looks at whether the domain's loss still pays for the drift; 0 never looks.
        step_back_every: Steps between small rewinds of a LoRA in training; 0 makes none.
        blind_to: A group of anchors that neither training nor rewind looks at; it is certified all the same.
    """

    budget: float | dict[str, float] | None = None
    training_budget: float | dict[str, float] | None = None
    pull: float = PULL
    anchor_every: int = ANCHOR_EVERY
    anchor_tokens: int = ANCHOR_TOKENS
    rewinding: bool = True
    geometry: bool = True
    first_tokens: float = 1.0
    eigenbasis: bool = True
    white: bool = True
    train_a: bool = False
    stop_every: int = 0
    step_back_every: int = 0
    blind_to: str | None = None

    def check(self, parametrisation: str) -> None:
        """See that these settings go together.

        Raises:
            UserError: A step back or a stop lacks what it goes by.
        """
        if self.step_back_every and not (self.geometry and self.anchor_every and parametrisation == "lora"):
            raise UserError(
                "a step back filters a LoRA by the geometry, as far as the anchors have drifted",
                where="step_back_every",
                fix="leave it out, or leave geometry, anchor_every and parametrisation as they are",
            )
        if self.stop_every and not self.anchor_every:
            raise UserError(
                "whether the loss pays for the drift is told by the drift that looks at anchors see",
                where="stop_every",
                fix="leave it out, or leave anchor_every as it is",
            )

    def start(self, measured: Measured | None, parametrisation: str) -> list[Laid]:
        """What lays a LoRA's A, where there is one and the geometry is to be heeded."""
        if measured is None or not self.pull or parametrisation != "lora":
            return []
        directions = partial(left_free, measured.geometry(), self.pull, white=self.white)
        return [Laid(directions, stays=not self.train_a)]

    def shaping(self, measured: Measured | None, parametrisation: str, folder: Path) -> list[Shaping]:
        """What shapes the steps, where they are; its filters lie in this folder, as large as the model."""
        if measured is None or not self.pull or (parametrisation == "lora" and not self.train_a):
            return []
        if not folder.exists():  # the optimizer of a run that goes on has worked in these very coordinates
            filters(measured.geometry(), self.pull).keep(folder)
        return [Shaping(Filters.kept(folder, measured.device), self.eigenbasis)]

    @property
    def splits(self) -> list[str]:
        """The splits of the anchors that are looked at."""
        trained = bool(self.anchor_every)
        looked_at = {"train": trained, "select": trained or self.rewinding, "certify": True}
        return [split for split, looked in looked_at.items() if looked]

    def anchoring(self, held: Constraint) -> Anchoring | None:
        """How anchors take part in training; None where they do not."""
        if not self.anchor_every:
            return None
        every, tokens = self.anchor_every, self.anchor_tokens
        return Anchoring(
            held.reference.anchors, held, every, tokens, longest=LONGEST, first_tokens=self.first_tokens
        )


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
    heeded = run.anchors.without(holding.blind_to) if holding.blind_to else run.anchors
    epsilons = run.place.shares(budgets(holding.budget, run.anchors.groups, run.place.domains))
    held = {group: epsilons[group] for group in heeded.groups}
    strictly = holding.budget if holding.training_budget is None else holding.training_budget
    stricter = run.place.shares(budgets(strictly, run.anchors.groups, run.place.domains))
    reference = run.reference(*holding.splits)
    model = run.load(parametrisation)
    # In the precision in which it is given out: rounding is no drift.
    before = WeightUpdate(model, torch.bfloat16) if parametrisation == "full" else None
    domain_loss = _domain_loss(run, model, preferring)
    started = time.perf_counter()
    measured = run.measured(model, heeded) if holding.geometry else None
    laid = holding.start(measured, parametrisation)
    shaping = holding.shaping(measured, parametrisation, run.out / "checkpoints" / "filters")
    measuring = time.perf_counter() - started
    multipliers = Budget({group: stricter[group] for group in heeded.groups}, **MULTIPLIER)
    stop = EarlyStop(holding.stop_every, lambda now: domain_loss(run.live(now)), multipliers)
    step_back = None
    if measured and holding.step_back_every:
        step_back = StepBack(holding.step_back_every, multipliers, held, measured)
    tuned, cost, rate = run.fit(
        model,
        parametrisation,
        learning_rate,
        rank=rank,
        alpha=alpha,
        anchoring=holding.anchoring(Constraint(multipliers, reference)),
        callbacks=[
            *laid,
            *shaping,
            *([step_back] if step_back else []),
            *([stop] if holding.stop_every else []),
        ],
        preferring=preferring,
        weighting=weighting,
    )
    if before is None:  # training computed in it too; the float32 was for the optimizer
        bases.to_bfloat16(tuned)
    rewind = None
    if holding.rewinding:
        rewind = Rewind(
            before.trained() if before else AdapterUpdate(tuned),
            partial(domain_loss, run.live(tuned)),
            partial(reference.drift, tuned, split="select"),
            held,
            measured,
        )
    kept = hold(run, rewind, reference, epsilons, tuned)
    kept["extra_seconds"]["geometry"] = measuring + sum(one.seconds for one in laid)
    return run.finish(
        tuned,
        parametrisation,
        rate,
        cost,
        training_pull=holding.pull,
        multipliers=multipliers.curves(),
        looks=stop.looks,
        **kept,
    )


def _domain_loss(
    run: Run, base: PreTrainedModel, preferring: Objective | None
) -> Callable[[LocalModel], float]:
    """What the rewind judges a model by; of preferences the base, before it is trained, is the reference."""
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
    drifts = reference.drifts(tuned)
    Certificate.of(drifts, run.anchors.sha256, epsilons, choice.alpha, choice.pull).write(run.out, run.base)
    seconds = {
        "base_states": reference.seconds,
        "rewind": rewound - started,
        "certify": time.perf_counter() - rewound,
    }
    return {"rewind": choice.record(), "extra_seconds": seconds}


def budgets(
    budget: float | dict[str, float] | None, groups: Sequence[str], later: Sequence[str] = ()
) -> dict[str, float]:
    """The budget of every anchor group: one number for all, or by name over the defaults.

    Raises:
        UserError: A name is neither a group's nor one of the groups that come ``later``: what was to be held
            would not be. Or a budget is none.
    """
    named = dict.fromkeys(groups, budget) if isinstance(budget, float | int) else budget or {}
    check_allowed(named)
    for name in named:
        if name not in (*groups, *later):
            raise UserError(f"budget: no anchors are called '{name}'", fix=did_you_mean(name, groups))
    return {group: float(named.get(group, BUDGET)) for group in groups}
