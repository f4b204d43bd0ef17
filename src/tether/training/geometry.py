"""The update's best compromise between the domain's input directions and the anchors'.

Given an update dW, take the dW' that stays nearest to it on the domain's inputs while it disturbs the
anchors' least:

    min over dW'   tr((dW' - dW) D (dW' - dW)^T) + pull * tr(dW' C dW'^T)
    solved by      dW' = dW D (D + pull C)^-1

with D and C the second moments of the layer's inputs on the domain and on anchors (anchors/moments.py). It is
Wiener's filter: in a direction where anchors have r times the domain's energy, 1 / (1 + pull r) of the update
is left. Plain scaling shrinks all directions alike. Of a LoRA update B A only A changes: A' = A D (D + pull
C)^-1, so its rank and its file stay what they were.

D and C do not commute, so the filter can enlarge an update: where an anchor's input is nearly one of the
domain's, it answers the little in which they differ the more strongly. What such a large answer does to a
third text nobody has measured, so the compromise is taken among updates no larger than dW. By Lagrange it is
dW D (D + pull C + mu I)^-1, with the least mu >= 0 that makes it small enough.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

import torch

from tether.anchors.moments import average, input_moments
from tether.training.kept import Kept, keep
from tether.training.update import linear_layers

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from transformers import PreTrainedModel

    from tether.anchors.anchors import AnchorSet
    from tether.anchors.moments import Moments
    from tether.chatdata.chats import Chat
    from tether.inference import LocalModel

RIDGE = 1e-5  # of the mean energy, on both moments: what neither text shows is shrunk as what both share
MOMENT_TOKENS = 8_000  # of the domain, and of each anchor group
LARGEST = 1.001  # times dW is small enough: where Newton's steps end
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Geometry:
    """Where the domain's inputs lie, and the anchors', as the base sees them.

    Attributes:
        domain: Second moments by layer.
        anchors: Second moments of the same layers; layers that share an input share its moment in both.
        device: Where it computes, layer by layer; the moments need not find room there.
    """

    domain: Moments
    anchors: Moments
    device: torch.device = CPU

    def held(self, name: str, update: torch.Tensor, pull: float) -> torch.Tensor:
        """The update of one layer under a pull towards the base.

        Args:
            name: The layer's.
            update: (rows, width of the layer's input): dW, or the A of a LoRA.
            pull: From 0, which leaves the update as it is.

        Returns:
            As ``update``, and no larger (Frobenius) but for ``LARGEST``; of a layer without moments
            (embeddings, norms), the update over ``1 + pull``, as in a direction that domain and anchors use
            alike.
        """
        if pull == 0:
            return update
        if name not in self.domain:
            return update / (1 + pull)
        return self._filtered(name, update, pull, float(update.norm())).to(update)

    def filter(self, name: str, pull: float) -> torch.Tensor:
        """P of a layer, (width, width) or its diagonal (width,), float32: ``held`` at mu = 0."""
        moment = self.domain[name]
        unit = torch.ones(1, len(moment)) if moment.ndim == 1 else torch.eye(len(moment))
        return self._filtered(name, unit, pull, math.inf).float().squeeze(0)

    def _filtered(self, name: str, update: torch.Tensor, pull: float, most: float) -> torch.Tensor:
        """The best compromise whose size is ``most`` at most, in float64.

        Newton's steps on 1 / size as a function of mu, which is nearly a line, come from below and end after
        a few (Moré and Sorensen 1983, the step of trust-region methods).
        """
        domain, anchors = (_ridged(moments[name].to(self.device)) for moments in (self.domain, self.anchors))
        if domain.ndim == 1:  # a diagonal only ever shrinks
            return update.to(domain) * (domain / (domain + pull * anchors))
        whole, wanted = domain + pull * anchors, domain @ update.to(domain).T
        while True:
            factor = torch.linalg.cholesky(whole)
            shaped = torch.cholesky_solve(wanted, factor)
            size = float(shaped.norm())
            if size <= LARGEST * most:
                return shaped.T
            slope = float(torch.linalg.solve_triangular(factor, shaped, upper=False).norm()) ** 2
            whole.diagonal().add_(size**2 / slope * (size / most - 1))

    def save(self, path: Path) -> None:
        """Write both moments to a safetensors file, each shared one once."""
        keep(path, {"domain": self.domain, "anchors": self.anchors})

    @classmethod
    def load(cls, path: Path, device: torch.device = CPU) -> Geometry:
        """What ``save`` wrote, to compute on ``device``."""
        return cls(Kept(path, "domain").all(), Kept(path, "anchors").all(), device)


def measure_geometry(base: LocalModel, train: Sequence[Chat], anchors: AnchorSet) -> Geometry:
    """The base's inputs on the domain and on the anchors, every anchor group counting alike.

    Args:
        base: The model before anything changed in it.
        train: The domain's dialogues; of them, and of each anchor group, so many are taken by lot as make
            ``MOMENT_TOKENS`` tokens.
        anchors: Their train split is read.
    """
    rows = [base.renderer.encode(chat).input_ids for chat in train]
    return geometry_of_rows(base.model, rows, anchors)


def geometry_of_rows(model: PreTrainedModel, rows: Sequence[Sequence[int]], anchors: AnchorSet) -> Geometry:
    """As ``measure_geometry``, of a domain that is token ids already."""
    domain = _moments(model, rows, "the domain")
    return Geometry(domain, anchor_moments(model, anchors), model.device)


def anchor_moments(model: PreTrainedModel, anchors: AnchorSet) -> Moments:
    """The inputs' second moments on the anchors' train split, every group counting alike."""
    groups = [_moments(model, _anchor_rows(anchors, group), f"{group} anchors") for group in anchors.groups]
    return average(groups)


def _moments(model: PreTrainedModel, rows: Sequence[Sequence[int]], what: str) -> Moments:
    shuffled = random.Random(0).sample(rows, len(rows))
    before = accumulate((len(row) for row in shuffled), initial=0)
    chosen = [row for row, tokens in zip(shuffled, before, strict=False) if tokens < MOMENT_TOKENS]
    return input_moments(model, linear_layers(model), chosen, f"Inputs on {what}")


def _anchor_rows(anchors: AnchorSet, group: str) -> list[list[int]]:
    chosen = [anchors.anchors[index] for index in anchors.indices(group, "train")]
    return [[*anchor.prompt_ids, *anchor.answer_ids] for anchor in chosen]


def _ridged(moment: torch.Tensor) -> torch.Tensor:
    """The moment in float64 with a little energy in every direction."""
    moment = moment.double()
    if moment.ndim == 1:
        return moment + RIDGE * moment.mean()
    ridge = RIDGE * moment.diagonal().mean()
    return moment + ridge * torch.eye(len(moment), dtype=moment.dtype, device=moment.device)
