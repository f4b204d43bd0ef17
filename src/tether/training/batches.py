"""Batches of a fixed number of tokens: rows of like length together, so that little of a batch is padding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import BatchSampler

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tether.chatdata.rendering import Encoded

IGNORED = -100  # the label that torch's cross-entropy passes over


class TokenBatches(BatchSampler):
    """Batches of row indices whose padded size is at most ``tokens`` (a longer row stands alone).

    Args:
        lengths: Tokens of each row.
        tokens: Padded size of a batch.
        seed: Order of batches; every epoch has its own.
    """

    def __init__(self, lengths: Sequence[int], tokens: int, seed: int) -> None:
        self.lengths, self.tokens, self.seed, self.epoch = list(lengths), tokens, seed, 0
        self.batch_size, self.drop_last = (
            1,
            False,
        )  # read by accelerate, which shards whole batches over processes
        self._batches = self._cut(torch.Generator().manual_seed(seed))

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        for index in torch.randperm(len(self._batches), generator=generator).tolist():
            yield self._batches[index]

    def _cut(self, generator: torch.Generator) -> list[list[int]]:
        """Cut the rows, sorted by length with ties broken by the seed, into batches."""
        shuffled = torch.randperm(len(self.lengths), generator=generator).tolist()
        order = sorted(shuffled, key=lambda index: self.lengths[index])
        batches: list[list[int]] = []
        for index in order:
            room = self.tokens // max(1, self.lengths[index])
            if batches and len(batches[-1]) < room:
                batches[-1].append(index)
            else:
                batches.append([index])
        return batches


def collate(rows: Sequence[Mapping[str, Any]], pad_id: int) -> dict[str, torch.Tensor]:
    """Right-padded ``input_ids`` and ``labels``, int64 (rows, longest), and the number of real ``tokens``.

    Beside them ``weights``, float32 (rows,), of the rows that have a ``weight``, 1 of the others.

    There is no attention mask: under causal attention no real position sees the padding behind it, and
    without a mask attention takes its fast causal path.
    """
    longest = max(len(row["input_ids"]) for row in rows)
    ids = torch.full((len(rows), longest), pad_id)
    labels = torch.full((len(rows), longest), IGNORED)
    for index, row in enumerate(rows):
        ids[index, : len(row["input_ids"])] = torch.tensor(row["input_ids"])
        labels[index, : len(row["labels"])] = torch.tensor(row["labels"])
    tokens = torch.tensor(sum(len(row["input_ids"]) for row in rows))
    weights = torch.tensor([float(row.get("weight", 1.0)) for row in rows])
    return {"input_ids": ids, "labels": labels, "weights": weights, "tokens": tokens}


def row_size(row: Mapping[str, Any]) -> int:
    """Tokens of a row of ``input_ids``."""
    return len(row["input_ids"])


def as_row(encoded: Encoded) -> dict[str, list[int]]:
    """A training row of an encoded chat: labels are the ids of learned tokens."""
    pairs = zip(encoded.input_ids, encoded.learned, strict=True)
    return {
        "input_ids": list(encoded.input_ids),
        "labels": [token if learned else IGNORED for token, learned in pairs],
    }
