"""A stop where the domain's loss no longer pays for the drift.

Dual ascent puts a price on drift: with the multipliers lambda, what training lowers is loss + sum of lambda_g
drift_g (the Lagrangian of training/budget.py). On dialogues kept aside, that falls for as long as what is
learned is worth what it costs. Every look is priced by today's multipliers, the earlier ones too; where the
cheapest of them is some looks ago, training ends, and the rewind goes back as far as the budget needs.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from transformers import TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from tether import bases
from tether.files import read_json, write_json
from tether.progress import say

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import PreTrainedModel

    from tether.training.budget import Budget

PATIENCE = 2  # looks after the cheapest
STOP_FILE = "looks.json"


class Look(NamedTuple):
    """Loss in nats per token on what was kept aside, and drift by group, after a step."""

    step: int
    loss: float
    drifts: dict[str, float]

    def price(self, multipliers: dict[str, float]) -> float:
        """Loss and drift, in nats per token."""
        return self.loss + sum(multipliers[group] * drift for group, drift in self.drifts.items())


class EarlyStop(TrainerCallback):
    """Ends a training that costs more than it brings.

    Args:
        every: Steps between looks.
        domain_loss: Measures a model as it stands on what was kept aside from training.
        budget: Has the multipliers, and the drift as it was last measured.
    """

    def __init__(self, every: int, domain_loss: Callable[[PreTrainedModel], float], budget: Budget) -> None:
        self.every, self._domain_loss, self._budget = every, domain_loss, budget
        self.looks: list[Look] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Go on from a checkpoint's looks."""
        self.looks = [Look(*look) for look in read_json(_file(args, state)) or ()]

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Keep the looks with the checkpoint."""
        write_json(_file(args, state), self.looks)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Look, where it is time, and stop, where it is over."""
        if state.global_step % self.every:
            return
        model = kwargs["model"]
        drifts = {name: group.drift or 0.0 for name, group in self._budget.groups.items()}
        model.eval()
        computing = bases.precision()  # as training does
        with torch.autocast(model.device.type, computing, enabled=computing != torch.float32):
            self.looks.append(Look(state.global_step, self._domain_loss(model), drifts))
        model.train()
        if self.is_over:
            say(f"After step {self.cheapest.step} the loss no longer paid for the drift: stopped")
            control.should_training_stop = True

    @property
    def cheapest(self) -> Look:
        """The look of the least price."""
        multipliers = self._budget.weights()
        return min(self.looks, key=lambda look: look.price(multipliers))

    @property
    def is_over(self) -> bool:
        """Whether the cheapest look is too long ago."""
        return self.looks[-1].step - self.cheapest.step >= PATIENCE * self.every


def _file(args: Any, state: Any) -> Path:
    return Path(args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}" / STOP_FILE
