"""Prompts that stand in two sets at once: what is measured must not have been trained on."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tether.chatdata.chats import Chat

SHINGLE = 5  # words
NEAR = 0.8  # share of shingles in common
CONTAINABLE = 4  # shingles; fewer stand in another text by chance, as "what is the best way to" does

Text = tuple[str, str]
"""Id and text."""

Shingle = tuple[str, ...]


@dataclass(frozen=True)
class Leak:
    """One text of ``a`` that stands, exactly or nearly, in ``b``."""

    kind: Literal["exact", "near"]
    a: str
    b: str
    id_a: str
    id_b: str
    text: str


def normalise(text: str) -> str:
    """What two texts share when they differ in case, punctuation and white space alone."""
    return " ".join(re.findall(r"\w+", text.casefold()))


def find_leaks(measured: Mapping[str, Iterable[Text]], seen: Mapping[str, Iterable[Text]]) -> list[Leak]:
    """Texts of the measured sets that stand in sets that a model has seen.

    Two texts are nearly the same if four fifths of the shorter one's runs of five words stand in the longer
    one, or, where that is short, if four fifths of all their runs are the same (Jaccard).

    Args:
        measured: Evaluation sets by name.
        seen: Training, alignment and anchor sets by name.

    Returns:
        At most one leak for each measured text and seen set, the exact ones first.
    """
    indices = {name: _Index(texts) for name, texts in seen.items()}
    leaks = [
        Leak(kind, a, b, id_a, id_b, text)
        for a, texts in measured.items()
        for id_a, text in texts
        for b, index in indices.items()
        for kind, id_b in index.find(text)
    ]
    return sorted(leaks, key=lambda leak: leak.kind)


def user_words(chats: Sequence[Chat]) -> list[Text]:
    """Each dialogue by all that its user says."""
    return [
        (chat.id, " ".join(message["content"] for message in chat.messages if message["role"] == "user"))
        for chat in chats
    ]


class _Index:
    """Finds a text among many by its words and by its runs of five words."""

    def __init__(self, texts: Iterable[Text]) -> None:
        self.exact: dict[str, str] = {}
        self.ids: list[str] = []
        self.sizes: list[int] = []
        self.holders: dict[Shingle, list[int]] = defaultdict(list)
        for id_, text in texts:
            words = normalise(text)
            if words and self.exact.setdefault(words, id_) == id_:
                self._add(id_, _shingles(words))

    def _add(self, id_: str, shingles: set[Shingle]) -> None:
        for shingle in shingles:
            self.holders[shingle].append(len(self.ids))
        self.ids.append(id_)
        self.sizes.append(len(shingles))

    def find(self, text: str) -> list[tuple[Literal["exact", "near"], str]]:
        words = normalise(text)
        if words in self.exact:
            return [("exact", self.exact[words])]
        shingles = _shingles(words)
        shared = Counter(number for shingle in shingles for number in self.holders.get(shingle, ()))
        overlaps = {
            number: _overlap(count, len(shingles), self.sizes[number]) for number, count in shared.items()
        }
        best = max(overlaps, key=lambda number: overlaps[number], default=None)
        return [("near", self.ids[best])] if best is not None and overlaps[best] >= NEAR else []


def _overlap(shared: int, mine: int, theirs: int) -> float:
    """Containment of the shorter text in the longer one, or Jaccard where that would mean little."""
    shorter = min(mine, theirs)
    return shared / shorter if shorter >= CONTAINABLE else shared / (mine + theirs - shared)


def _shingles(words: str) -> set[Shingle]:
    split = words.split()
    return {tuple(split[i : i + SHINGLE]) for i in range(len(split) - SHINGLE + 1)}
