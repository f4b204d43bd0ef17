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
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from tether.anchors.sketch import is_sketch, opened

if TYPE_CHECKING:
    from tether.anchors.layered import Layers
    from tether.anchors.sketch import Moment

RIDGE = 1e-5  # of the mean energy, on both moments: what neither text shows is shrunk as what both share
LARGEST = 1.001  # times dW is small enough: where Newton's steps end
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Geometry:
    """Where the domain's inputs lie, and the anchors', as the base sees them.

    Attributes:
        domain: Second moments by layer, as kept (anchors/sketch.py).
        anchors: Second moments of the same layers; layers that share an input share its moment in both.
        device: Where it computes, layer by layer; the moments need not find room there.
    """

    domain: Layers
    anchors: Layers
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

    def shaped(self, name: str, rows: torch.Tensor, pull: float) -> torch.Tensor:
        """Rows over a layer's input, (rows, width), times P: ``held``, however large they become."""
        return self._filtered(name, rows, pull, math.inf).to(rows)

    def filter(self, name: str, pull: float) -> torch.Tensor:
        """P of a layer, (width, width) float32; of a wide one, by the diagonals alone, (width,)."""
        moment = self.domain[name]
        if is_sketch(moment):  # P would be as large as the moment that was not kept
            domain, anchors = (one.diagonal for one in self._moments(name))
            return (domain / (domain + pull * anchors)).float()
        return self.shaped(name, torch.eye(len(moment)), pull)

    def _moments(self, name: str) -> tuple[Moment, Moment]:
        """The domain's and the anchors' of a layer, with a little energy in every direction."""
        domain, anchors = (opened(moments[name].to(self.device)) for moments in (self.domain, self.anchors))
        return _ridged(domain), _ridged(anchors)

    def _filtered(self, name: str, update: torch.Tensor, pull: float, most: float) -> torch.Tensor:
        """The best compromise whose size is ``most`` at most, in float64.

        Newton's steps on 1 / size as a function of mu, which is nearly a line, come from below and end after
        a few (Moré and Sorensen 1983, the step of trust-region methods).
        """
        domain, anchors = self._moments(name)
        whole, wanted = domain.plus(anchors, pull), domain.times(update.to(self.device, torch.float64)).T
        while True:
            solve = whole.solver()
            shaped = solve(wanted)
            size = float(shaped.norm())
            if size <= LARGEST * most:
                return shaped.T
            slope = float((shaped * solve(shaped)).sum())
            whole = whole.lifted(size**2 / slope * (size / most - 1))


def needed_pull(times: float) -> float:
    """The pull that brings a group's drift down from so many times what it may be, were its inputs its own.

    A pull of p leaves (1 + p)^-2 of the drift; not too much needs none. (By rounding it may be below 0.)
    """
    return math.sqrt(max(1.0, times)) - 1


def _ridged(moment: Moment) -> Moment:
    return moment.lifted(RIDGE * float(moment.diagonal.mean()))
