"""tether on top of a user's own TRL script: TRL's trainers, the model held near the base it began as.

Before training the base is measured: its hidden states on anchors for the certificate, its layers' inputs on
the data and on anchors for the geometry. Each step is then shaped, every few steps look at anchors, and at
the end the update is rewound until it fits the budget, and certified. What is learned, and what the loss is,
stays TRL's affair; so `Held` stands before any of its trainers that can tell a row's token ids.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from datasets import IterableDataset
from peft import PeftModel
from trl import DPOTrainer, SFTTrainer

from tether import bases
from tether.anchors.anchors import AnchorSet, load_anchors
from tether.anchors.reference import Reference
from tether.anchors.store import anchors_for
from tether.errors import UserError
from tether.methods.holding import ANCHOR_EVERY, ANCHOR_TOKENS, MULTIPLIER, PULL, budgets
from tether.training.anchored import LONGEST, Anchored, Anchoring, Constraint
from tether.training.budget import Budget
from tether.training.certificate import Certificate
from tether.training.filters import Filters, filters
from tether.training.measured import MOMENT_TOKENS, measure
from tether.training.rewind import SELECT_TOKENS, Rewind, first_rows
from tether.training.shaping import Shaping
from tether.training.starts import Laid, left_free
from tether.training.update import AdapterUpdate, WeightUpdate, check_plain_lora, is_adapted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from datasets import Dataset
    from transformers import PreTrainedModel

    from tether.training.geometry import Geometry
    from tether.training.measured import Measured
    from tether.training.rewind import Choice
    from tether.training.update import Update

KEPT_ASIDE = 0.1  # of the rows, where there is no eval_dataset


@dataclass(frozen=True)
class _Before:
    """What must be seen of a base while the model still is it; ``weights`` where all of them are trained."""

    inputs: Measured
    weights: WeightUpdate | None


class Held(Anchored):
    """A TRL trainer under a drift budget; mixed in before the trainer that it holds.

    Args:
        model: As TRL's: a hub id, a folder, or a causal model of transformers without an adapter.
        train_dataset: As TRL's.
        eval_dataset: As TRL's. On its first rows (of several sets, the first's) the rewind is judged; without
            one, a tenth of ``train_dataset`` is kept aside and takes its place.
        budget: Drift allowed in nats per answer token, for all anchor groups or by group.
        anchors: Anchors of this model, or their folder as `tether anchors` writes it. Without them, those
            shipped with or made for the model's name.
        pull: How strongly the geometry shapes each step; 0 leaves the steps alone.
        **kwargs: As TRL's.

    Attributes:
        certificate: How far the model has moved; None until it has trained.
        choice: What the rewind kept; None until it has trained.

    Raises:
        UserError: There are no anchors for the model, the adapter is no plain LoRA, or the weights are
            spread over processes.
    """

    # TRL's trainers say more of these than transformers' own, which `Anchored` knows.
    model: Any
    args: Any
    train_dataset: Any
    _metrics: dict[str, Any]

    def __init__(
        self,
        model: str | PreTrainedModel,
        *,
        train_dataset: Dataset | IterableDataset,
        eval_dataset: Any = None,
        budget: float | dict[str, float] | None = None,
        anchors: AnchorSet | Path | str | None = None,
        pull: float = PULL,
        **kwargs: Any,
    ) -> None:
        self.anchors = _anchors_of(model, anchors)
        self.epsilons, self.pull = budgets(budget, self.anchors.groups), pull
        self.certificate: Certificate | None = None
        self.choice: Choice | None = None
        self._before: _Before | None = None
        self._folder = TemporaryDirectory(prefix="tether-")  # as large as the model, several times
        if eval_dataset is None:
            train_dataset, eval_dataset = _split(train_dataset)
        self.reference = Reference(self.anchors)
        held = Constraint(Budget(self.epsilons, **MULTIPLIER), self.reference)
        super().__init__(
            model=model,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            anchoring=Anchoring(self.anchors, held, ANCHOR_EVERY, ANCHOR_TOKENS, longest=LONGEST),
            **kwargs,
        )
        if isinstance(self.model, PeftModel):
            check_plain_lora(self.model, where="peft_config")
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            raise UserError(
                "FSDP and DeepSpeed spread the weights over processes, and the update is measured whole",
                where="args",
                fix="train on one device or under DDP",
            )

    def token_ids(self, row: Mapping[str, Any]) -> list[int]:
        """What the model reads of a prepared row that it shall learn."""
        raise NotImplementedError

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """As TRL's; the model that it leaves has been rewound to the budget and certified.

        Raises:
            UserError: The anchors are another model's answers, or this trainer has trained before.
        """
        if self.certificate:
            raise UserError(
                "this trainer's model has been trained and rewound", fix="make a new trainer to train more"
            )
        if self._before is None:
            self._before = self._measure()
            if self.pull:
                self._shape(self._before.inputs.geometry())
        output = super().train(*args, **kwargs)
        self._hold(self._before)
        self._folder.cleanup()
        return output

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """As TRL's; `drift.json` lies beside the weights once the model is certified."""
        super().save_model(output_dir, _internal_call)
        if self.certificate and self.args.should_save:
            about = bases.Base(self.anchors.base, self.anchors.base, self.anchors.revision)
            self.certificate.write(Path(output_dir or self.args.output_dir), about)

    def _measure(self) -> _Before:
        model = self._quiet()
        self._check_anchors(self.reference.ask(model).nats())
        rows = self._rows(self.train_dataset.shuffle(seed=0), MOMENT_TOKENS)
        inputs = measure(model, rows, self.anchors, Path(self._folder.name))
        return _Before(inputs, None if is_adapted(model) else WeightUpdate(model))

    def _shape(self, geometry: Geometry) -> None:
        """Shape the steps. A LoRA's A is laid, but trained on: of few rows left there B learns too little."""
        if is_adapted(self.model):
            self.add_callback(Laid(partial(left_free, geometry, self.pull), stays=False))
        folder = Path(self._folder.name) / "filters"
        filters(geometry, self.pull).keep(folder)
        self.add_callback(Shaping(Filters.kept(folder, self.args.device)))

    def _check_anchors(self, found: dict[str, float]) -> None:
        """The model that answered the anchors finds its answers as likely as it did, but for rounding."""
        for group, nats in found.items():
            off, epsilon = abs(nats - self.anchors.nats[group]), self.epsilons[group]
            if off > epsilon:
                raise UserError(
                    f"what {self.anchors.base} answered on '{group}' is {off:.3g} nats per token more or "
                    f"less likely to the model before training, which is above the budget of {epsilon:g}",
                    where="anchors",
                    fix="give the anchors of this very model, as `tether anchors` makes them",
                )

    def _hold(self, before: _Before) -> None:
        """Rewind the update and certify what is kept."""
        model = self._quiet()
        update: Update = before.weights.trained() if before.weights else AdapterUpdate(model)
        given: Any = self.eval_dataset
        aside = next(iter(given.values())) if isinstance(given, dict) else given
        judged_on = aside.take(len(self._rows(aside, SELECT_TOKENS)))
        rewind = Rewind(
            update,
            lambda: self._loss_on(judged_on),
            partial(self.reference.drift, model, split="select"),
            self.epsilons,
            before.inputs,
        )
        self.choice = rewind()
        drifts, sha256 = self.reference.drifts(model), self.anchors.sha256
        self.certificate = Certificate.of(drifts, sha256, self.epsilons, self.choice.alpha, self.choice.pull)

    def _loss_on(self, rows: Any) -> float:
        """The trainer's own loss, mean over batches."""
        losses: list[Any] = [
            self.prediction_step(self.model, batch, prediction_loss_only=True)[0]
            for batch in self.get_eval_dataloader(rows)
        ]
        self._metrics["eval"].clear()  # TRL would count these passes into the user's next evaluation
        return float(self.accelerator.gather(torch.stack(losses)).mean())

    def _rows(self, dataset: Iterable[Mapping[str, Any]], tokens: int) -> list[list[int]]:
        return first_rows((self.token_ids(row)[: self.args.max_length] for row in dataset), tokens)

    def _quiet(self) -> PreTrainedModel:
        """The model without dropout."""
        model: PreTrainedModel = self.model.eval()
        return model


