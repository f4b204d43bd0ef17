"""What a spoken turn of a booking agent does, whatever its wording: its step signature.

A signature is read alike from the gold turn and from the model's, given the dialogue so far. Three parts:

* ``asks``: what the turn asks about (place, check-in date, number of people, ...), from sentences that ask.
* ``gives``: what it states: names (hotels, addresses, cities), dates, times, telephone numbers, prices,
  counts, and yes/no facts on wifi, laundry, pets, smoking and so on. "next Friday" and "March 8th" are the
  same date where the system turn tells today's; "two" and 2 are the same number; a number agrees with any
  kind of count where its noun is missing; of two names one may be a shorter form of the other.
* ``flags``: ``booked`` (or changed as wished), ``failed``, ``confirm`` (reads a stay back, or asks whether it
  is right), ``offers`` (to book; not counted beside ``confirm``, nor beside a hotel just presented), ``more``
  (anything else?), ``cancel``, ``cancelled``, ``kept``; ``bye`` and ``greet`` where nothing else is said.

Two signatures agree if asks and flags are equal and every value of each agrees with one of the other. A name
that the guest's last turn or the agent's latest calls have just used need not be said again, nor a count of
one beside a name, except where a stay is read back. A turn out of which nothing can be read has an empty
signature; then half of its words must agree. Which value belongs to which (the price to the first hotel or
the second) is not read.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tether.axes import lexicon
from tether.axes.values import Reader, Value, plain
from tether.chatdata.chats import Message, calls_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ASKED = lexicon.union(lexicon.ASKED)
FEATURES = lexicon.union(lexicon.FEATURES)
OTHER_FLAGS = lexicon.union(lexicon.OTHER_FLAGS)
STAY = {"date", "people", "rooms", "nights"}
ONE = Value("count", "1")  # "I found one hotel, the Ritz" counts no more than "I found the Ritz"


@dataclass(frozen=True)
class Step:
    """A turn's signature; ``optional`` are names that need not be said."""

    asks: frozenset[str] = frozenset()
    gives: frozenset[Value] = frozenset()
    flags: frozenset[str] = frozenset()
    optional: frozenset[Value] = field(default=frozenset(), compare=False)

    @property
    def empty(self) -> bool:
        """Whether nothing could be read."""
        return not (self.asks or self.gives or self.flags)

    @property
    def closing(self) -> bool:
        """Whether the turn only greets or takes leave."""
        return not (self.asks or self.gives) and bool(self.flags) and self.flags <= {"bye", "greet"}

    def agrees(self, other: Step) -> bool:
        """Whether both turns are the same step."""
        same = self.asks == other.asks and self.flags == other.flags
        return same and not (self.lacks(other) or other.lacks(self))

    def lacks(self, other: Step) -> list[Value]:
        """Values of ``other`` that this turn does not give and should."""
        told = self.gives
        if "confirm" not in self.flags | other.flags:
            told = told | self.optional | other.optional
        return [value for value in other.gives if not any(value.agrees(mine) for mine in told)]


def read_step(text: str, before: Sequence[Message]) -> Step:
    """The signature of a spoken turn.

    Args:
        text: What is said.
        before: The dialogue before it.
    """
    reader = Reader(before)
    sentences = _sentences(text)
    facts = set().union(*(_facts(sentence) for sentence in sentences)) or _answer(text, before)
    gives = reader.read(text) | facts
    asks = set().union(*(_asks(sentence, reader) for sentence in sentences))
    flags = _flags(sentences, gives, asks)
    if not (asks or gives - _just_used(gives, before) or flags):
        lowered = text.lower()
        flags |= {"bye"} if re.search(lexicon.CLOSING, lowered) and "?" not in text else set()
        flags |= {"greet"} if re.search(lexicon.GREETING, lowered) and not flags else set()
    return Step(frozenset(asks), frozenset(gives), frozenset(flags), frozenset(_just_used(gives, before)))


def same_step(gold: str, said: str, before: Sequence[Message]) -> bool:
    """Whether ``said`` makes the same step as ``gold`` after the dialogue ``before``."""
    if not said.strip():
        return False
    wanted = read_step(gold, before)
    if wanted.empty:
        return word_f1(gold, said) >= 0.5
    return wanted.agrees(read_step(said, before))


def word_f1(left: str, right: str) -> float:
    """F1 over the words of two texts."""
    mine, theirs = Counter(plain(left).split()), Counter(plain(right).split())
    shared = sum((mine & theirs).values())
    return 2 * shared / max(1, mine.total() + theirs.total())


