"""The domain loss and, every few steps, the drift on a few anchors, weighted by their group's multiplier.

Whatever trainer gives the domain loss: `Anchored` stands before it among a class's parents.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import cross_entropy
from transformers import Trainer
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from tether.anchors.drift import FIRST_TOKENS, answer_batch
from tether.training.batches import IGNORED
from tether.training.gradients import Gradients
from tether.training.trainer import DomainTrainer, logits_at

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tether.anchors.anchors import AnchorSet
    from tether.anchors.reference import Reference
    from tether.training.budget import Budget

BUDGET_FILE = "budget.json"
# A look sees a few prompts and counts for all steps until the next, so along what is steep for just these it
# overshot: their own drift went from 0.04 to 0.72 in the four steps after, and at the end of training that of
# the anchors looked at was up to four times that of the others (docs/tried.md).
LONGEST = 0.3


@dataclass(frozen=True)
class Constraint:
    """The drift that is held: by these multipliers, against whoever answered the anchors."""

    budget: Budget
    reference: Reference


@dataclass(frozen=True)
class Anchoring:
    """How anchors take part in training.

    Attributes:
        anchors: What must not change.
        constraint: What holds them; None replays instead, which trains on the anchors' answers as if they
            were data.
        every: Steps between anchor batches; an anchor batch counts ``every`` times, so that the pull is the
            same.
        tokens: Tokens of an anchor batch, all groups together.
        longest: What a group may add to a step's gradient, as a share of the domain's norm.
        first_tokens: How much an answer's first five tokens count in the loss, where the others count 1: what
            is refused is refused there (arXiv:2406.05946). Measured drift is never weighted.
    """

    anchors: AnchorSet
    constraint: Constraint | None
    every: int
    tokens: int
    longest: float = math.inf
    first_tokens: float = 1.0

    @property
    def budget(self) -> Budget | None:
        """The multipliers."""
        return self.constraint.budget if self.constraint else None


class Anchored(Trainer):
    """Adds anchors to a trainer's steps, and their multipliers to its checkpoints.

    Args:
        anchoring: Anchors, budget and how often they are looked at.
        **kwargs: As the trainer that gives the domain loss.
    """

    def __init__(self, *, anchoring: Anchoring, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.anchoring = anchoring
        names = list(anchoring.budget.groups) if anchoring.budget else anchoring.anchors.groups
        share = anchoring.tokens // len(names)
        seed = self.args.seed
        self._streams = {name: _Stream(anchoring.anchors, name, share, seed) for name in names}

    def training_step(
        self, model: torch.nn.Module, inputs: Any, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """A domain batch; with a step's last one anchors, where they are due, add to the same gradient."""
        loss: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)
        if not self.accelerator.sync_gradients:  # the step goes on: its gradient is not the domain's yet
            return loss
        step, held = self.state.global_step, self.anchoring.constraint
        if step % self.anchoring.every == 0:
            number = step // self.anchoring.every
            self._pull(model, self._held(model, held, number) if held else self._replayed(model, number))
        return loss

    def _pull(self, model: torch.nn.Module, pulls: Iterator[torch.Tensor]) -> None:
        """Add each pull to the gradient, one at a time: each holds its activations until it is done."""
        with Gradients(model, self.anchoring.longest) as gradients:
            for pull in pulls:
                self.accelerator.backward(pull * self.anchoring.every)
                gradients.add()

    def _held(self, model: torch.nn.Module, held: Constraint, number: int) -> Iterator[torch.Tensor]:
        """Each group's drift, weighted by its multiplier, which moves by that drift first."""
        for name, stream in self._streams.items():
            indices = stream(number)
            drift = self._drift(model, held.reference, indices)
            held.budget.observe(self.state.global_step, {name: float(drift.detach().mean())})
            answers = [len(self.anchoring.anchors.anchors[index].answer_ids) for index in indices]
            counted = token_weights(answers, self.anchoring.first_tokens).to(drift.device)
            yield held.budget.weights()[name] * (counted * drift).sum() / counted.sum()

    def _replayed(self, model: torch.nn.Module, number: int) -> Iterator[torch.Tensor]:
        """Mean cross-entropy on the answers of the ``number``-th anchors of every group."""
        indices = [index for stream in self._streams.values() for index in stream(number)]
        logits, targets = self._answers(model, indices)
        yield cross_entropy(logits.float(), targets)

    def _drift(self, model: torch.nn.Module, reference: Reference, indices: Sequence[int]) -> torch.Tensor:
        """Drift of each answer token of a group's anchors, (answer tokens,).

        A pass for each group: its anchors are of a length, and short ones are not padded to another group's
        long ones.
        """
        logits, _ = self._answers(model, indices)
        return reference.divergence(logits, indices)

    def _answers(self, model: torch.nn.Module, indices: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits at some anchors' answer tokens, anchor by anchor, and those tokens."""
        picked = [self.anchoring.anchors.anchors[index] for index in indices]
        ids, answer = answer_batch(picked)
        labels = ids.masked_fill(~answer, IGNORED)
        return logits_at(model, ids.to(self.args.device), labels.to(self.args.device))

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        # Ours comes first: transformers writes its state last, and then takes the checkpoint before away.
        if self.anchoring.budget:
            folder = Path(str(self.args.output_dir)) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
            folder.mkdir(parents=True, exist_ok=True)
            self.anchoring.budget.save(folder / BUDGET_FILE)
        super()._save_checkpoint(model, trial)

    def _load_from_checkpoint(
        self, resume_from_checkpoint: str, model: torch.nn.Module | None = None
    ) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        if self.anchoring.budget:
            self.anchoring.budget.load(Path(resume_from_checkpoint) / BUDGET_FILE)


class AnchoredTrainer(Anchored, DomainTrainer):
    """Trains on the domain under a drift budget."""


def token_weights(answers: Sequence[int], first: float) -> torch.Tensor:
    """Weights of answers' tokens, answer by answer, float32: ``first`` for the first five of each, else 1."""
    positions = torch.cat([torch.arange(length) for length in answers])
    return torch.where(positions < FIRST_TOKENS, first, 1.0)


class _Stream:
    """A group's anchors to train on, in batches by number: a killed run goes on with the right ones."""

    def __init__(self, anchors: AnchorSet, group: str, tokens: int, seed: int) -> None:
        self._batches = _batches(anchors, group, tokens, seed)
        self._next = 0

    def __call__(self, number: int) -> list[int]:
        passed = max(0, number - self._next)
        self._next += passed + 1
        return next(islice(self._batches, passed, None))


def _batches(anchors: AnchorSet, group: str, tokens: int, seed: int) -> Iterator[list[int]]:
    """Endless batches of one group's anchors, reshuffled; at most ``tokens`` tokens (or one anchor) each."""
    shuffler = random.Random(f"{seed} {group} train")
    indices = anchors.indices(group, "train")
    lengths = {i: len(anchors.anchors[i].prompt_ids) + len(anchors.anchors[i].answer_ids) for i in indices}
    batch: list[int] = []
    while True:
        for index in shuffler.sample(indices, len(indices)):
            if batch and _size([*batch, index], lengths) > tokens:
                yield batch
                batch = []
            batch.append(index)


def _size(batch: Sequence[int], lengths: dict[int, int]) -> int:
    """Padded tokens of a batch."""
    return len(batch) * max(lengths[index] for index in batch)
