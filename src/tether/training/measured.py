"""What a base was seen to read before training: the domain, and each group of anchors by itself.

Training keeps away from all groups alike. The rewind pulls hardest at what moved a group too far, so the
groups' moments are kept apart (training/rewind.py). Together they are several times as large as the model:
they lie on disk, measured and written one after the other.
"""

from __future__ import annotations

import random
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from tether.anchors.drift import FIRST_TOKENS
from tether.anchors.layered import Mean
from tether.anchors.moments import input_moments
from tether.training.geometry import CPU, Geometry
from tether.training.kept import Kept, keep
from tether.training.update import linear_layers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import torch
    from transformers import PreTrainedModel

    from tether.anchors.anchors import Anchor, AnchorSet
    from tether.anchors.moments import Moments

MOMENT_TOKENS = 8_000  # of the domain, and of each anchor group
DOMAIN, GROUPS = "domain.safetensors", "anchors"  # a file, and a folder of one for each group


class Measured:
    """Second moments of every layer's inputs (anchors/moments.py), in a folder.

    Args:
        folder: Where ``of`` wrote them.
        device: Where the geometry computes.

    Attributes:
        domain: On the domain.
        groups: On each group of anchors.
    """

    def __init__(self, folder: Path, device: torch.device = CPU) -> None:
        self.device = device
        self.domain = Kept(folder / DOMAIN)
        files = sorted((folder / GROUPS).glob("*.safetensors"))
        self.groups = {unquote(file.stem): Kept(file) for file in files}

    @classmethod
    def of(
        cls,
        folder: Path,
        domain: Callable[[], Moments],
        groups: Mapping[str, Callable[[], Moments]],
        device: torch.device = CPU,
    ) -> Measured:
        """Measure what does not lie in the folder yet, one set after the other.

        Args:
            folder: Where the moments are to lie.
            domain: Measures the domain's.
            groups: Measures each group's.
            device: Where the geometry computes.
        """
        named = {f"{quote(group, safe='')}.safetensors": measure for group, measure in groups.items()}
        files = {folder / DOMAIN: domain, **{folder / GROUPS / name: named[name] for name in named}}
        for file, moments in files.items():
            if not file.exists():
                keep(file, moments())
        return cls(folder, device)

    def geometry(self, shares: Mapping[str, float] | None = None) -> Geometry:
        """The domain's side against the anchors', the groups by shares of 1, or all alike."""
        if shares is None:
            return Geometry(self.domain, Mean(list(self.groups.values())), self.device)
        counted = {group: share for group, share in shares.items() if share > 0}  # no other is read
        sets = [self.groups[group] for group in counted]
        return Geometry(self.domain, Mean(sets, list(counted.values())), self.device)


def measure(
    model: PreTrainedModel,
    rows: Sequence[Sequence[int]],
    anchors: AnchorSet,
    folder: Path,
    beginnings: float = 0.0,
) -> Measured:
    """The base's inputs on the domain and on the anchors.

    Args:
        model: The model before anything changed in it.
        rows: Token ids of the domain's texts; of them, and of each anchor group's, so many are taken by lot
            as make ``MOMENT_TOKENS`` tokens.
        anchors: Their train split is read.
        folder: Where the moments are to lie; those that lie there already are not measured again.
        beginnings: As ``group_moments``.
    """
    groups = {group: partial(group_moments, model, anchors, group, beginnings) for group in anchors.groups}
    return Measured.of(folder, partial(_moments, model, rows, "the domain"), groups, model.device)


def anchor_moments(model: PreTrainedModel, anchors: AnchorSet) -> Mean:
    """The inputs' second moments on the anchors' train split, every group counting alike."""
    return Mean([group_moments(model, anchors, group) for group in anchors.groups])


def group_moments(model: PreTrainedModel, anchors: AnchorSet, group: str, beginnings: float = 0.0) -> Moments:
    """The same of one group.

    Args:
        model: The model.
        anchors: The anchors.
        group: One of theirs.
        beginnings: Share, below 1, of where answers begin alone; the rest is of all tokens alike.
    """
    chosen = [anchors.anchors[index] for index in anchors.indices(group, "train")]
    rows = [[*anchor.prompt_ids, *anchor.answer_ids] for anchor in chosen]
    return _moments(model, rows, f"{group} anchors", _weights(chosen, beginnings))


def _weights(anchors: Sequence[Anchor], beginnings: float) -> list[list[float]]:
    """How much each token counts: what the domain opens with too nothing, where answers begin the most."""
    weights = [
        [0.0] * anchor.opening + [1.0] * (len(anchor.prompt_ids) + len(anchor.answer_ids) - anchor.opening)
        for anchor in anchors
    ]
    begun = [min(len(anchor.answer_ids), FIRST_TOKENS) for anchor in anchors]
    more = beginnings / (1 - beginnings) * sum(map(sum, weights)) / sum(begun)
    for row, anchor, tokens in zip(weights, anchors, begun, strict=True):
        told = len(anchor.prompt_ids) - 1  # which predicts the answer's first token
        row[told : told + tokens] = [weight + more for weight in row[told : told + tokens]]
    return weights


def _moments(
    model: PreTrainedModel, rows: Sequence[Sequence[int]], what: str, weights: Sequence[Sequence[float]] = ()
) -> Moments:
    """Of rows by lot."""
    texts = list(zip(rows, weights or [[1.0] * len(row) for row in rows], strict=True))
    shuffled = random.Random(0).sample(texts, len(texts))
    before = accumulate((sum(weight > 0 for weight in row) for _, row in shuffled), initial=0)
    drawn = [text for text, tokens in zip(shuffled, before, strict=False) if tokens < MOMENT_TOKENS]
    chosen, counted = zip(*drawn, strict=True)
    return input_moments(model, linear_layers(model), chosen, f"Inputs on {what}", counted)
