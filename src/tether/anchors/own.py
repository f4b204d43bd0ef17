"""A user's own prompts as further anchor groups, each with a budget and a certificate of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tether.anchors.prompts import fingerprint
from tether.errors import UserError
from tether.names import ANCHOR_GROUPS
from tether.sources.rows import read_rows

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tether.anchors.anchors import AnchorSet

# What certifies a group: with fewer, the interval around its drift is wider than most budgets.
CERTIFY_PROMPTS, CERTIFY_TOKENS = 100, 2_000
SHARES = {"certify": 0.4, "select": 0.3, "train": 0.3}


def own_prompts(files: Sequence[Path]) -> dict[str, list[str]]:
    """By group, which is named after its file, the prompts without near-copies of each other.

    Args:
        files: JSONL or CSV, each row with a ``prompt``.

    Raises:
        UserError: A file does not fit, has too few prompts, or a group of its name is there already.
    """
    found: dict[str, list[str]] = {}
    for file in files:
        if file.stem in (*ANCHOR_GROUPS, *found):
            raise UserError(
                f"there is a group of anchors called '{file.stem}' already",
                where=str(file),
                fix="a group is named after its file: rename it",
            )
        texts = [row.text("prompt") for row in read_rows(file)]
        found[file.stem] = list({fingerprint(text): text for text in texts}.values())
        fewest = round(CERTIFY_PROMPTS / SHARES["certify"])
        if len(found[file.stem]) < fewest:
            raise UserError(
                f"there are {len(found[file.stem])} different prompts here, too few to certify a group",
                where=str(file),
                fix=f"give {fewest} or more, of which {CERTIFY_PROMPTS} certify",
            )
    return found


def own_sizes(count: int) -> dict[str, int]:
    """How many of so many prompts go to each split."""
    certify, select = (round(SHARES[split] * count) for split in ("certify", "select"))
    return {"certify": certify, "select": select, "train": count - certify - select}


def check_own(anchors: AnchorSet, files: Sequence[Path]) -> None:
    """See whether the base answered each file's prompts at length.

    Raises:
        UserError: So few words certify nothing.
    """
    counts = anchors.counts()
    for file in files:
        tokens = counts[file.stem]["certify"]["tokens"]
        if tokens < CERTIFY_TOKENS:
            raise UserError(
                f"the base answers {counts[file.stem]['certify']['prompts']} of these prompts in {tokens} "
                f"tokens together, too few to certify a group",
                where=str(file),
                fix=f"give more prompts, or such as have longer answers: {CERTIFY_TOKENS} tokens certify",
            )
