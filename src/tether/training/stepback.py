"""Small rewinds in the midst of training, where the steps that follow can still learn to do without.

What training drifted beyond the budget the rewind gives up when nothing learns any more, and skill may go
with it. After 900 steps it took a pull of 1.78, and of 0.83 with steps back, at the same skill and safety and
more knowledge (one seed, docs/results.md). Multipliers alone do not keep to a budget for so long: at their
bound drift stayed where it was, for what anchors may add to a step is bounded too (training/anchored.py). So
every so often a LoRA's A is filtered as the rewind would filter it, by the groups that drifted beyond their
share of the budget, as strongly as they did (training/geometry.py); a group that keeps to it is not counted.
No anchor is looked at for that: drift is what the multipliers were shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback

from tether.training.geometry import needed_pull
from tether.training.update import input_weights

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tether.training.budget import Budget
    from tether.training.measured import Measured

# Of the budget. The rest is the rewind's margin for the certificate: under 0.05 a mean of 0.030 on text
# surely fitted, 0.032 did not (the curve of benchmarks/long's rewind).
ALLOWED = 0.6


class StepBack(TrainerCallback):
    """Filters a LoRA's A every so many steps.

    Args:
        every: Steps between two steps back.
        budget: Has the drift as it was measured.
        epsilons: What is allowed in the end, by group, nats per answer token.
        measured: The base's inputs.
    """

    def __init__(self, every: int, budget: Budget, epsilons: Mapping[str, float], measured: Measured) -> None:
        self.every, self._budget, self._epsilons, self._measured = every, budget, epsilons, measured

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Step back, where it is time and some group drifted too far."""
        pulls = {} if state.global_step % self.every else self.pulls(state.global_step)
        if any(pulls.values()):
            self._filter(kwargs["model"], pulls)

    def pulls(self, step: int) -> dict[str, float]:
        """The pull that each group needs after a step, by its mean drift since the step back before."""
        return {
            name: needed_pull(self._drift(name, step) / (ALLOWED * epsilon))
            for name, epsilon in self._epsilons.items()
        }

    def _drift(self, name: str, step: int) -> float:
        curve = self._budget.groups[name].curve
        seen = [drift for at, drift, _ in curve if step - self.every <= at < step]
        return sum(seen) / max(1, len(seen))

    @torch.no_grad()
    def _filter(self, model: torch.nn.Module, pulls: Mapping[str, float]) -> None:
        pull = sum(pulls.values())
        geometry = self._measured.geometry({name: one / pull for name, one in pulls.items()})
        for name, weight in input_weights(model).items():
            weight.copy_(geometry.held(name, weight, pull))
