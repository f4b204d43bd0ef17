"""DPO: TRL's trainer on our batches, and its loss on preferences kept aside (arXiv:2305.18290, eq. 7).

By how much a good turn is likelier than a bad one can grow while both become unlikely: DPO alone, of a base
that cannot do the task yet, made the good turns less likely and the agent helpless (docs/results.md). So the
good turns' own loss may be added (arXiv:2404.19733, eq. 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import logsigmoid
from trl import DPOConfig, DPOTrainer
from trl.trainer.dpo_trainer import DataCollatorForPreference

from tether.training.anchored import Anchored
from tether.training.rewind import SELECT_TOKENS, first_rows
from tether.training.trainer import TokenBatched
from tether.turns import per_token

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tether.chatdata.preferences import Preference
    from tether.chatdata.rendering import Encoded, Renderer
    from tether.inference import LocalModel


@dataclass(frozen=True)
class Objective:
    """What is trained on preferences for.

    Attributes:
        beta: DPO's.
        sft: How much the good turns' own loss counts beside it, in nats per token.
    """

    beta: float
    sft: float = 0.0

    def config(self, **common: Any) -> DPOConfig:
        """As TRL takes it."""
        terms = {"sigmoid": 1.0, **({"sft": self.sft} if self.sft else {})}
        return DPOConfig(**common, beta=self.beta, loss_type=[*terms], loss_weights=[*terms.values()])


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
    """The objective on preferences kept aside.

    Args:
        base: The model before anything changed in it: the reference.
        select: The preferences; their first ``SELECT_TOKENS`` tokens are judged on.
        objective: Its terms.
    """

    def __init__(self, base: LocalModel, select: Sequence[Preference], objective: Objective) -> None:
        rows = (base.renderer.encode(preference).input_ids for preference in select)
        self._pairs, self._objective = select[: len(first_rows(rows, SELECT_TOKENS))], objective
        self._reference, _ = self._seen(base)

    def __call__(self, model: LocalModel) -> float:
        """Mean loss in nats per preference of the model as it stands."""
        ratios, nats = self._seen(model)
        margins = self._objective.beta * (ratios - self._reference)
        return float(-logsigmoid(margins).mean()) + self._objective.sft * nats

    def _seen(self, model: LocalModel) -> tuple[torch.Tensor, float]:
        """By how many nats good turns are likelier, (pairs,) float64, and the good ones' nats per token."""
        good, bad = (model.chat_losses(turns) for turns in (self._pairs, [one.worse for one in self._pairs]))
        ratios = [worse - better for (better, _), (worse, _) in zip(good, bad, strict=True)]
        return torch.tensor(ratios, dtype=torch.float64), per_token(good)
