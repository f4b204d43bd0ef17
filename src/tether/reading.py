"""Rows of tokens that a model reads together: what they begin with is read once, and reading can go on.

All questions of one template begin alike, and several continuations are scored after one question. A
`Reading` holds the keys and values of what was read; its rows can be handed on, each to several rows of
another reading, so that nothing is read twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import pad as pad_left

from tether.attention import unwrapped
from tether.cache import forked, is_roomy, joined, keep_positions, keep_rows, roomy_cache

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from transformers import PreTrainedModel
    from transformers.cache_utils import DynamicCache

    from tether.passes import PassSizes


@dataclass
class Reading:
    """Rows that were read so far.

    Attributes:
        cache: Their keys and values.
        seen: (rows, cached positions) int64, 1 at the positions that a row may see, 0 at its padding.
        positions: (rows,) int64, the position of each row's next token.
    """

    cache: DynamicCache
    seen: torch.Tensor
    positions: torch.Tensor

    @classmethod
    def blank(cls, model: PreTrainedModel, rows: int) -> Reading:
        """Nothing read yet."""
        empty = torch.zeros(rows, 0, dtype=torch.long, device=model.device)
        return cls(roomy_cache(model.config), empty, empty.sum(1))

    def read(self, module: torch.nn.Module, ids: torch.Tensor, there: torch.Tensor, **keep: Any) -> Any:
        """Read on.

        Args:
            module: The model, or its backbone.
            ids: (rows, length) token ids.
            there: (rows, length) int64 mask of real tokens; padding may stand on either side.
            **keep: What else the module is told.

        Returns:
            What the module returns for these tokens.
        """
        self.seen = torch.cat([self.seen, there], dim=1)
        positions = (self.positions[:, None] + there.cumsum(1) - 1).clamp(min=0)
        self.positions = self.positions + there.sum(1)
        return module(
            ids, attention_mask=self.seen, position_ids=positions, past_key_values=self.cache, **keep
        )

    @classmethod
    def join(cls, readings: Sequence[Reading]) -> Reading:
        """All rows of several readings whose caches are roomy, the shorter ones padded on the left."""
        if len(readings) == 1:
            return readings[0]
        longest = max(reading.seen.shape[1] for reading in readings)
        seen = [pad_left(reading.seen, (longest - reading.seen.shape[1], 0)) for reading in readings]
        positions = torch.cat([reading.positions for reading in readings])
        return cls(joined([reading.cache for reading in readings]), torch.cat(seen), positions)

    def select(self, rows: torch.Tensor) -> None:
        """Keep the rows of these indices alone."""
        keep_rows(self.cache, rows)
        self.seen, self.positions = self.seen[rows], self.positions[rows]

    def fork(self, rows: torch.Tensor) -> Reading:
        """A reading of its own of the rows of these indices, which may repeat; this one stays as it is."""
        return Reading(forked(self.cache, rows), self.seen[rows], self.positions[rows])

    def back_to(self, tokens: torch.Tensor) -> None:
        """Forget all but the first so many tokens of each row, (rows,) int64; the cache must be roomy."""
        self.seen = self.seen * (self.seen.cumsum(1) <= tokens[:, None])
        self.positions = tokens
        most = int(tokens.max())
        if self.seen.shape[1] > 2 * most:  # more gaps than tokens
            places = self.seen.argsort(dim=1, descending=True, stable=True)[:, :most]
            keep_positions(self.cache, places)
            self.seen = self.seen.gather(1, places)


class Memory:
    """Conversations that a model goes on with: what it has read of them is not read again.

    Args:
        model: The model.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._reading = Reading.blank(model, 0)
        self._read: dict[int, Sequence[int]] = {}

    def recall(self, prompts: Mapping[int, Sequence[int]]) -> tuple[Reading, list[Sequence[int]]]:
        """What was read of these conversations, and what is left to read of them.

        Args:
            prompts: Token ids by the conversation's number. Unless all were here the time before, all is read
                anew.

        Returns:
            A reading with a row for each, to be handed on by `fork` before an answer is written to it, and
            the token ids to read on with, one at least a row.
        """
        known = {key: row for row, key in enumerate(self._read)}
        if prompts.keys() <= known.keys() and is_roomy(self._reading.cache):
            shared = [shared_length([self._read[key], ids]) for key, ids in prompts.items()]
            device = self._model.device
            self._reading.select(torch.tensor([known[key] for key in prompts], device=device))
            self._reading.back_to(torch.tensor(shared, device=device))
        else:
            self._reading, shared = Reading.blank(self._model, len(prompts)), [0] * len(prompts)
        self._read = dict(prompts)
        return self._reading, [ids[length:] for ids, length in zip(prompts.values(), shared, strict=True)]


