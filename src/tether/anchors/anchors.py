"""Anchors: prompts with the base's own answers.

A folder of anchors holds ``anchors.jsonl`` (readable) and ``anchors.json`` (where they came from).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tether.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

SPLITS = ("train", "select", "certify")


@dataclass(frozen=True)
class Anchor:
    """One prompt and the base's own answer to it.

    Attributes:
        group: "general", "safety", "text" (without the chat template), "domain-safety", or a group that the
            user names.
        split: "train", "select" (multipliers and rewind) or "certify" (read once, for the certificate).
        prompt: The user turn as text, or the text that is gone on with.
        prompt_ids: The prompt as the model reads it, up to where the answer begins.
        answer_ids: The answer, with its end-of-turn token where the base gave one.
        opening: Tokens of the prompt that the domain's dialogues open with too. Training is there to read
            them, so the geometry does not keep away from what they are.
    """

    group: str
    split: str
    prompt: str
    answer: str
    prompt_ids: list[int]
    answer_ids: list[int]
    opening: int = 0

    def row(self) -> dict[str, Any]:
        """As it is written; by most no opening is shared, and these are written as before there was any."""
        found = asdict(self)
        return found if self.opening else {key: value for key, value in found.items() if key != "opening"}


@dataclass(frozen=True)
class AnchorSet:
    """Anchors of one base.

    Attributes:
        anchors: The anchors.
        base: Name of the base that answered.
        revision: Its revision.
        nats: How unlikely the base finds its own answers by group, mean nats per token of the select split.
            By this the base is known again.
    """

    anchors: Sequence[Anchor]
    base: str
    revision: str
    nats: dict[str, float] = field(default_factory=dict)

    @cached_property
    def groups(self) -> list[str]:
        """Group names in the order of their first anchor."""
        return list(dict.fromkeys(anchor.group for anchor in self.anchors))

    @cached_property
    def sha256(self) -> str:
        """Checksum of prompts and answers, as `drift.json` names them."""
        digest = hashlib.sha256()
        for anchor in self.anchors:
            digest.update(json.dumps(anchor.row(), sort_keys=True).encode())
        return digest.hexdigest()

    def without(self, group: str) -> AnchorSet:
        """The same without a group.

        Raises:
            UserError: There is no such group, or no other.
        """
        if group not in self.groups or len(self.groups) == 1:
            raise UserError(f"of {', '.join(self.groups)} no group '{group}' can be left out")
        return replace(self, anchors=[anchor for anchor in self.anchors if anchor.group != group])

    def indices(self, group: str, split: str) -> list[int]:
        """Positions of one group's anchors of one split."""
        return [i for i, anchor in enumerate(self.anchors) if (anchor.group, anchor.split) == (group, split)]

    def save(self, folder: Path) -> None:
        """Write the files of an anchor folder."""
        folder.mkdir(parents=True, exist_ok=True)
        lines = (json.dumps(anchor.row(), ensure_ascii=False) for anchor in self.anchors)
        (folder / "anchors.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        about = {
            "base": self.base,
            "revision": self.revision,
            "sha256": self.sha256,
            "nats": self.nats,
            "counts": self.counts(),
        }
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
    """Anchors of one base, and of models that were tuned from it, as one set; the base's own come first."""
    return replace(
        sets[0],
        anchors=[anchor for one in sets for anchor in one.anchors],
        nats={group: nats for one in sets for group, nats in one.nats.items()},
    )


def load_anchors(folder: Path) -> AnchorSet:
    """Read an anchor folder.

    Raises:
        UserError: A file is missing, or the anchors are not as they were made.
    """
    try:
        about = json.loads((folder / "anchors.json").read_text(encoding="utf-8"))
        # Not splitlines(): an answer may hold U+2028 and friends, at which that would cut.
        lines = (folder / "anchors.jsonl").read_text(encoding="utf-8").rstrip("\n").split("\n")
    except FileNotFoundError as error:
        raise UserError(
            f"not a folder of anchors: {Path(error.filename or folder).name} is missing",
            where=str(folder),
            fix="make one with `tether anchors --base BASE --out DIR`",
        ) from error
    if "nats" not in about:
        raise UserError(
            "these anchors were made by an older version of tether", where=str(folder), fix="make them again"
        )
    loaded = AnchorSet(
        [Anchor(**json.loads(line)) for line in lines],
        about["base"],
        about["revision"],
        about["nats"],
    )
    if loaded.sha256 != about["sha256"]:
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
