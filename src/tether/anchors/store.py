"""Where a base's anchors are: the user's own, shipped with an embedded base, or made once and cached.

What the base thinks of them is asked once and cached too.
"""

from __future__ import annotations

import tempfile
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from tether import bases
from tether.anchors.anchors import AnchorSet, load_anchors
from tether.anchors.build import AnchorSettings, build_anchors, save_anchors
from tether.anchors.own import check_own, own_prompts
from tether.errors import UserError
from tether.files import cache_folder, make_once
from tether.inference import LocalModel
from tether.progress import say

if TYPE_CHECKING:
    from collections.abc import Sequence

READING = 2  # one more whenever `answer_states` is rounded otherwise: with older states that would be drift


def anchors_for(base: bases.Base, folder: Path | None = None) -> AnchorSet:
    """The anchors in ``folder``; without one, those shipped with or made for this base.

    Raises:
        UserError: The folder's anchors were answered by another base.
    """
    found = found_anchors(base, folder)
    if found is not None:
        return found
    make_once(_kept(base), lambda folder: build(base, folder))
    return load_anchors(_kept(base))


def found_anchors(base: bases.Base, folder: Path | None = None) -> AnchorSet | None:
    """As `anchors_for`, but nothing is made: None where there are no anchors yet.

    Raises:
        UserError: The folder's anchors were answered by another base.
    """
    if folder is not None:
        anchors = load_anchors(folder)
        if anchors.revision != base.revision:
            raise UserError(
                f"these anchors are the answers of {anchors.base}, not of {base.name} as it is now",
                where=str(folder),
                fix="make anchors for this base with `tether anchors`",
            )
        return anchors
    if base.name in bases.EMBEDDED:
        with resources.as_file(resources.files("tether.data") / "anchors" / base.name) as shipped:
            if shipped.is_dir() and (anchors := load_anchors(shipped)).revision == base.revision:
                return anchors
    return load_anchors(_kept(base)) if _kept(base).is_dir() else None


def base_states(base: bases.Base, anchors: AnchorSet) -> Path:
    """Where what a base thinks of its anchors is cached, as this torch in this precision computes it."""
    asked = f"{_named(base)}-{anchors.sha256[:16]}"
    computed = f"torch-{torch.__version__}-{bases.precision_name()}"
    return cache_folder() / "states" / f"{asked}-{computed}-reading-{READING}"


def _kept(base: bases.Base) -> Path:
    """Where the anchors made for a base are cached."""
    return cache_folder() / "anchors" / _named(base)


def _named(base: bases.Base) -> str:
    return f"{base.name.replace('/', '--')}-{base.revision[:16]}"


def build(
    base: bases.Base, out: Path, settings: AnchorSettings | None = None, prompts: Sequence[Path] = ()
) -> AnchorSet:
    """Make a base's anchors in ``out``; nothing half-made is left there if it is killed.

    Args:
        base: The base.
        out: The folder.
        settings: How many of what.
        prompts: Files of the user's own prompts, each of which becomes a group.

    Raises:
        UserError: A file of prompts does not fit or has too few.
    """
    own = own_prompts(prompts)
    say(f"Making anchors for {base.name} ...")
    live = LocalModel(bases.load_model(base), bases.load_tokenizer(base), base.name)
    anchors = build_anchors(live, base.revision, settings or AnchorSettings(), own)
    check_own(anchors, prompts)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        save_anchors(anchors, Path(scratch))
        out.mkdir(exist_ok=True)
        for file in Path(scratch).iterdir():
            file.replace(out / file.name)
    return anchors
