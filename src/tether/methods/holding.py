"""How a training is held: its switches, what drift it may come to, and what they put into the training."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from tether.errors import UserError, did_you_mean
from tether.training.anchored import LONGEST, Anchoring, Constraint
from tether.training.budget import check_allowed
from tether.training.filters import Filters, filters
from tether.training.output_penalty import OutputPenalty
from tether.training.shaping import Shaping
from tether.training.starts import Laid, left_free
from tether.training.stepback import StepBack

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from transformers import PreTrainedModel

    from tether.anchors.anchors import AnchorSet
    from tether.methods.run import Run
    from tether.training.budget import Budget
    from tether.training.measured import Measured

# A rewind to less took skill and gave little back: to 0.03 on safety 5.8 points of right steps, for a tenth
# of a point of safety (one seed, a pull at all groups alike; docs/tried.md).
BUDGET = 0.05
# At 0.3 anchors halved the drift of shaped training and lowered the domain's loss too (docs/method.md); from
# there it moves slowly, for drift is measured on a few anchors. The aim leaves room for the certificate's
# interval.
MULTIPLIER = {"start": 0.3, "rate": 0.01, "memory": 0.95, "aim": 0.5}

PULL, ANCHOR_EVERY, ANCHOR_TOKENS = 3.0, 4, 384


@dataclass(frozen=True)
class Limits:
    """Drift allowed, by anchor group, in nats per answer token.

    Attributes:
        certified: By the certificate: of every group.
        rewound: By the rewind: of the groups that are heeded.
        trained: By the multipliers, which may be held to less: of the groups that are heeded.
    """

    certified: dict[str, float]
    rewound: dict[str, float]
    trained: dict[str, float]


@dataclass(frozen=True)
class Shaped:
    """What the geometry puts into a training.

    Attributes:
        measured: The base's inputs on the domain and on anchors; None where they are not measured.
        laid: What lays a LoRA's A before the first step, where there is one to lay.
        penalties: What is penalised on the anchors' inputs, once A is laid.
        shaping: What shapes the steps, where they are shaped.
        preparing: Seconds that it took until the training began.
    """

    measured: Measured | None
    laid: list[Laid]
    penalties: list[OutputPenalty]
    shaping: list[Shaping]
    preparing: float

    @property
    def callbacks(self) -> list[Any]:
        """For the trainer."""
        return [*self.laid, *self.penalties, *self.shaping]

    @property
    def seconds(self) -> float:
        """Seconds outside the steps, once A is laid."""
        begun = [one.seconds for one in self.laid] + [one.seconds for one in self.penalties]
        return self.preparing + sum(begun)


@dataclass(frozen=True)
class Holding:
    """How a training is held.

    Attributes:
        budget: Drift allowed in nats per answer token, for all anchor groups or by group.
        training_budget: What the multipliers hold drift to in training; None is the budget. A tighter one
            leaves less to the rewind, which takes more skill than their pull does.
        pull: How strongly the geometry turns A, or each step, away from what anchors use; 0 does not.
        anchor_every: Steps between looks at anchors; 0 looks at none.
        anchor_tokens: Tokens of a look at the most, but for one anchor of each group, which is always read.
        rewinding: Whether the update is rewound until it fits.
        geometry: Whether the inputs' moments are measured at all, for steps and rewind.
        beginnings: Share of where answers begin, their first five tokens, in the moments of anchors' inputs;
            the rest is of all their tokens alike.
        penalty: What a LoRA whose A stays pays for what it adds to the layers' outputs on anchors.
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
    beginnings: float = 0.0
    penalty: float = 0.0
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
        if self.penalty and not (self._lays(parametrisation) and not self.train_a):
            raise UserError(
                "the penalty is found once, of a LoRA's A that the geometry has laid and that stays",
                where="penalty",
                fix="leave it out, or leave geometry, pull, train_a and parametrisation as they are",
            )
        if self.stop_every and not self.anchor_every:
            raise UserError(
                "whether the loss pays for the drift is told by the drift that looks at anchors see",
                where="stop_every",
                fix="leave it out, or leave anchor_every as it is",
            )

    def heeded(self, anchors: AnchorSet) -> AnchorSet:
        """The anchors that training and rewind look at."""
        return anchors.without(self.blind_to) if self.blind_to else anchors

    def limits(self, run: Run) -> Limits:
        """What each group may drift by, at the run's place in its sequence.

        Raises:
            UserError: A budget is none, or names anchors that are not there.
        """

        def allowed(budget: float | dict[str, float] | None, of: Sequence[str]) -> dict[str, float]:
            shares = run.place.shares(budgets(budget, run.anchors.groups, run.place.domains))
            return {group: shares[group] for group in of}

        every, heeded = run.anchors.groups, self.heeded(run.anchors).groups
        strictly = self.budget if self.training_budget is None else self.training_budget
        return Limits(allowed(self.budget, every), allowed(self.budget, heeded), allowed(strictly, heeded))

    def shaped(self, run: Run, model: PreTrainedModel, parametrisation: str) -> Shaped:
        """Measure the base's inputs, and say what is made of them."""
        started = time.perf_counter()
        heeded = self.heeded(run.anchors)
        measured = run.measured(model, heeded, self.beginnings) if self.geometry else None
        laid = self._start(measured, parametrisation)
        shaping = self._shaping(measured, parametrisation, run.out / "checkpoints" / "filters")
        return Shaped(measured, laid, self._penalties(measured), shaping, time.perf_counter() - started)

    def steps_back(self, budget: Budget, limits: Limits, measured: Measured | None) -> list[StepBack]:
        """What makes small rewinds while it trains, where asked."""
        if measured is None or not self.step_back_every:
            return []
        return [StepBack(self.step_back_every, budget, limits.rewound, measured)]

    @property
    def splits(self) -> list[str]:
        """The splits of the anchors that are looked at."""
        looked_at = {"train": bool(self.anchor_every), "select": self.rewinding, "certify": True}
        return [split for split, looked in looked_at.items() if looked]

    def anchoring(self, held: Constraint) -> Anchoring | None:
        """How anchors take part in training; None where they do not."""
        if not self.anchor_every:
            return None
        every, tokens = self.anchor_every, self.anchor_tokens
        return Anchoring(
            held.reference.anchors, held, every, tokens, longest=LONGEST, first_tokens=self.first_tokens
        )

    def _lays(self, parametrisation: str) -> bool:
        """Whether there is an A to lay, and the geometry is to be heeded."""
        return self.geometry and bool(self.pull) and parametrisation == "lora"

    def _start(self, measured: Measured | None, parametrisation: str) -> list[Laid]:
        """What lays a LoRA's A, where one is laid."""
        if measured is None or not self._lays(parametrisation):
            return []
        directions = partial(left_free, measured.geometry(), self.pull, white=self.white)
        return [Laid(directions, stays=not self.train_a)]

    def _penalties(self, measured: Measured | None) -> list[OutputPenalty]:
        """What is penalised, where asked."""
        if measured is None or not self.penalty:
            return []
        return [OutputPenalty(self.penalty, measured.geometry().anchors)]

    def _shaping(self, measured: Measured | None, parametrisation: str, folder: Path) -> list[Shaping]:
        """What shapes the steps, where they are; its filters lie in this folder, as large as the model."""
        if measured is None or not self.pull or (parametrisation == "lora" and not self.train_a):
            return []
        if not folder.exists():  # the optimizer of a run that goes on has worked in these very coordinates
            filters(measured.geometry(), self.pull).keep(folder)
        return [Shaping(Filters.kept(folder, measured.device), self.eigenbasis)]


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
