"""The drift budget as a constraint: one multiplier per anchor group, raised while its drift is above it.

min CE_D(theta) subject to drift_g(theta) <= eps_g is solved by dual ascent on log lambda_g: the multiplier
moves by a factor that depends on how far the measured drift is from its budget, so that it settles over any
scale of drift.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from tether.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MOST_EXCESS = 1.0  # of the aim, that an update heeds: no single noisy batch throws the multiplier
# At a rate of 2e-3 drift stayed at 0.1 while a multiplier climbed from 3 to 1000 (benchmarks/first-study):
# what is left there is the steps' own noise, which a larger multiplier feeds. The rewind sees to the rest.
SMALLEST, LARGEST = 1e-2, 5.0


@dataclass
class Multiplier:
    """One group's multiplier.

    Attributes:
        epsilon: The budget in nats per answer token.
        value: The multiplier now.
        drift: Moving average of the measured drift; None before the first.
        curve: (step, measured drift, multiplier) at each update.
    """

    epsilon: float
    value: float
    drift: float | None = None
    curve: list[tuple[int, float, float]] = field(default_factory=list)


def check_allowed(budgets: Mapping[str, float]) -> None:
    """See that every budget allows something.

    Raises:
        UserError: One does not.
    """
    for name, allowed in budgets.items():
        if not allowed > 0:
            what, where = f"a budget of {allowed:g} allows no step", f"budget of {name}"
            raise UserError(what, where=where, fix="name one above 0")


class Budget:
    """Multipliers of all groups, with their history.

    Args:
        epsilons: Budget of each group, nats per answer token.
        start: First value of every multiplier.
        rate: How far a multiplier moves per step since the last update, in log units at an excess of one aim.
        memory: Share of the old value in the moving average of drift that is left after a step.
        aim: Share of the budget that training aims at, which leaves room for the interval of the certificate.
    """

    def __init__(
        self, epsilons: dict[str, float], *, start: float, rate: float, memory: float, aim: float
    ) -> None:
        self.rate, self.memory, self.aim = rate, memory, aim
        self.groups = {name: Multiplier(epsilon, start) for name, epsilon in epsilons.items()}

    def observe(self, step: int, drifts: dict[str, float]) -> None:
        """Move every group's multiplier by what its drift was just measured to be, nats per answer token."""
        for name, measured in drifts.items():
            group = self.groups[name]
            passed = step - group.curve[-1][0] if group.curve else 1
            old, share = measured if group.drift is None else group.drift, self.memory**passed
            group.drift = share * old + (1 - share) * measured
            excess = group.drift / (self.aim * group.epsilon) - 1
            moved = group.value * math.exp(passed * self.rate * max(-MOST_EXCESS, min(MOST_EXCESS, excess)))
            group.value = max(SMALLEST, min(LARGEST, moved))
            group.curve.append((step, measured, group.value))

    def weights(self) -> dict[str, float]:
        """The multipliers as they stand."""
        return {name: group.value for name, group in self.groups.items()}

    def curves(self) -> dict[str, list[tuple[int, float, float]]]:
        """Every group's updates, for the record."""
        return {name: group.curve for name, group in self.groups.items()}

    def save(self, path: Path) -> None:
        """Write multipliers and curves beside a checkpoint."""
        path.write_text(
            json.dumps({name: asdict(group) for name, group in self.groups.items()}), encoding="utf-8"
        )

    def load(self, path: Path) -> None:
        """Go on from a checkpoint's multipliers."""
        for name, group in json.loads(path.read_text(encoding="utf-8")).items():
            self.groups[name] = Multiplier(**group)
