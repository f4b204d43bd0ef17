"""The update's best compromise between the domain's input directions and the anchors'.

Given an update dW, take the dW' that stays nearest to it on the domain's inputs while it disturbs the
anchors' least:

    min over dW'   tr((dW' - dW) D (dW' - dW)^T) + pull * tr(dW' C dW'^T)
    solved by      dW' = dW D (D + pull C)^-1

with D and C the second moments of the layer's inputs on the domain and on anchors (anchors/moments.py). It is
Wiener's filter: in a direction where anchors have r times the domain's energy, 1 / (1 + pull r) of the update
is left. Plain scaling shrinks all directions alike. Of a LoRA update B A only A changes: A' = A D (D + pull
C)^-1, so its rank and its file stay what they were.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from tether.anchors.moments import Moments

RIDGE = 1e-5  # of the mean energy, on both moments: what neither text shows is shrunk as what both share


@dataclass(frozen=True)
class Geometry:
    """Where the domain's inputs lie, and the anchors'.

    Attributes:
        domain: Second moments by layer.
        anchors: Second moments of the same layers.
    """

    domain: Moments
    anchors: Moments

    def held(self, name: str, update: torch.Tensor, pull: float) -> torch.Tensor:
        """The update of one layer under a pull towards the base.

        Args:
            name: The layer's.
            update: (rows, width of the layer's input): dW, or the A of a LoRA.
            pull: From 0, which leaves the update as it is.

        Returns:
            As ``update``; of a layer without moments (embeddings, norms), the update over ``1 + pull``, as
            in a direction that domain and anchors use alike.
        """
        if pull == 0:
            return update
        if name not in self.domain:
            return update / (1 + pull)
        domain, anchors = _ridged(self.domain[name]), _ridged(self.anchors[name])
        if domain.ndim == 1:
            return (update.double() * (domain / (domain + pull * anchors))).to(update.dtype)
        factor = torch.linalg.cholesky(domain + pull * anchors)
        shaped = torch.cholesky_solve(domain @ update.double().T, factor).T
        return shaped.to(update.dtype)


def _ridged(moment: torch.Tensor) -> torch.Tensor:
    """The moment in float64 with a little energy in every direction."""
    moment = moment.double()
    if moment.ndim == 1:
        return moment + RIDGE * moment.mean()
    ridge = RIDGE * moment.diagonal().mean()
    return moment + ridge * torch.eye(len(moment), dtype=moment.dtype, device=moment.device)
