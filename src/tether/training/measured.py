"""What a base was seen to read before training: the domain, and each group of anchors by itself.

Training keeps away from all groups alike. The rewind pulls hardest at what moved a group too far, so the
groups' moments are kept apart (training/rewind.py).
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from tether.anchors.moments import average, input_moments
from tether.training.geometry import CPU, Geometry
from tether.training.kept import Kept, keep, kinds
from tether.training.update import linear_layers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import torch
    from transformers import PreTrainedModel

    from tether.anchors.anchors import AnchorSet
    from tether.anchors.moments import Moments
    from tether.chatdata.chats import Chat
    from tether.inference import LocalModel

MOMENT_TOKENS = 8_000  # of the domain, and of each anchor group
DOMAIN, GROUP = "domain", "anchors: "


@dataclass(frozen=True)
class Measured:
    """Second moments of every layer's inputs (anchors/moments.py).

    Attributes:
        domain: On the domain.
        groups: On each group of anchors; perhaps in a file, and read when asked for.
        device: Where the geometry computes.
    """

    domain: Moments
    groups: Mapping[str, Mapping[str, torch.Tensor]]
    device: torch.device = CPU

    def geometry(self, shares: Mapping[str, float] | None = None) -> Geometry:
        """The domain's side against the anchors', the groups by shares of 1, or all alike."""
        anchors = average(self.groups, shares, like=self.domain)
        return Geometry(self.domain, anchors, self.device)

    def save(self, path: Path) -> None:
        """Write all moments to a safetensors file, each shared one once."""
        groups = {f"{GROUP}{group}": dict(moments) for group, moments in self.groups.items()}
        keep(path, {DOMAIN: self.domain, **groups})

    @classmethod
    def load(cls, path: Path, device: torch.device = CPU) -> Measured:
        """What ``save`` wrote, to compute on ``device``; the groups' moments stay in the file."""
        groups = [kind for kind in kinds(path) if kind != DOMAIN]
        kept = {kind.removeprefix(GROUP): Kept(path, kind) for kind in groups}
        return cls(Kept(path, DOMAIN).all(), kept, device)


def measure(base: LocalModel, train: Sequence[Chat], anchors: AnchorSet) -> Measured:
    """The base's inputs on the domain and on the anchors.

    Args:
        base: The model before anything changed in it.
        train: The domain's dialogues; of them, and of each anchor group, so many are taken by lot as make
            ``MOMENT_TOKENS`` tokens.
        anchors: Their train split is read.
    """
    rows = [base.renderer.encode(chat).input_ids for chat in train]
    return measure_rows(base.model, rows, anchors)


def measure_rows(model: PreTrainedModel, rows: Sequence[Sequence[int]], anchors: AnchorSet) -> Measured:
    """As ``measure``, of a domain that is token ids already."""
    return Measured(_moments(model, rows, "the domain"), group_moments(model, anchors), model.device)


def group_moments(model: PreTrainedModel, anchors: AnchorSet) -> dict[str, Moments]:
    """The inputs' second moments on the anchors' train split, by group."""
    return {
        group: _moments(model, _anchor_rows(anchors, group), f"{group} anchors") for group in anchors.groups
    }


def anchor_moments(model: PreTrainedModel, anchors: AnchorSet) -> Moments:
    """The same of all groups together, every group counting alike."""
    return average(group_moments(model, anchors))


def _moments(model: PreTrainedModel, rows: Sequence[Sequence[int]], what: str) -> Moments:
    shuffled = random.Random(0).sample(rows, len(rows))
    before = accumulate((len(row) for row in shuffled), initial=0)
    chosen = [row for row, tokens in zip(shuffled, before, strict=False) if tokens < MOMENT_TOKENS]
    return input_moments(model, linear_layers(model), chosen, f"Inputs on {what}")


def _anchor_rows(anchors: AnchorSet, group: str) -> list[list[int]]:
    chosen = [anchors.anchors[index] for index in anchors.indices(group, "train")]
    return [[*anchor.prompt_ids, *anchor.answer_ids] for anchor in chosen]
