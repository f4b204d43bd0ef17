"""What the small classifier sees of an answer: word n-grams of its opening, and the prompt's words in it."""

from __future__ import annotations

import re
import zlib
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from tether.axes.judges.rules import content

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tether.axes.judges.protocol import Exchange

OPENING_WORDS = 40
BUCKETS = 1 << 14
COLUMNS = BUCKETS + 1
"""N-grams by hash, then the share of the prompt's words that the opening takes up.

Not the answer's length: that is a model's habit, and a model to be judged has habits of its own."""
_WORD = re.compile(r"[a-z0-9]+(?:'[a-z]+)?|[.!?:]")


def opening(exchange: Exchange) -> list[str]:
    """The answer's first words and sentence marks; a word of the prompt is a blank.

    What was asked for is not to be learned: the classifier would know the prompts that are refused by name.
    """
    asked = content(exchange.prompt)
    return ["^", *("_" if word[:5] in asked else word for word in _first_words(exchange.answer))]


def _first_words(answer: str) -> list[str]:
    return _WORD.findall(answer.lower().replace("’", "'"))[:OPENING_WORDS]


def ngrams(exchange: Exchange) -> dict[str, int]:
    """The opening's single words and pairs of words, each with its bucket."""
    words = opening(exchange)
    found = [*words, *map(" ".join, zip(words, words[1:], strict=False))]
    return {gram: zlib.crc32(gram.encode()) % BUCKETS for gram in found}


def features(exchanges: Sequence[Exchange]) -> sparse.csr_matrix:
    """All that is seen of answers, float64 of shape (answers, COLUMNS); a row's n-grams have length 1."""
    rows = sparse.lil_matrix((len(exchanges), COLUMNS))
    for row, exchange in enumerate(exchanges):
        buckets = sorted(set(ngrams(exchange).values()))
        rows[row, buckets] = 1 / np.sqrt(len(buckets))
        asked, said = content(exchange.prompt), content(" ".join(_first_words(exchange.answer)))
        rows[row, BUCKETS] = len(asked & said) / max(1, len(asked))
    return rows.tocsr()
