"""How likely a model finds several continuations of each prompt, from one pass over the prompt.

Forced choices ask for many short continuations of one context. Scored as plain pairs, the context would be
read again for each of them; here it is read once, its keys and values are handed to each continuation, and
only the continuations go through the model and its head.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from tether.inference import TURN_BYTES, backbone, pad, roomy_cache
from tether.progress import task

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tether.inference import LocalModel

SCORED_TOKENS = 1024  # tokens of continuations that go through the head at once; a vocabulary of logits each


@torch.inference_mode()
def token_log_probabilities(
    model: LocalModel,
    contexts: Sequence[Sequence[int]],
    continuations: Sequence[Sequence[Sequence[int]]],
    *,
    label: str,
) -> list[list[list[float]]]:
    """Log-probability of every token of every continuation.

    Args:
        model: The model.
        contexts: Token ids of each prompt, at least one.
        continuations: Token ids of each prompt's continuations, none of them empty.
        label: What the progress bar says.

    Returns:
        By prompt, by continuation, by token: nats, at most 0.
    """
    results: list[list[list[float]]] = [[] for _ in contexts]
    with task(label, len(contexts)) as progress:
        for batch in _batches(contexts, continuations, TURN_BYTES // model.bytes_per_position):
            pairs = [(place, ids) for place, index in enumerate(batch) for ids in continuations[index]]
            scored = _scored(model, [contexts[index] for index in batch], pairs)
            for (place, _), nats in zip(pairs, scored, strict=True):
                results[batch[place]].append(nats)
            progress.advance(len(batch))
    return results


def _batches(
    contexts: Sequence[Sequence[int]], continuations: Sequence[Sequence[Sequence[int]]], room: int
) -> Iterator[list[int]]:
    """Prompts of like length together, as long as their continuations find room.

    Args:
        contexts: Token ids of each prompt.
        continuations: Token ids of each prompt's continuations.
        room: Cached positions of all continuations together, each with a copy of its context.
    """
    batch: list[int] = []
    cached = scored = 0
    for index in sorted(range(len(contexts)), key=lambda index: len(contexts[index])):
        tokens = sum(len(ids) for ids in continuations[index])
        positions = len(contexts[index]) * len(continuations[index]) + tokens
        if batch and (cached + positions > room or scored + tokens > SCORED_TOKENS):
            yield batch
            batch, cached, scored = [], 0, 0
        batch.append(index)
        cached, scored = cached + positions, scored + tokens
    if batch:
        yield batch


def _scored(
    model: LocalModel, contexts: Sequence[Sequence[int]], pairs: Sequence[tuple[int, Sequence[int]]]
) -> list[list[float]]:
    """Token log-probabilities of each (index of a context, continuation)."""
    before, seen = pad(contexts, model.tokenizer.pad_token_id, left=True)
    after, there = pad([ids for _, ids in pairs], model.tokenizer.pad_token_id)
    before, seen, after, there = (tensor.to(model.device) for tensor in (before, seen, after, there))
    rows = torch.tensor([place for place, _ in pairs], device=model.device)
    body, cache = backbone(model.model), roomy_cache(model.model.config)
    positions = (seen.cumsum(1) - 1).clamp(min=0)
    read = body(before, attention_mask=seen, position_ids=positions, past_key_values=cache).last_hidden_state
    cache.batch_select_indices(rows)
    # The context's last position predicts a continuation's first token; nobody asks what its last predicts.
    states, fed = read[rows, -1:], there[:, :-1]
    if fed.shape[1]:
        hidden = body(
            after[:, :-1],
            attention_mask=torch.cat([seen[rows], fed], 1),
            position_ids=positions[rows, -1:] + fed.cumsum(1),
            past_key_values=cache,
        ).last_hidden_state
        states = torch.cat([states, hidden], 1)
    states = states[there.bool()]
    logits = model.model.get_output_embeddings()(states).float()
    nats = -torch.nn.functional.cross_entropy(logits, after[there.bool()], reduction="none")
    return [part.tolist() for part in nats.split([len(ids) for _, ids in pairs])]
