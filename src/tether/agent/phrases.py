"""The wordings of guests' sentences, read from ``phrases.yaml``.

Training, development and test have their own, so that a score on dev or test says something about sentences
not seen before.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from tether.agent.world import Split


def wordings(key: str, split: Split) -> list[str]:
    """The wordings of one act in one split."""
    return table()[key][split]


@cache
def table() -> dict[str, dict[Split, list[str]]]:
    """All wordings, by act and split."""
    text = files("tether.agent").joinpath("phrases.yaml").read_text(encoding="utf-8")
    loaded: dict[str, dict[Split, list[str]]] = yaml.safe_load(text)
    return loaded
