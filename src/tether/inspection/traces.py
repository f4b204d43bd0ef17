"""Anchors' answers read by both models: what each block puts out, and how likely each token is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from tether.anchors.drift import answer_batch, divergence
from tether.logits import finish_of
from tether.passes import pass_sizes
from tether.progress import task
from tether.reading import backbone, batches_by_length
from tether.stats import Interval, cluster_bootstrap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedModel

    from tether.anchors.anchors import Anchor
    from tether.inspection.pair import Pair

PASS_TOKENS = 1024  # both models' logits of so many tokens are held at once
POSITIONS = 32
FEWEST = 10  # answers that must reach a position for its mean to be told


@dataclass(frozen=True)
class Trace:
    """One anchor's answer, token by token.

    Attributes:
        drift: (answer tokens,) KL(base || tuned) in nats, over the whole vocabulary.
        change: (answer tokens, blocks) |h' - h|^2 / |h|^2 of each block's output h, where the token is
            predicted; of the last block, after the model's final norm.
    """

    drift: torch.Tensor
    change: torch.Tensor


@dataclass(frozen=True)
class Position:
    """Drift at one place of the answers.

    Attributes:
        position: From 1, the first token of an answer.
        drift: Mean over the answers that reach it, nats.
        ci95: Its interval, bootstrap over prompts.
        prompts: How many answers reach it.
    """

    position: int
    drift: float
    ci95: Interval | None
    prompts: int


@torch.inference_mode()
def traces(pair: Pair, anchors: Sequence[Anchor], label: str) -> list[Trace]:
    """Read the base's own answers with both models.

    Args:
        pair: The models.
        anchors: What to read.
        label: Of the progress bar.

    Returns:
        One trace an anchor, in their order.
    """
    found: dict[int, Trace] = {}
    lengths = [len(anchor.prompt_ids) + len(anchor.answer_ids) for anchor in anchors]
    sizes = replace(pass_sizes(pair.tuned.device), tokens=PASS_TOKENS)
    with task(label, len(anchors)) as progress:
        for batch in batches_by_length(lengths, sizes):
            ids, answer = answer_batch([anchors[index] for index in batch])
            found.update(zip(batch, _batch(pair, ids, answer), strict=True))
            progress.advance(len(batch))
    return [found[index] for index in range(len(anchors))]


def _batch(pair: Pair, ids: torch.Tensor, answer: torch.Tensor) -> list[Trace]:
    with pair.base() as model:
        before, base_logits = _read(model, ids, answer)
    after, logits = _read(pair.tuned, ids, answer)
    change = (after - before).square().sum(2) / before.square().sum(2)
    counts = answer.sum(1).tolist()
    drifts = divergence(base_logits, logits).cpu().split(counts)
    return [Trace(*parts) for parts in zip(drifts, change.T.cpu().split(counts), strict=True)]


def _read(
    model: PreTrainedModel, ids: torch.Tensor, answer: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Where answer tokens are predicted: blocks' outputs (blocks, tokens, width), logits (tokens, words)."""
    out = backbone(model)(input_ids=ids.to(model.device), use_cache=False, output_hidden_states=True)
    wanted = answer[:, 1:].to(model.device)
    states = torch.stack([block[:, :-1][wanted].float() for block in out.hidden_states[1:]])
    logits = model.get_output_embeddings()(out.last_hidden_state[:, :-1][wanted])
    return states, finish_of(model)(logits)


def block_changes(group: Sequence[Trace]) -> list[float]:
    """Per block, the root of the mean relative squared change of its output over all answer tokens."""
    return [float(value) for value in torch.cat([trace.change for trace in group]).mean(0).sqrt()]


def by_position(group: Sequence[Trace]) -> list[Position]:
    """Drift at each of the first answer tokens, as far as enough answers reach."""
    found = []
    for place in range(POSITIONS):
        values = [float(trace.drift[place]) for trace in group if len(trace.drift) > place]
        if len(values) < min(FEWEST, len(group)):
            break
        drawn = cluster_bootstrap(values, range(len(values)))
        found.append(Position(place + 1, drawn.mean, drawn.ci, len(values)))
    return found
