"""The certificate: exact drift on anchors that nothing else has looked at, in `drift.json` by the weights."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tether.anchors.drift import summarise
from tether.files import write_json
from tether.progress import say

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import torch

    from tether.anchors.drift import GroupDrift
    from tether.bases import Base

CERTIFICATE_FILE = "drift.json"


@dataclass(frozen=True)
class Certificate:
    """How far a model moved from its base.

    Attributes:
        alpha: The scale of the update that was kept.
        pull: How strongly the geometry held it before it was scaled.
        groups: Drift by anchor group on the certify split.
        epsilons: Budget by group; empty where there was none.
        anchors_sha256: Which anchors.
        unit: Of drift and budget.
    """

    alpha: float
    pull: float
    groups: dict[str, GroupDrift]
    epsilons: dict[str, float]
    anchors_sha256: str
    unit: str = "nats/token"

    @classmethod
    def of(
        cls,
        drifts: Mapping[str, Sequence[torch.Tensor]],
        anchors_sha256: str,
        epsilons: dict[str, float] | None = None,
        alpha: float = 1.0,
        pull: float = 0.0,
    ) -> Certificate:
        """What drifts amount to, by group and prompt the drift of each answer token of the certify split."""
        groups = {group: summarise(per_prompt) for group, per_prompt in drifts.items()}
        return cls(alpha, pull, groups, epsilons or {}, anchors_sha256)

    @property
    def above(self) -> list[str]:
        """Groups whose upper 95% bound is above their budget."""
        return [name for name, epsilon in self.epsilons.items() if self.groups[name].upper95 > epsilon]

    def write(self, folder: Path, base: Base) -> None:
        """Write `drift.json`, and say so loudly where a group is above its budget."""
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / CERTIFICATE_FILE, self.as_json(base))
        for name in self.above:
            say(
                f"[bold red]ABOVE BUDGET[/]: drift on '{name}' is {self.groups[name].drift:.4f} {self.unit}, "
                f"upper 95% bound {self.groups[name].upper95:.4f}, budget {self.epsilons[name]:g} ({folder})"
            )

    def as_json(self, base: Base) -> dict[str, Any]:
        """The contract of `drift.json`."""
        groups = {
            name: {**asdict(drift), "budget": self.epsilons.get(name)} for name, drift in self.groups.items()
        }
        return {
            "budget": self.epsilons,
            "unit": self.unit,
            "alpha": self.alpha,
            "pull": self.pull,
            "base": base.name,
            "revision": base.revision,
            "anchors_sha256": self.anchors_sha256,
            "within_budget": not self.above,
            "groups": groups,
        }