def _sentences(text: str) -> list[str]:
    """Sentences in lower case; a point within a number or an abbreviation does not end one."""
    lowered = text.lower().replace("’", "'")
    parts = re.split(r"(?<=[!?])\s*|(?<=[a-z\d)]{2}\.)\s*(?=[a-z ])|\n|;", lowered)
    return [part.strip() for part in parts if part.strip()]


def _facts(sentence: str) -> set[Value]:
    """Features that a statement affirms or denies."""
    if "?" in sentence:
        return set()
    facts = set()
    for clause in re.split(r",|\bbut\b|\band\b(?=.*\b(?:do|does|is|are|has|have|it|they|there)\b)", sentence):
        for feature, pattern in FEATURES.items():
            if pattern.search(clause):
                facts.add(Value(feature, "no" if re.search(lexicon.NEGATION, clause) else "yes"))
    return facts


def _answer(text: str, before: Sequence[Message]) -> set[Value]:
    """A bare yes or no answers the features that the guest has just asked about."""
    answer = re.match(lexicon.ANSWER, text.lower())
    asked = _last(before, "user").lower()
    if not answer or "?" in text.split(".")[0]:
        return set()
    verdict = "no" if re.search(lexicon.NEGATION, answer[0]) else "yes"
    return {Value(feature, verdict) for feature, pattern in FEATURES.items() if pattern.search(asked)}


def _asks(sentence: str, reader: Reader) -> set[str]:
    if not re.search(lexicon.ASKING, sentence) or not re.search(lexicon.SEEKING, sentence):
        return set()
    values = reader.read(sentence)
    if re.search(lexicon.MORE, sentence) or values and re.search(lexicon.CONFIRMING, sentence):
        return set()
    if any(value.kind in STAY | {"stars"} for value in values):
        return set()
    slots = {slot for slot, pattern in ASKED.items() if pattern.search(sentence)}
    return slots - {"choice"} or slots


def _flags(sentences: Sequence[str], gives: set[Value], asks: set[str]) -> set[str]:
    found = set().union(*(_sentence_flags(sentence) for sentence in sentences))
    kinds = {value.kind for value in gives}
    if "booked" in found and "failed" in found:
        found.discard("booked")
    if kinds & STAY and not asks and not (found & {"booked", "failed"} and "confirm" not in found):
        found = (found | {"confirm"}) - {"booked", "failed"}
    elif "confirm" in found and (kinds - {"name"} or asks or "booked" in found):
        found.discard("confirm")
    presents = "name" in kinds and "stars" in kinds or "count" in kinds
    if "confirm" in found or presents or asks:
        found.discard("offers")
    if found & {"booked", "failed"} or presents:
        found.discard("confirm")
    return found


def _sentence_flags(sentence: str) -> set[str]:
    if _offers_more(sentence):
        return {"more"} | ({"failed"} if _failed(sentence) else set())
    flags = {name for name, pattern in OTHER_FLAGS.items() if pattern.search(sentence)}
    if re.search(lexicon.CANCELLING, sentence):
        return flags | {"cancel"}
    if re.search(lexicon.CONFIRMING, sentence):
        return flags | {"confirm"} | ({"booked"} if re.search(lexicon.BOOKED, sentence) else set())
    if "?" in sentence or re.match(r"(do|would|shall|should|want) ", sentence):
        return flags | ({"offers"} if re.search(lexicon.OFFERING, sentence) else set())
    if _failed(sentence):
        return flags | {"failed"}
    return flags | ({"booked"} if re.search(lexicon.BOOKED, sentence) else set())


def _offers_more(sentence: str) -> bool:
    """Anything else? But "let me know if you need anything else" takes leave."""
    asks = re.search(lexicon.MORE, sentence) and re.search(lexicon.ASKING, sentence)
    return bool(asks) and not ("?" not in sentence and re.search(r"\bif (you|there)\b", sentence))


def _failed(sentence: str) -> bool:
    """Bad news, unless it is that some feature is missing."""
    feature = any(pattern.search(sentence) for pattern in FEATURES.values())
    return not feature and re.search(lexicon.FAILED, sentence) is not None


def _just_used(gives: Iterable[Value], before: Sequence[Message]) -> set[Value]:
    """Names that the guest or the agent's last calls have just used, and the one of "one hotel, the Ritz"."""
    calls = [str(value) for m in before for call in calls_of(m) for value in call.arguments.values()]
    used = f" {plain(_last(before, 'user'))} | {' | '.join(map(plain, calls[-8:]))} "
    named = {value for value in gives if value.kind in ("name", "code") and f" {value.text} " in used}
    return named | {value for value in gives if value == ONE and any(other.kind == "name" for other in gives)}


def _last(before: Sequence[Message], role: str) -> str:
    return next((str(message["content"]) for message in reversed(before) if message["role"] == role), "")
