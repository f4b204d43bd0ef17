"""Prompts that stand in two sets at once: what is measured must not have been trained on."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tether.chatdata.chats import Chat

SHINGLE = 5  # words
NEAR = 0.8  # share of the shorter text's shingles that the other has too

Text = tuple[str, str]
"""Id and text."""


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
    return " ".join(re.findall(r"\w+", text.lower()))


def find_leaks(measured: Mapping[str, Iterable[Text]], seen: Mapping[str, Iterable[Text]]) -> list[Leak]:
    """Texts of the measured sets that stand in sets that a model has seen.

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
        self.shingles: dict[tuple[str, ...], list[str]] = defaultdict(list)
        self.sizes: dict[str, int] = {}
        for id_, text in texts:
            words = normalise(text)
            self.exact.setdefault(words, id_)
            shingles = _shingles(words)
            self.sizes[id_] = len(shingles)
            for shingle in shingles:
                self.shingles[shingle].append(id_)

    def find(self, text: str) -> list[tuple[Literal["exact", "near"], str]]:
        words = normalise(text)
        if words in self.exact:
            return [("exact", self.exact[words])]
        shingles = _shingles(words)
        shared = Counter(id_ for shingle in shingles for id_ in self.shingles.get(shingle, ()))
        for id_, count in shared.most_common(1):
            if count >= NEAR * min(len(shingles), self.sizes[id_]):
                return [("near", id_)]
        return []


def _shingles(words: str) -> set[tuple[str, ...]]:
    split = words.split()
    return {tuple(split[i : i + SHINGLE]) for i in range(len(split) - SHINGLE + 1)}
