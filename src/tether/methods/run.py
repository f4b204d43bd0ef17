"""What a method is given to work with, and what it leaves."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from peft import LoraConfig

from tether import bases
from tether.anchors.store import anchors_for
from tether.chatdata.rendering import Renderer
from tether.errors import UserError
from tether.inference import LocalModel
from tether.training.batches import IGNORED, as_row
from tether.training.loop import fit

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from transformers import PreTrainedModel

    from tether.anchors.anchors import AnchorSet
    from tether.chatdata.chats import Chat
    from tether.config import Training
    from tether.training.anchored import Anchoring
    from tether.training.cost import Cost

# Where each parametrisation learned most on Schema-Guided hotels; a study that compares methods sweeps.
OWN_RATES = {"lora": 5e-4, "full": 3e-5}


@dataclass
class Tuned:
    """A finished fine-tuning.

    Attributes:
        folder: Holds a PEFT adapter, or a whole model.
        parametrisation: "lora" or "full".
        learning_rate: The peak rate it was trained at.
        cost: What training took.
        extra: What else the method tells of itself, for the record.
    """

    folder: Path
    parametrisation: str
    learning_rate: float
    cost: Cost
    extra: dict[str, Any]


class Run:
    """One fine-tuning: base, dialogues, folder, settings.

    Args:
        base: The base model.
        train: Dialogues to learn from.
        select: Dialogues kept aside from training, to choose by.
        out: Where the tuned model goes.
        settings: Steps, batch size, schedule.
        seed: Of everything random.
        anchors_folder: The user's own anchors; None is the base's own, made or shipped.
    """

    def __init__(
        self,
        base: bases.Base,
        train: Sequence[Chat],
        select: Sequence[Chat],
        out: Path,
        settings: Training,
        seed: int = 0,
        anchors_folder: Path | None = None,
    ) -> None:
        self.base, self.train, self.select, self.out = base, train, select, out
        self.settings, self.seed, self._anchors_folder = settings, seed, anchors_folder

    @cached_property
    def tokenizer(self) -> Any:
        """The base's tokenizer."""
        return bases.load_tokenizer(self.base)

    @cached_property
    def renderer(self) -> Renderer:
        """The base's chat template."""
        return Renderer(self.tokenizer)

    @cached_property
    def anchors(self) -> AnchorSet:
        """What must not change."""
        return anchors_for(self.base, self._anchors_folder)

    def parametrisation(self, own: str) -> str:
        """What is trained: as the settings say, else the method's ``own``."""
        return self.settings.parametrisation or own

    def load(self, parametrisation: str) -> PreTrainedModel:
        """The base, in the precision that the parametrisation trains in."""
        return bases.load_model(self.base, torch.float32 if parametrisation == "full" else torch.bfloat16)

    def fit(
        self,
        model: PreTrainedModel,
        parametrisation: str,
        learning_rate: float | None,
        *,
        rank: int = 16,
        alpha: int = 32,
        anchoring: Anchoring | None = None,
    ) -> tuple[PreTrainedModel, Cost, float]:
        """Train; returns the model, what it cost and the rate it was trained at."""
        rate = learning_rate or OWN_RATES[parametrisation]
        adapter = LoraConfig(r=rank, lora_alpha=alpha, target_modules="all-linear", task_type="CAUSAL_LM")
        tuned, cost = fit(
            model,
            self.tokenizer,
            self.rows(self.train),
            out=self.out,
            settings=self.settings,
            learning_rate=rate,
            seed=self.seed,
            label=f"Training {self.out.parent.name if self.out.name.startswith('seed-') else self.out.name}",
            adapter=adapter if parametrisation == "lora" else None,
            anchoring=anchoring,
        )
        return tuned, cost, rate

    def rows(self, chats: Sequence[Chat]) -> list[dict[str, list[int]]]:
        """Dialogues as training rows, cut to the longest that the settings allow.

        Raises:
            UserError: Nothing is left in which the agent speaks.
        """
        most = self.settings.max_length
        encoded = (as_row(self.renderer.encode(chat)) for chat in chats)
        cut = ({key: ids[:most] for key, ids in row.items()} for row in encoded)
        rows = [row for row in cut if any(label != IGNORED for label in row["labels"])]
        if not rows:
            raise UserError(
                f"in no dialogue the agent speaks within the first {most} tokens",
                where="max_length",
                fix="allow longer ones",
            )
        return rows

    def live(self, model: PreTrainedModel) -> LocalModel:
        """The model with the base's tokenizer, to be asked."""
        return LocalModel(model, self.tokenizer, self.base.name)

    def finish(
        self, model: PreTrainedModel, parametrisation: str, rate: float, cost: Cost, **extra: Any
    ) -> Tuned:
        """Write the tuned model and its record, and only then let the checkpoints go."""
        if parametrisation == "full":
            bases.to_bfloat16(model)  # as the base had it; the float32 was for the optimizer
            self.tokenizer.save_pretrained(self.out)
        model.save_pretrained(self.out)
        tuned = Tuned(self.out, parametrisation, rate, cost, extra)
        record = {
            "base": self.base.name,
            "revision": self.base.revision,
            "parametrisation": parametrisation,
            "learning_rate": rate,
            "seed": self.seed,
            "training": self.settings.model_dump(),
            "cost": cost.record(),
            **extra,
        }
        bases.write_json(self.out / bases.RECORD_FILE, record)
        shutil.rmtree(self.out / "checkpoints", ignore_errors=True)
        return tuned


def read_record(folder: Path) -> dict[str, Any] | None:
    """The record of a finished fine-tuning in ``folder``; None where there is none yet."""
    record: dict[str, Any] | None = bases.read_json(folder / bases.RECORD_FILE)
    return record
