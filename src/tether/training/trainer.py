"""TRL's trainers on batches of a fixed number of tokens; SFT with the head on learned tokens only.

TRL's own step pads rows as they come, runs the head over the whole vocabulary at every position and computes
entropy and accuracy metrics on the side; on a small model that is more than half of the time (docs/results.md
has the figure).
"""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from transformers import Trainer
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from trl import SFTTrainer

from tether.training.batches import IGNORED, TokenBatches, collate, row_size
from tether.training.cost import peak_memory

COST_FILE = "cost.json"

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import torch

    from tether.training.cost import Cost


class TokenBatched(Trainer):
    """Batches of a fixed number of tokens, and what they cost; mixed in before one of TRL's trainers.

    Args:
        batch_tokens: Padded tokens of one batch.
        cost: Counts the tokens seen.
        **kwargs: As the trainer's; the dataset is encoded already.
    """

    size: Callable[[Mapping[str, Any]], int]
    """Tokens of a row, as they add up to ``batch_tokens``."""
    to_batch: Callable[..., dict[str, torch.Tensor]]
    """Takes rows and ``pad_id``; a batch with the number of real ``tokens`` beside what the loss reads."""

    def __init__(self, *, batch_tokens: int, cost: Cost, **kwargs: Any) -> None:
        self.batch_tokens, self.cost = batch_tokens, cost
        super().__init__(**kwargs)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Batches by tokens instead of by rows."""
        rows: Any = self.train_dataset
        tokenizer: Any = self.processing_class
        sampler = TokenBatches([self.size(row) for row in rows], self.batch_tokens, self.args.seed)
        padded = partial(self.to_batch, pad_id=int(tokenizer.pad_token_id))
        loader = DataLoader(rows, batch_sampler=sampler, collate_fn=padded)
        return self.accelerator.prepare(loader)  # type: ignore[no-any-return]

    def training_step(
        self, model: torch.nn.Module, inputs: Any, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """One batch forward and backward."""
        self.cost.tokens += int(inputs.pop("tokens"))
        loss: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)
        return loss

    def keep(self, folder: Path) -> None:
        """Write what a checkpoint holds beside transformers' own files."""
        self.cost.peak_memory_bytes = max(self.cost.peak_memory_bytes, peak_memory())
        (folder / COST_FILE).write_text(json.dumps(asdict(self.cost)), encoding="utf-8")

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        # Ours come first: transformers writes its state last, and then takes the checkpoint before away.
        folder = Path(str(self.args.output_dir)) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        folder.mkdir(parents=True, exist_ok=True)
        self.keep(folder)
        super()._save_checkpoint(model, trial)


class DomainTrainer(TokenBatched, SFTTrainer):
    """Trains on rows of ``input_ids`` and ``labels`` (``dataset_kwargs={"skip_prepare_dataset": True}``)."""

    size = staticmethod(row_size)
    to_batch = staticmethod(collate)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """Mean cross-entropy in nats per learned token (of the accumulated batch, if its size is given).

        A row's tokens count as its weight says. The number that the sum is divided by is not weighted, or a
        row alone in its batch would weigh the same whatever its weight.
        """
        logits, targets = logits_at(model, inputs["input_ids"], inputs["labels"])
        losses = cross_entropy(logits.float(), targets, reduction="none")
        total = (losses * by_token(inputs["weights"], inputs["labels"])).sum()
        count = len(targets) if num_items_in_batch is None else num_items_in_batch
        return total / count


def last_checkpoint(folder: Path) -> Path | None:
    """The latest checkpoint that was written to its end."""
    whole = [path.parent for path in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*/{TRAINER_STATE_NAME}")]
    return max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def logits_at(
    model: torch.nn.Module, ids: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (learned tokens, vocabulary) that predict the labelled tokens, and these tokens' ids.

    The head runs on the columns in which any row has a label; going through ``model.forward`` keeps DDP and
    FSDP hooks, autocast and adapters in play.
    """
    wanted = labels[:, 1:] != IGNORED
    columns = wanted.any(0).nonzero().squeeze(1)
    logits = model(input_ids=ids, use_cache=False, logits_to_keep=columns).logits
    kept = wanted[:, columns]
    return logits[kept], labels[:, 1:][:, columns][kept]


def by_token(weights: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Each row's weight at each of its learned tokens, in the order of `logits_at`."""
    wanted = labels[:, 1:] != IGNORED
    return weights[:, None].expand_as(wanted)[wanted]
