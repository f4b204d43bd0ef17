"""What models think of their anchors' answers, which drift is measured against.

Kept are the last hidden states, in bfloat16 two bytes a dimension and token; the head makes the whole
distribution of them again. So no second model is held, and drift is exact wherever it is looked at: in
training, by the rewind, for the certificate.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from functools import partial
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING
from urllib.parse import quote

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy

from tether.anchors.anchors import SPLITS
from tether.anchors.drift import GroupDrift, answer_states, divergence, summarise
from tether.files import make_once
from tether.logits import Finish, finish_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from transformers import PreTrainedModel

    from tether.anchors.anchors import Anchor, AnchorSet

STATES_FILE, STATES = "states.safetensors", "states"

Thought = Callable[[], torch.Tensor]
"""Gives the states of an answer, (answer tokens, width), from memory or from where they lie on disk."""


class Reference:
    """The last hidden states of whoever answered the anchors, at every answer token.

    Args:
        anchors: The anchors.

    Attributes:
        anchors: The anchors.
        seconds: What asking has taken.
    """

    def __init__(self, anchors: AnchorSet) -> None:
        self.anchors, self.seconds = anchors, 0.0
        self._heads: dict[str, torch.nn.Module] = {}
        self._finish: Finish
        self._thoughts: dict[int, Thought] = {}

    def ask(
        self,
        model: PreTrainedModel,
        splits: Sequence[str] = SPLITS,
        groups: Sequence[str] | None = None,
        folder: Path | None = None,
    ) -> Reference:
        """Keep what a model thinks, before anything changes in it; of a group, what was asked last counts.

        Args:
            model: The model.
            splits: Of the anchors.
            groups: Of the anchors; None is all.
            folder: Where what this very model was asked before is read, and what it is asked now is left.
        """
        started = time.perf_counter()
        head, self._finish = copy.deepcopy(model.get_output_embeddings()), finish_of(model)
        for group in groups or self.anchors.groups:
            self._heads[group] = head
            for split in splits:  # each by itself, for with others it would be rounded otherwise
                indices = self.anchors.indices(group, split)
                answers = [self.anchors.anchors[index] for index in indices]
                thoughts = _asked(model, answers, f"Before, on {group} anchors", folder)
                self._thoughts |= zip(indices, thoughts, strict=True)
        self.seconds += time.perf_counter() - started
        return self

    def knows(self, split: str) -> bool:
        """Whether a split has been asked about."""
        return all(self.anchors.indices(group, split)[0] in self._thoughts for group in self.anchors.groups)

    def over(self, anchors: AnchorSet) -> Reference:
        """The same thoughts on anchors that begin with these; others may be asked about the rest."""
        wider = copy.copy(self)
        wider.anchors, wider._heads, wider._thoughts = anchors, dict(self._heads), dict(self._thoughts)
        return wider

    @torch.no_grad()
    def logits(self, index: int) -> torch.Tensor:
        """(answer tokens, vocabulary) of an anchor."""
        head = self._heads[self.anchors.anchors[index].group]
        return self._finish(head(self._thoughts[index]()))

    def divergence(self, logits: torch.Tensor, indices: Sequence[int]) -> torch.Tensor:
        """KL(reference || tuned) per token over the whole vocabulary.

        Args:
            logits: (answer tokens of these anchors, vocabulary) of the tuned model.
            indices: The anchors, in the logits' order.

        Returns:
            (answer tokens,) float32, differentiable in ``logits``.
        """
        before = torch.cat([self.logits(index).to(logits.device) for index in indices])
        return divergence(before, logits)

    def nats(self) -> dict[str, float]:
        """How unlikely each group's answers of the select split are found, mean nats per token."""
        return {group: self._nats(self.anchors.indices(group, "select")) for group in self.anchors.groups}

    def _nats(self, indices: Sequence[int]) -> float:
        found = []
        for index in indices:
            logits = self.logits(index).float()
            answer = torch.tensor(self.anchors.anchors[index].answer_ids, device=logits.device)
            found.append(cross_entropy(logits, answer, reduction="none"))
        return float(torch.cat(found).mean())

    def drifts(self, model: PreTrainedModel, split: str = "certify") -> dict[str, list[torch.Tensor]]:
        """Per group and prompt, the drift of each answer token."""
        return {group: self._drifts(model, group, split) for group in self.anchors.groups}

    def drift(self, model: PreTrainedModel, group: str, split: str) -> GroupDrift:
        """The drift of one group on one split."""
        return summarise(self._drifts(model, group, split))

    @torch.inference_mode()
    def _drifts(self, model: PreTrainedModel, group: str, split: str) -> list[torch.Tensor]:
        indices = self.anchors.indices(group, split)
        answers = [self.anchors.anchors[index] for index in indices]
        head = model.get_output_embeddings()
        found = answer_states(model, answers, f"Drift on {group}")
        return [
            self.divergence(self._finish(head(states)), [index]).cpu()
            for index, states in zip(indices, found, strict=True)
        ]


def _asked(
    model: PreTrainedModel, answers: Sequence[Anchor], label: str, folder: Path | None
) -> list[Thought]:
    """What is thought of one group's answers of one split, as it lies in the folder, where there is one."""
    if folder is None:  # there is nowhere to lay them: each is held, and given as it is
        return [states.detach for states in answer_states(model, answers, label)]

    def build(new: Path) -> None:
        save_file({STATES: torch.cat(answer_states(model, answers, label))}, new / STATES_FILE)

    kept = folder / model.device.type / f"{quote(answers[0].group, safe='')}-{answers[0].split}"
    make_once(kept, build)
    bounds = pairwise(accumulate((len(anchor.answer_ids) for anchor in answers), initial=0))
    return [partial(_read, kept / STATES_FILE, *rows, str(model.device)) for rows in bounds]


def _read(file: Path, start: int, stop: int, device: str) -> torch.Tensor:
    """Rows of what was kept; they are read whenever they are needed, so none take memory in between."""
    with safe_open(file, "pt", device=device) as states:
        rows: torch.Tensor = states.get_slice(STATES)[start:stop]
    return rows
