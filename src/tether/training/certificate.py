"""The certificate: exact drift on anchors that nothing else has looked at, in `drift.json` by the weights."""

from __future__ import annotations

import copy
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tether.anchors.drift import GroupDrift, answer_states, exact_drift, summarise
from tether.files import write_json
from tether.progress import say

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import torch
    from transformers import PreTrainedModel

    from tether.anchors.anchors import Anchor, AnchorSet
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


class Certifier:
    """Keeps the base's last hidden states on a split of anchors, to compare a tuned model with them later.

    Args:
        model: The base, before anything has changed in it.
        anchors: The anchors.
        pad_id: The tokenizer's pad token.
        epsilons: Budget by group; without one, every group is measured.
        split: Which anchors: those that certify, or those that the rewind selects by.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        anchors: AnchorSet,
        pad_id: int,
        epsilons: dict[str, float] | None = None,
        split: str = "certify",
    ) -> None:
        self.anchors, self.pad_id, self.epsilons, self.seconds = anchors, pad_id, epsilons or {}, 0.0
        self._split = split
        self._answered: dict[str, tuple[torch.nn.Module, list[torch.Tensor]]] = {}
        self.refer(model, anchors.groups)

    def refer(self, model: PreTrainedModel, groups: Sequence[str]) -> None:
        """Compare with this model on the groups that it answered."""
        started = time.perf_counter()
        head = copy.deepcopy(model.get_output_embeddings())
        for group in groups:
            states = answer_states(model, self._of(group), self.pad_id, f"Before, on {group} anchors")
            self._answered[group] = head, states
        self.seconds += time.perf_counter() - started

    def under(self, epsilons: dict[str, float], anchors: AnchorSet) -> Certifier:
        """The same answers under a budget; ``anchors`` may go on with groups that others answered."""
        held = copy.copy(self)
        held.anchors, held.epsilons, held._answered = anchors, epsilons, dict(self._answered)
        return held

    def _of(self, group: str) -> list[Anchor]:
        return [self.anchors.anchors[i] for i in self.anchors.indices(group, self._split)]

    def drifts(self, model: PreTrainedModel) -> dict[str, list[torch.Tensor]]:
        """Per group and prompt, the exact drift of each answer token."""
        return {group: self._drifts(model, group) for group in self._answered}

    def drift(self, model: PreTrainedModel, group: str) -> GroupDrift:
        """The exact drift of one group."""
        return summarise(self._drifts(model, group))

    def _drifts(self, model: PreTrainedModel, group: str) -> list[torch.Tensor]:
        head_before, kept = self._answered[group]
        head = model.get_output_embeddings()
        found = answer_states(model, self._of(group), self.pad_id, f"Drift on {group}")
        return [
            exact_drift(before, head_before, states, head).cpu()
            for before, states in zip(kept, found, strict=True)
        ]

    def certify(self, model: PreTrainedModel, alpha: float = 1.0, pull: float = 0.0) -> Certificate:
        """The certificate of a tuned model."""
        return self.summarise(self.drifts(model), alpha, pull)

    def summarise(
        self, drifts: dict[str, list[torch.Tensor]], alpha: float = 1.0, pull: float = 0.0
    ) -> Certificate:
        """The certificate that measured drifts amount to."""
        groups = {group: summarise(per_prompt) for group, per_prompt in drifts.items()}
        return Certificate(alpha, pull, groups, self.epsilons, self.anchors.sha256)
