"""An evaluation that was killed goes on behind the axes that it had measured."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from tether.files import read_json, write_json
from tether.results import read_items, write_items

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tether.axes.registry import Loaded
    from tether.results import Item


class UnderWay:
    """The items of an evaluation under way, axis by axis.

    Args:
        folder: Where the items go. Until the evaluation is done a file there says what was asked, and of
            which axes the items are whole; where something else was asked, all are measured.
        asked: Whatever the items depend on, as JSON has it.
    """

    def __init__(self, folder: Path, asked: Mapping[str, Any]) -> None:
        self._folder, self._file, self._asked = folder, folder / "underway.json", asked
        told = read_json(self._file)
        self._measured: list[str] = told["measured"] if told and told["asked"] == asked else []

    def items(self, axis: str, measure: Callable[[], list[Item]]) -> list[Item]:
        """The axis's items, measured unless they were before."""
        path = self._folder / f"{axis}.jsonl"
        if axis in self._measured:
            return read_items(path)
        items = measure()
        write_items(path, items)
        self._measured.append(axis)
        write_json(self._file, {"asked": self._asked, "measured": self._measured})
        return items

    def done(self) -> None:
        """Asked again, the evaluation is measured anew."""
        self._file.unlink(missing_ok=True)


def questions(loaded: Loaded) -> dict[str, str]:
    """Checksums of what is asked on each axis: a file may say something else when it is read again."""
    return {axis: hashlib.sha256(repr(wanted).encode()).hexdigest() for axis, wanted in loaded.items()}
