"""Generated answers against a reference: words in common, in any order (token F1) or in order (ROUGE-L).

Both reward an answer for sounding like the reference. They are told beside the association gain, not instead.
"""

from __future__ import annotations

import re
from collections import Counter

ARTICLES = re.compile(r"\b(a|an|the)\b")


def token_f1(written: str, reference: str) -> float:
    """Token F1 as in SQuAD: lower case, without punctuation and articles."""
    found, wanted = _words(ARTICLES.sub(" ", written.lower())), _words(ARTICLES.sub(" ", reference.lower()))
    shared = sum((Counter(found) & Counter(wanted)).values())
    return 2 * shared / (len(found) + len(wanted)) if shared else 0.0


def rouge_l(written: str, reference: str) -> float:
    """ROUGE-L of one sentence (Lin 2004, equations 2 to 4) with beta 1: precision and recall weigh the same.

    Words are runs of letters and digits in lower case, articles among them and unstemmed.
    """
    found, wanted = _words(written.lower()), _words(reference.lower())
    shared = _longest_common_subsequence(found, wanted)
    return 2 * shared / (len(found) + len(wanted)) if shared else 0.0


def _longest_common_subsequence(a: list[str], b: list[str]) -> int:
    """Length of the longest run of words that both hold in this order, with gaps."""
    above = [0] * (len(b) + 1)  # best length with the words of a so far and the first so many of b
    for word in a:
        row = [0]
        for place, other in enumerate(b):
            row.append(above[place] + 1 if word == other else max(above[place + 1], row[place]))
        above = row
    return above[-1]


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text)
