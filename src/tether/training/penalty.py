"""Penalties on how far weights are from where they began: strength / 2 * sum_i F_i (theta_i - theta0_i)^2.

With F = 1 this is L2-SP (arXiv:1802.01483), with the Fisher information's diagonal EWC (arXiv:1612.00796, eq.
3). The Fisher is scaled to a mean of 1, so that a strength means the same in both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import cross_entropy
from transformers import TrainerCallback

from tether.anchors.drift import answer_batch
from tether.progress import task
from tether.training.batches import IGNORED
from tether.training.trainer import logits_at

if TYPE_CHECKING:
    from collections.abc import Mapping

    from transformers import PreTrainedModel

    from tether.anchors.anchors import AnchorSet

FISHER_ANCHORS = 64  # of each group


class Penalty(TrainerCallback):
    """Adds the penalty's gradient to each step's, after clipping.

    Args:
        model: The model before it is trained; its weights are copied.
        strength: Of the penalty.
        importance: F by weight; None is 1 everywhere.
    """

    def __init__(
        self, model: torch.nn.Module, strength: float, importance: Mapping[str, torch.Tensor] | None = None
    ) -> None:
        self._strength, self._importance = strength, importance
        self._start = {name: weight.detach().clone() for name, weight in model.named_parameters()}

    @torch.no_grad()
    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Pull every weight that has a gradient."""
        for name, weight in kwargs["model"].named_parameters():
            if weight.grad is None:
                continue
            pull = weight - self._start[name].to(weight.device)
            if self._importance is not None:
                pull.mul_(self._importance[name].to(weight.device))
            weight.grad.add_(pull, alpha=self._strength)


def fisher(model: PreTrainedModel, anchors: AnchorSet) -> dict[str, torch.Tensor]:
    """The Fisher information's diagonal on the model's own answers: by weight, float32, with a mean of 1.

    The answers were sampled from the model (or are its greedy ones), so their squared gradients estimate it.
    """
    chosen = [index for group in anchors.groups for index in anchors.indices(group, "train")[:FISHER_ANCHORS]]
    totals = {name: torch.zeros_like(weight) for name, weight in model.named_parameters()}
    with task("Fisher information", len(chosen)) as progress:
        for index in chosen:
            ids, answer = (part.to(model.device) for part in answer_batch([anchors.anchors[index]]))
            logits, targets = logits_at(model, ids, ids.masked_fill(~answer, IGNORED))
            model.zero_grad()
            cross_entropy(logits.float(), targets, reduction="sum").backward()
            for name, weight in model.named_parameters():
                if weight.grad is not None:
                    totals[name] += weight.grad**2
            progress.advance()
    model.zero_grad()
    mean = sum(float(total.sum()) for total in totals.values()) / sum(t.numel() for t in totals.values())
    return {name: total / mean for name, total in totals.items()}
