"""What the base itself thought of the training data decides what of it is learned, and how much.

Both ways need one pass of the base over the data, before training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy

from tether.passes import pass_sizes
from tether.progress import task
from tether.reading import batches_by_length
from tether.training.batches import IGNORED, collate
from tether.training.trainer import logits_at

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from transformers import PreTrainedModel

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Weighting:
    """How rows are weighted by the base's own likelihoods.

    Attributes:
        stm: Selective token masking (arXiv:2501.14315): tokens whose perplexity under the base, 1 / p, is
            above this threshold are not learned. None learns all.
        flow: FLOW (arXiv:2502.02797): a row weighs exp(-loss / tau), its loss the base's mean per learned
            token, tau the median of all rows' losses, so that what the base finds easy counts most.
    """

    stm: float | None = None
    flow: bool = False

    @property
    def wanted(self) -> bool:
        """Whether anything is weighted."""
        return self.stm is not None or self.flow

    def __call__(self, rows: Rows, nats: Sequence[torch.Tensor]) -> Rows:
        """The rows as they are to be learned.

        Args:
            rows: ``input_ids`` and ``labels``.
            nats: As `token_nats` gives them.

        Returns:
            Rows with some labels ignored, or with a ``weight``; rows with nothing left to learn are left out.
        """
        weights = flow_weights([float(of_row.mean()) for of_row in nats]) if self.flow else [1.0] * len(rows)
        found: Rows = []
        for row, of_row, weight in zip(rows, nats, weights, strict=True):
            labels = row["labels"] if self.stm is None else _masked(row["labels"], of_row, self.stm)
            if any(label != IGNORED for label in labels[1:]):
                found.append({**row, "labels": labels, "weight": weight})
        return found


def flow_weights(losses: Sequence[float]) -> list[float]:
    """FLOW's weights of rows from the base's losses, over their mean, lest all steps become smaller."""
    told = torch.tensor(losses, dtype=torch.float64)
    weights = torch.exp(-told / told.median())
    return [float(weight) for weight in weights / weights.mean()]


def _masked(labels: Sequence[int], nats: torch.Tensor, threshold: float) -> list[int]:
    """The labels without those whose perplexity is above the threshold."""
    perplexities = iter(nats.exp().tolist())
    return [labels[0]] + [
        IGNORED if label == IGNORED or next(perplexities) > threshold else label for label in labels[1:]
    ]


@torch.inference_mode()
def token_nats(model: PreTrainedModel, rows: Rows, pad_id: int) -> list[torch.Tensor]:
    """Per row, -log p of each learned token that has one before it, (tokens,) float32, nats."""
    nats: list[torch.Tensor] = [torch.empty(0)] * len(rows)
    lengths = [len(row["input_ids"]) for row in rows]
    with task("The base on the training data", len(rows)) as progress:
        for batch in batches_by_length(lengths, pass_sizes(model.device)):
            padded = collate([rows[index] for index in batch], pad_id)
            ids, labels = padded["input_ids"].to(model.device), padded["labels"].to(model.device)
            logits, targets = logits_at(model, ids, labels)
            losses = cross_entropy(logits.float(), targets, reduction="none").cpu()
            counts = (padded["labels"][:, 1:] != IGNORED).sum(1).tolist()
            for index, of_row in zip(batch, torch.split(losses, counts), strict=True):
                nats[index] = of_row
            progress.advance(len(batch))
    return nats


def kept_nats(path: Path, model: PreTrainedModel, rows: Rows, pad_id: int) -> list[torch.Tensor]:
    """As `token_nats`, from ``path`` where an earlier start of the same run has left them."""
    if not path.exists():
        measured = token_nats(model, rows, pad_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".unfinished")
        save_file({str(index): of_row.clone() for index, of_row in enumerate(measured)}, unfinished)
        unfinished.replace(path)
    found = load_file(path)
    return [found[str(index)] for index in range(len(rows))]
