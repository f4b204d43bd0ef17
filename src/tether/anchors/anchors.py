"""Anchors: prompts with the base's own answers, and what the base thought of every token of them.

A folder of anchors holds ``anchors.jsonl`` (readable), ``topk.safetensors`` (the base's top-k
log-probabilities at each answer token) and ``anchors.json`` (where they came from).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file

from tether.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SPLITS = ("train", "select", "certify")


@dataclass(frozen=True)
class Anchor:
    """One prompt and the base's own answer to it.

    Attributes:
        group: "general", "safety", "text" (without the chat template), or a group that the user names.
        split: "train", "select" (multipliers and rewind) or "certify" (read once, for the certificate).
        prompt: The user turn as text, or the text that is gone on with.
        prompt_ids: The prompt as the model reads it, up to where the answer begins.
        answer_ids: The answer, with its end-of-turn token where the base gave one.
    """

    group: str
    split: str
    prompt: str
    answer: str
    prompt_ids: list[int]
    answer_ids: list[int]


@dataclass(frozen=True)
class AnchorSet:
    """Anchors with their cache.

    Attributes:
        anchors: In the order of the cache.
        top_ids: (answer tokens of all anchors, k) int32 token ids.
        top_logprobs: (answer tokens of all anchors, k) float16 base log-probabilities in nats.
        base: Name of the base that answered.
        revision: Its revision.
    """

    anchors: Sequence[Anchor]
    top_ids: torch.Tensor
    top_logprobs: torch.Tensor
    base: str
    revision: str

    @cached_property
    def groups(self) -> list[str]:
        """Group names in the order of their first anchor."""
        return list(dict.fromkeys(anchor.group for anchor in self.anchors))

    @cached_property
    def offsets(self) -> list[int]:
        """Row of the cache at which each anchor's answer begins."""
        starts = [0]
        for anchor in self.anchors:
            starts.append(starts[-1] + len(anchor.answer_ids))
        return starts

    @cached_property
    def sha256(self) -> str:
        """Checksum of prompts and answers, as `drift.json` names them."""
        digest = hashlib.sha256()
        for anchor in self.anchors:
            digest.update(json.dumps(asdict(anchor), sort_keys=True).encode())
        return digest.hexdigest()

    def without(self, group: str) -> AnchorSet:
        """The same without a group.

        Raises:
            UserError: There is no such group, or no other.
        """
        if group not in self.groups or len(self.groups) == 1:
            raise UserError(f"of {', '.join(self.groups)} no group '{group}' can be left out")
        kept = [i for i, anchor in enumerate(self.anchors) if anchor.group != group]
        rows = torch.cat([torch.arange(self.offsets[i], self.offsets[i + 1]) for i in kept])
        anchors = [self.anchors[i] for i in kept]
        return replace(
            self, anchors=anchors, top_ids=self.top_ids[rows], top_logprobs=self.top_logprobs[rows]
        )

    def indices(self, group: str, split: str) -> list[int]:
        """Positions of one group's anchors of one split."""
        return [i for i, anchor in enumerate(self.anchors) if (anchor.group, anchor.split) == (group, split)]

    def cached(self, indices: Iterable[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """The cache rows of some anchors, one after the other: ids int64 and log-probabilities float32."""
        rows = torch.cat([torch.arange(self.offsets[i], self.offsets[i + 1]) for i in indices])
        return self.top_ids[rows].long(), self.top_logprobs[rows].float()

    def save(self, folder: Path) -> None:
        """Write the three files of an anchor folder."""
        folder.mkdir(parents=True, exist_ok=True)
        lines = (json.dumps(asdict(anchor), ensure_ascii=False) for anchor in self.anchors)
        (folder / "anchors.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        tensors = {"ids": self.top_ids.int().contiguous(), "logprobs": self.top_logprobs.half().contiguous()}
        save_file(tensors, folder / "topk.safetensors")
        about = {"base": self.base, "revision": self.revision, "sha256": self.sha256, "counts": self.counts()}
        (folder / "anchors.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")

    def counts(self) -> dict[str, dict[str, dict[str, int]]]:
        """Prompts and answer tokens of each group and split."""
        table: dict[str, dict[str, dict[str, int]]] = {}
        for anchor in self.anchors:
            cell = table.setdefault(anchor.group, {}).setdefault(anchor.split, {"prompts": 0, "tokens": 0})
            cell["prompts"] += 1
            cell["tokens"] += len(anchor.answer_ids)
        return table


def joined(sets: Sequence[AnchorSet]) -> AnchorSet:
    """Anchors of one base, and of models that were tuned from it, as one set.

    Args:
        sets: The base's own first; all with the same k.
    """
    return AnchorSet(
        [anchor for one in sets for anchor in one.anchors],
        torch.cat([one.top_ids for one in sets]),
        torch.cat([one.top_logprobs for one in sets]),
        sets[0].base,
        sets[0].revision,
    )


def load_anchors(folder: Path) -> AnchorSet:
    """Read an anchor folder.

    Raises:
        UserError: A file is missing, or the cache does not belong to the answers.
    """
    try:
        about = json.loads((folder / "anchors.json").read_text(encoding="utf-8"))
        # Not splitlines(): an answer may hold U+2028 and friends, at which that would cut.
        lines = (folder / "anchors.jsonl").read_text(encoding="utf-8").rstrip("\n").split("\n")
        tensors = load_file(folder / "topk.safetensors")
    except FileNotFoundError as error:
        raise UserError(
            f"not a folder of anchors: {Path(error.filename or folder).name} is missing",
            where=str(folder),
            fix="make one with `tether anchors --base BASE --out DIR`",
        ) from error
    loaded = AnchorSet(
        [Anchor(**json.loads(line)) for line in lines],
        tensors["ids"],
        tensors["logprobs"],
        about["base"],
        about["revision"],
    )
    if loaded.sha256 != about["sha256"] or loaded.offsets[-1] != len(loaded.top_ids):
        raise UserError(
            "the anchors were changed after they were made", where=str(folder), fix="make them again"
        )
    for group in loaded.groups:
        if missing := [split for split in SPLITS if not loaded.indices(group, split)]:
            raise UserError(
                f"the anchor group '{group}' has nothing to {missing[0]} on",
                where=str(folder),
                fix=f"give every group anchors of the splits {', '.join(SPLITS)}",
            )
    return loaded
