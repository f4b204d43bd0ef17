"""Going on with answers token by token; rows that have ended leave at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from tether.passes import pass_sizes
from tether.reading import Reading, batches_by_length

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tether.inference import LocalModel
    from tether.reading import Opening


class Sampler:
    """Greedy at temperature 0, else seeded sampling."""

    def __init__(self, temperature: float, seed: int, device: torch.device) -> None:
        self.temperature = temperature
        self.generator = torch.Generator(device=device).manual_seed(seed)

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        """A token for each of (rows, vocabulary) logits."""
        if self.temperature == 0:
            return logits.max(-1).indices  # argmax takes four times as long in bfloat16
        weights = (logits.float() / self.temperature).softmax(-1)
        return torch.multinomial(weights, 1, generator=self.generator).squeeze(1)


def read_prompts(
    live: LocalModel, opening: Opening, prompts: Sequence[Sequence[int]]
) -> tuple[Reading, torch.Tensor]:
    """Read prompts that begin with the opening, in passes with little padding.

    Args:
        live: The model.
        opening: What was read already.
        prompts: Token ids of whole prompts, the longest first.

    Returns:
        The reading and the logits (rows, vocabulary) of each row's next token.
    """
    own = [ids[opening.length :] for ids in prompts]
    lengths, sizes = [len(ids) for ids in own], pass_sizes(live.device)
    passes = batches_by_length(lengths, sizes) if opening.roomy else [range(len(own))]
    readings, logits = [], []
    for batch in passes:
        reading = opening.readings(len(batch))
        ids, there = live.padded([own[index] for index in batch], left=True)
        logits.append(reading.read(live.model, ids, there, logits_to_keep=1).logits[:, -1])
        readings.append(reading)
    return Reading.join(readings), torch.cat(logits)


def decode(
    live: LocalModel,
    reading: Reading,
    logits: torch.Tensor,
    answers: list[list[int]],
    max_new_tokens: int,
    sampler: Sampler,
) -> None:
    """Write answers on in place, until each has its end-of-turn token or all its tokens.

    Args:
        live: The model.
        reading: What was read of each row: its prompt, and its answer so far.
        logits: (rows, vocabulary) of each row's next token.
        answers: Token ids so far, each less than ``max_new_tokens``.
        max_new_tokens: Tokens of a whole answer.
        sampler: Chooses the tokens.
    """
    rows = list(range(len(answers)))
    while True:
        tokens = sampler(logits)
        for row, token in zip(rows, tokens.tolist(), strict=True):
            answers[row].append(token)
        going = [
            place
            for place, row in enumerate(rows)
            if answers[row][-1] not in live.stop_ids and len(answers[row]) < max_new_tokens
        ]
        if not going:
            return
        if len(going) < len(rows):
            keep = torch.tensor(going, device=tokens.device)
            rows, tokens = [rows[place] for place in going], tokens[keep]
            reading.select(keep)
        said = tokens[:, None]
        logits = reading.read(live.model, said, torch.ones_like(said), logits_to_keep=1).logits[:, -1]
