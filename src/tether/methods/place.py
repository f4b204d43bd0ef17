"""Where in a sequence of domains a fine-tuning stands: alone, or after domains that were learned before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tether.anchors.learned import Learned


@dataclass(frozen=True)
class Place:
    """A place in a sequence.

    Attributes:
        learned: The domains before, in order; the last one's model is where this one starts.
        domains: The names of all of the sequence, in order; none of a fine-tuning that stands alone.
    """

    learned: Sequence[Learned] = ()
    domains: Sequence[str] = ()

    @property
    def start(self) -> Path | None:
        """The folder of the model to start from; None is the base."""
        return self.learned[-1].folder if self.learned else None

    def shares(self, budget: Mapping[str, float]) -> dict[str, float]:
        """What of each group's budget may be used up by the end of this domain.

        Drift adds up from domain to domain. Whoever came first would use up all of it, so each of the domains
        that a group lives through may add the same: after k of n, k/n of the budget.
        """
        stage, stages = len(self.learned) + 1, max(1, len(self.domains))
        born = {learned.group: number for number, learned in enumerate(self.learned, start=1)}
        return {
            group: epsilon * (stage - born.get(group, 0)) / (stages - born.get(group, 0))
            for group, epsilon in budget.items()
        }


ALONE = Place()
