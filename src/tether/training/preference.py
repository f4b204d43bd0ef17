"""DPO: TRL's trainer on our batches, and its loss on preferences kept aside (arXiv:2305.18290, eq. 7)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import logsigmoid
from trl import DPOTrainer
from trl.trainer.dpo_trainer import DataCollatorForPreference

from tether.training.anchored import Anchored
from tether.training.rewind import SELECT_TOKENS, first_rows
from tether.training.trainer import TokenBatched

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tether.chatdata.preferences import Preference
    from tether.chatdata.rendering import Encoded, Renderer
    from tether.inference import LocalModel


def as_pair(renderer: Renderer, preference: Preference, most: int) -> dict[str, list[int]]:
    """A training row: ``prompt_ids``, and ``chosen_ids`` and ``rejected_ids`` that follow it.

    Each side is cut to ``most`` tokens; nothing of a turn may be left.
    """
    good, bad = renderer.encode(preference), renderer.encode(preference.worse)
    # Where the first token of a turn spans its header's end, both turns begin with that token.
    start = min(good.learned.index(True), bad.learned.index(True))
    return {
        "prompt_ids": good.input_ids[:start],
        "chosen_ids": _turn(good, start, most),
        "rejected_ids": _turn(bad, start, most),
    }


def _turn(side: Encoded, start: int, most: int) -> list[int]:
    """From where a turn begins to its end-of-turn token."""
    end = len(side.learned) - side.learned[::-1].index(True)
    return side.input_ids[start : min(end, most)]


def pair_size(row: Mapping[str, Any]) -> int:
    """Tokens of both sides, the shorter one padded."""
    return 2 * (len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"])))


def collate_pairs(rows: Sequence[dict[str, list[int]]], pad_id: int) -> dict[str, Any]:
    """TRL's batch of chosen and rejected rows, and the number of real ``tokens``."""
    batch = DataCollatorForPreference(pad_id).torch_call([*rows])
    return {**batch, "tokens": batch["attention_mask"].sum()}


class PreferenceTrainer(TokenBatched, DPOTrainer):
    """Trains on rows as `as_pair` makes them."""

    size = staticmethod(pair_size)
    to_batch = staticmethod(collate_pairs)

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        return dataset  # encoded already, with the base's own template and tools

    def compute_loss(self, model: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        """TRL's; what of an adapter is not trained stays so."""
        frozen = [weight for weight in model.parameters() if not weight.requires_grad]
        loss = super().compute_loss(model, *args, **kwargs)  # type: ignore[no-untyped-call]
        # The reference was the model without its adapter, and PEFT switches on again what it can train.
        for weight in frozen:
            weight.requires_grad_(False)
        return loss


class AnchoredPreferenceTrainer(Anchored, PreferenceTrainer):
    """Trains on preferences under a drift budget."""


class PreferenceLoss:
    """DPO's loss on preferences kept aside.

    Args:
        base: The model before anything changed in it: the reference.
        select: The preferences; their first ``SELECT_TOKENS`` tokens are judged on.
        beta: DPO's.
    """

    def __init__(self, base: LocalModel, select: Sequence[Preference], beta: float) -> None:
        rows = (base.renderer.encode(preference).input_ids for preference in select)
        self._pairs, self._beta = select[: len(first_rows(rows, SELECT_TOKENS))], beta
        self._reference = self._log_ratios(base)

    def __call__(self, model: LocalModel) -> float:
        """Mean loss in nats per preference of the model as it stands."""
        margins = self._beta * (self._log_ratios(model) - self._reference)
        return float(-logsigmoid(margins).mean())

    def _log_ratios(self, model: LocalModel) -> torch.Tensor:
        """By how many nats each chosen turn is likelier than the rejected one, (pairs,) float64."""
        chosen = model.chat_losses(self._pairs)
        rejected = model.chat_losses([pair.worse for pair in self._pairs])
        nats = [worse - good for (good, _), (worse, _) in zip(chosen, rejected, strict=True)]
        return torch.tensor(nats, dtype=torch.float64)