class Opening:
    """The tokens that all of some rows begin with, read once.

    Args:
        model: The model; a PEFT model counts as one.
        rows: Token ids of the rows; each keeps one token at least to itself.
        longest: What the opening may have at most.
    """

    def __init__(
        self, model: PreTrainedModel, rows: Sequence[Sequence[int]], longest: int | None = None
    ) -> None:
        self._model = model
        self.reading = Reading.blank(model, 1)
        # Between opening and padded rows there are gaps, and a sliding window counts them.
        self.roomy = is_roomy(self.reading.cache)
        self.length = shared_length(rows) if self.roomy else 0
        if longest is not None:
            self.length = min(self.length, longest)
        if self.length:
            ids = torch.tensor([list(rows[0][: self.length])], device=model.device)
            self.reading.read(backbone(model), ids, torch.ones_like(ids))

    def readings(self, rows: int) -> Reading:
        """So many rows that have read the opening and nothing else."""
        return self.reading.fork(self.reading.positions.new_zeros(rows))

    def states(self, ids: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        """Last hidden states of rows that are padded behind and go on from the opening.

        Args:
            ids: (rows, length) token ids, without the opening.
            there: (rows, length) int64 mask of real tokens.

        Returns:
            (rows, length, width).
        """
        module, ids, there = backbone(self._model), ids.to(self._model.device), there.to(self._model.device)
        if self.length:
            out = self.readings(len(ids)).read(module, ids, there)
        else:  # without a mask, which is faster: what stands behind a row none of its tokens sees
            out = module(input_ids=ids, use_cache=False)
        states: torch.Tensor = out.last_hidden_state
        return states


def shared_length(rows: Sequence[Sequence[int]]) -> int:
    """Tokens that all rows begin with, without the last one of the shortest; 0 of less than two rows."""
    if len(rows) < 2:
        return 0
    # What the least and the greatest share, all between them share.
    least, greatest = min(map(list, rows)), max(map(list, rows))
    most = min(map(len, rows)) - 1
    return next((i for i in range(most) if least[i] != greatest[i]), max(0, most))


def backbone(model: PreTrainedModel) -> torch.nn.Module:
    """The model without its head, adapters included."""
    return unwrapped(model).base_model


def pad(rows: Sequence[Sequence[int]], value: int, left: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of ids as one int64 tensor of shape (rows, longest), and its mask of real positions."""
    longest = max(len(row) for row in rows)
    ids = torch.full((len(rows), longest), value)
    mask = torch.zeros(len(rows), longest, dtype=torch.long)
    for index, row in enumerate(rows):
        span = slice(longest - len(row), longest) if left else slice(0, len(row))
        ids[index, span] = torch.tensor(list(row), dtype=torch.long)
        mask[index, span] = 1
    return ids, mask


def batches_by_length(
    lengths: Sequence[int], sizes: PassSizes, most_rows: int | None = None
) -> Iterator[list[int]]:
    """Indices in batches of like length, longest first.

    Args:
        lengths: Of each row.
        sizes: The ``tokens`` of a batch, which one row alone may exceed, and the ``padding`` in it.
        most_rows: Rows of a batch, where it has a limit.
    """
    batch: list[int] = []
    padding = 0
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        longest = lengths[batch[0]] if batch else lengths[index]
        padding += longest - lengths[index]
        full = (len(batch) + 1) * longest > sizes.tokens or len(batch) == most_rows
        if batch and (full or padding > sizes.padding):
            yield batch
            batch, padding = [], 0
        batch.append(index)
    if batch:
        yield batch