class TetherSFTTrainer(Held, SFTTrainer):
    """TRL's SFTTrainer under a drift budget: see `Held` for what it takes beside TRL's arguments."""

    def token_ids(self, row: Mapping[str, Any]) -> list[int]:
        """The whole text."""
        return list(row["input_ids"])


class TetherDPOTrainer(Held, DPOTrainer):
    """TRL's DPOTrainer under a drift budget: see `Held` for what it takes beside TRL's arguments."""

    def token_ids(self, row: Mapping[str, Any]) -> list[int]:
        """The prompt and the answer that was preferred."""
        return [*row["prompt_ids"], *row["chosen_ids"]]


def _anchors_of(model: str | PreTrainedModel, given: AnchorSet | Path | str | None) -> AnchorSet:
    if isinstance(given, AnchorSet):
        return given
    if given is not None:
        return load_anchors(Path(given))
    name = model if isinstance(model, str) else str(model.config.name_or_path)
    try:
        if not name:
            raise UserError("it was not loaded by a name")
        return anchors_for(bases.resolve(name))
    except UserError as error:
        raise UserError(
            f"there are no anchors for this model ({error.what})",
            where="anchors",
            fix="make them with `tether anchors --base BASE --out DIR`, and give anchors=DIR",
        ) from error


def _split(rows: Dataset | IterableDataset) -> tuple[Dataset, Dataset]:
    """Rows to train on and rows kept aside, the same in a run that goes on."""
    if isinstance(rows, IterableDataset):
        raise UserError(
            "of a stream no rows can be kept aside to judge the rewind on",
            where="train_dataset",
            fix="give an eval_dataset as well",
        )
    parts = rows.train_test_split(test_size=KEPT_ASIDE, seed=0)
    return parts["train"], parts["test"]
