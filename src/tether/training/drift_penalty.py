"""A penalty on the drift that an update makes on anchors, as it is to second order around the base.

The first term of KL(base || tuned) that counts is half the update's square under the Fisher information. Of a
LoRA whose A stays that is E[(M : B)^2] / 2, with M the gradient of an answer's log-likelihood by B, (rows,
rank). Layer by layer, and by what rows and columns of M are by themselves (Kronecker's factors, as K-FAC's
for weights that are shared over positions, arXiv:2311.00636, with a diagonal side; against forgetting
arXiv:1805.07810), it is

    sum over rows r   g_r b_r F b_r^T / 2      F = E[M^T M]      g_r = E[|m_r|^2] / tr F

Both are found once before training; a step costs one product more of each B, and reads no anchor.
"""

from __future__ import annotations

import time
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import torch
from torch.distributions import Categorical
from torch.nn.functional import cross_entropy
from transformers import TrainerCallback

from tether.anchors.drift import answer_batch
from tether.progress import task
from tether.training.batches import IGNORED
from tether.training.trainer import logits_at
from tether.training.update import lora_products

if TYPE_CHECKING:
    from tether.anchors.anchors import Anchor, AnchorSet

FISHER_TOKENS = 1_000  # of each group's answers


class DriftPenalty(TrainerCallback):
    """Adds the gradient of the penalty to each step's, after clipping.

    Args:
        strength: Nats per token that a nat of drift, the groups' mean, costs.
        anchors: Whose answers, of their train split, are to stay as likely.

    Attributes:
        seconds: What finding the Fisher information has taken.
    """

    def __init__(self, strength: float, anchors: AnchorSet) -> None:
        self._strength, self._anchors, self.seconds = strength, anchors, 0.0
        self._fishers: list[Fisher] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Find the Fisher information at the base, where A now lies."""
        started = time.perf_counter()
        self._fishers = fishers(kwargs["model"], self._anchors)
        self.seconds += time.perf_counter() - started

    @torch.no_grad()
    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Pull every B that has a gradient."""
        for fisher in self._fishers:
            if fisher.weight.grad is not None:
                fisher.weight.grad.add_(fisher.gradient(), alpha=self._strength)


class Fisher:
    """The Fisher information of one B.

    Attributes:
        weight: B, (rows, rank).
        rows: E[|m_r|^2], (rows,).
        form: F, (rank, rank).
    """

    def __init__(self, weight: torch.Tensor) -> None:
        self.weight = weight
        self.rows = weight.new_zeros(len(weight))
        self.form = weight.new_zeros(weight.shape[1], weight.shape[1])

    def add(self) -> None:
        """Count the weight's gradient as one M."""
        if self.weight.grad is not None:
            self.rows += self.weight.grad.square().sum(1)
            self.form.addmm_(self.weight.grad.T, self.weight.grad)

    def gradient(self) -> torch.Tensor:
        """Of the penalty at the weight as it is, (rows, rank)."""
        return (self.rows / self.rows.sum())[:, None] * (self.weight @ self.form)


def fishers(model: torch.nn.Module, anchors: AnchorSet) -> list[Fisher]:
    """Of every B of a LoRA that adds nothing yet, of nats per answer token, all groups counting alike.

    The answers were sampled from the model (or are its greedy ones), so their squared gradients estimate it.
    """
    found = [Fisher(second) for _, second, _ in lora_products(model).values()]
    chosen = {group: _chosen(anchors, group) for group in anchors.groups}
    with task("What drift costs", sum(map(len, chosen.values()))) as progress:
        for answers in chosen.values():
            counted = len(chosen) * sum(len(anchor.answer_ids) for anchor in answers)
            for anchor in answers:
                _back(model, anchor, counted**-0.5)  # squared, a mean over tokens and groups
                for fisher in found:
                    fisher.add()
                progress.advance()
    model.zero_grad()
    return found


def _chosen(anchors: AnchorSet, group: str) -> list[Anchor]:
    every = [anchors.anchors[index] for index in anchors.indices(group, "train")]
    before = accumulate((len(anchor.answer_ids) for anchor in every), initial=0)
    return [anchor for anchor, tokens in zip(every, before, strict=False) if tokens < FISHER_TOKENS]


def _back(model: torch.nn.Module, anchor: Anchor, scale: float) -> None:
    """Run an answer forward, and its log-likelihood, scaled, back."""
    model.zero_grad()
    device = next(model.parameters()).device
    ids, answer = (part.to(device) for part in answer_batch([anchor]))
    with torch.autocast(device.type, torch.bfloat16):
        logits, _ = logits_at(model, ids, ids.masked_fill(~answer, IGNORED))
        said = Categorical(logits=logits.detach().float()).sample()
        loss = cross_entropy(logits.float(), said, reduction="sum")
    (scale * loss).backward()
