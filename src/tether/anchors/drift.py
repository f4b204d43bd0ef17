"""Drift: KL(base || tuned) in nats per answer token on anchors, over the whole vocabulary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import log_softmax

from tether.attention import grouped
from tether.errors import Diverged
from tether.passes import pass_sizes
from tether.progress import task
from tether.reading import Opening, batches_by_length, pad
from tether.stats import cluster_bootstrap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedModel

    from tether.anchors.anchors import Anchor

FIRST_TOKENS = 5


@dataclass(frozen=True)
class GroupDrift:
    """Drift on one group, as `drift.json` tells it.

    Attributes:
        drift: Mean over answer tokens, nats.
        upper95: Upper end of its 95% interval, bootstrap over prompts.
        prompt_p95: 95th percentile over prompts of the prompt's mean.
        first5: Mean over the first five tokens of each answer.
        tokens: Answer tokens measured.
        prompts: Prompts measured.
    """

    drift: float
    upper95: float
    prompt_p95: float
    first5: float
    tokens: int
    prompts: int


def answer_batch(anchors: Sequence[Anchor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids (rows, longest), where nothing behind an answer is read, and booleans that mark answer tokens."""
    ids, _ = pad([[*anchor.prompt_ids, *anchor.answer_ids] for anchor in anchors], 0)
    answer = torch.zeros_like(ids, dtype=torch.bool)
    for row, anchor in enumerate(anchors):
        start = len(anchor.prompt_ids)
        answer[row, start : start + len(anchor.answer_ids)] = True
    return ids, answer


@torch.inference_mode()
def answer_states(model: PreTrainedModel, anchors: Sequence[Anchor], label: str) -> list[torch.Tensor]:
    """The last hidden states (answer tokens, width) at the positions that predict each anchor's answer."""
    states: list[torch.Tensor] = [torch.empty(0)] * len(anchors)
    with grouped(model), task(label, len(anchors)) as progress:
        opening = Opening(model, [anchor.prompt_ids for anchor in anchors])
        rows = [[*anchor.prompt_ids, *anchor.answer_ids][opening.length :] for anchor in anchors]
        for batch in batches_by_length([len(row) for row in rows], pass_sizes(model.device)):
            hidden = opening.states(*pad([rows[index] for index in batch], 0))
            for row, index in enumerate(batch):
                end = len(rows[index]) - 1  # what an answer's last token predicts is no part of it
                states[index] = hidden[row, end - len(anchors[index].answer_ids) : end]
            progress.advance(len(batch))
    return states


def divergence(base_logits: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """KL(base || tuned) per token over the whole vocabulary, (tokens,) float32, from (tokens, vocabulary)."""
    base, tuned = log_softmax(base_logits.float(), dim=-1), log_softmax(logits.float(), dim=-1)
    return (base.exp() * (base - tuned)).sum(1)


def summarise(drifts: Sequence[torch.Tensor], seed: int = 0) -> GroupDrift:
    """One group's figures from the per-token drifts of its prompts; the interval resamples prompts.

    Raises:
        Diverged: A drift is no number.
    """
    tokens = torch.cat(list(drifts))
    if not tokens.isfinite().all():
        raise Diverged("training diverged: no answer's likelihood is a number", fix="lower the learning rate")
    of = [prompt for prompt, drift in enumerate(drifts) for _ in range(len(drift))]
    drawn = cluster_bootstrap(tokens.numpy(), of, seed=seed)
    first = torch.cat([drift[:FIRST_TOKENS] for drift in drifts])
    return GroupDrift(
        drift=drawn.mean,
        upper95=drawn.mean if drawn.ci is None else drawn.ci[1],
        prompt_p95=float(np.quantile([float(drift.mean()) for drift in drifts], 0.95)),
        first5=float(first.mean()),
        tokens=len(of),
        prompts=len(drifts),
    )
