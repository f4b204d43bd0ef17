"""How likely a model finds several continuations of each context, from one pass over the context.

Multiple choice and forced choices ask for many short continuations of one context. Scored as plain pairs, the
context would be read again for each of them; here it is read once, its keys and values are handed to each
continuation, and only the continuations go through the model and its head.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import cross_entropy

from tether.attention import reads
from tether.passes import pass_sizes
from tether.progress import task
from tether.reading import Opening, Reading, batches_by_length

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tether.inference import LocalModel


@reads
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
        contexts: Token ids of each prompt, none of them empty.
        continuations: Token ids of each prompt's continuations.
        label: What the progress bar says.

    Returns:
        By prompt, by continuation, by token: nats, at most 0.
    """
    results: list[list[list[float]]] = [[] for _ in contexts]
    opening = Opening(model.model, contexts)
    own = [ids[opening.length :] for ids in contexts]
    with task(label, len(contexts)) as progress:
        for batch in batches_by_length([len(ids) for ids in own], pass_sizes(model.device)):
            pairs = [(place, ids) for place, index in enumerate(batch) for ids in continuations[index]]
            scored = _scored(model, opening, [own[index] for index in batch], pairs)
            for (place, _), nats in zip(pairs, scored, strict=True):
                results[batch[place]].append(nats)
            progress.advance(len(batch))
    return results


def _scored(
    model: LocalModel,
    opening: Opening,
    contexts: Sequence[Sequence[int]],
    pairs: Sequence[tuple[int, Sequence[int]]],
) -> list[list[float]]:
    """Token log-probabilities of each (index of a context, continuation); contexts without the opening."""
    ids, there = model.padded(contexts, left=True)
    reading = opening.readings(len(contexts))
    # The context's last position predicts a continuation's first token.
    out = reading.read(model.model, ids, there, logits_to_keep=1)
    first = out.logits[:, -1].float().log_softmax(-1)
    results = [[float(first[place, ids[0]])] if ids else [] for place, ids in pairs]
    longer = [index for index, (_, ids) in enumerate(pairs) if len(ids) > 1]
    fed = [len(pairs[index][1]) - 1 for index in longer]
    sizes = pass_sizes(model.device)
    room = sizes.cache_bytes // model.bytes_per_position // (reading.seen.shape[1] + max(fed, default=0))
    for batch in batches_by_length(fed, replace(sizes, tokens=sizes.logit_tokens), room):
        rows = [longer[place] for place in batch]
        for row, nats in zip(rows, _further(model, reading, [pairs[row] for row in rows]), strict=True):
            results[row] += nats
    return results


def _further(
    model: LocalModel, contexts: Reading, pairs: Sequence[tuple[int, Sequence[int]]]
) -> list[list[float]]:
    """Log-probabilities of all but the first token of each (row of the contexts, continuation)."""
    ids, there = model.padded([ids for _, ids in pairs])
    reading = contexts.fork(torch.tensor([row for row, _ in pairs], device=model.device))
    # Nobody asks what a continuation's last token predicts.
    logits = reading.read(model.model, ids[:, :-1], there[:, 1:]).logits
    nats = -token_nats(logits.flatten(0, 1), ids[:, 1:].flatten()).view(len(pairs), -1)
    return [row[: len(told) - 1] for row, (_, told) in zip(nats.tolist(), pairs, strict=True)]


def token_nats(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Negative log-likelihood of (tokens,) targets by (tokens, vocabulary) logits, (tokens,) float32."""
    together = pass_sizes(logits.device).softmax_tokens
    parts = zip(logits.split(together), targets.split(together), strict=True)
    return torch.cat([cross_entropy(part.float(), ids, reduction="none") for part, ids in parts])
