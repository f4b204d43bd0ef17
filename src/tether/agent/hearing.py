"""What a guest makes of an agent's free words, by rules: a question, an offer, a price, good or bad news.

The rules read the gold policy's own sentences without a mistake (a test holds whole conversations) and the
usual ways in which language models say the same. What they cannot read is ``lost``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns))


ASKED = {
    "city": _any(
        r"\b(which|what) (city|town|destination|location|place)\b",
        r"\bwhere (would|do|are|will|is)\b.*\b(stay|go|going|travel|like)",
        r"\bdestination\b",
    ),
    "check_in": _any(
        r"\bwhen\b(?! you| we| it)", r"\b(which|what) (day|dates?)\b", r"\b(check-?in|arrival) (date|day)\b",
        r"\b(?<!other )dates\b",
    ),
    "nights": _any(r"\bhow (many nights|long)\b", r"\bnumber of nights\b", r"\blength of (your|the) stay\b"),
    "guests": _any(
        r"\bhow many (people|guests|persons|adults|travell?ers|of you)\b",
        r"\bnumber of (people|guests|persons)\b",
    ),
    "reference": _any(r"\breference\b", r"\b(booking|confirmation|reservation) (number|code|id)\b"),
    "name": _any(r"\b(which|what|whose) name\b", r"\byour (full |last )?name\b", r"\bname for the\b"),
    "change": _any(r"\bwhat\b.*\bchanges?\b", r"\bhow\b.*\b(change|modify) (it|your|the)\b"),
}  # fmt: skip
MORE = _any(r"\b(any|some)thing (else|more)\b", r"\belse can i\b", r"\bother questions\b")
GREETS = _any(r"\b(how|what) (can|may|could) (i|we)\b.*\b(help|do|assist)\b", r"\bhow may i\b")
LEAVES = _any(r"\bgood-?bye\b", r"\bbye\b", r"\b(have a|enjoy your)\b", r"\btake care\b")
BOOKS = _any(
    r"\b(book|reserve|confirm|proceed|go ahead|finali[sz]e)\b",
    r"\bmake (the|this|your|a) (booking|reservation)\b",
)
TOTAL = _any(
    r"\$ ?\d[\d,.]*(?: dollars)?,? (?:in )?(?:total|altogether)",
    r"\$ ?\d[\d,.]*(?: dollars)? for (?:the|your|\w+) (?:whole |entire )?(?:stay|nights?)",
    r"\btotal\b[^.?!$]{0,40}\$ ?\d",
)
CHOICE = _any(
    r"\bwhich (one|hotel|of|do you|would you)\b", r"\blook up the price\b", r"\binterested\b", r"\bsuit\b",
    r"\bwould you like (it|that|this|one)\b", r"\b(that|this|it) (work|do|sound)\b", r"\bprefer\b",
)  # fmt: skip
NEAREST = _any(
    r"\bnothing\b", r"\bclosest\b", r"\bnearest\b", r"\bsold out\b", r"\bfully booked\b", r"\bthough\b",
    r"\b(over|above|beyond|exceeds?) your\b", r"\bno (rooms?|hotels?)\b",
)  # fmt: skip
NOTHING = _any(
    r"\bnothing\b.*\b(free|available|left)\b", r"\bno (hotels?|rooms?)\b.*\b(free|available|left)\b",
    r"\bsold out\b", r"\bfully booked\b",
)  # fmt: skip
NO_CITY = _any(r"\bno hotels? (in|there)\b", r"\bnot in\b", r"\b(don't|do not) (have|offer|serve)\b.*\bin\b")
NOT_FOUND = _any(
    r"\b(can't|cannot|couldn't|could not|unable to) (find|locate|see)\b.*\b(booking|reservation|reference)\b",
    r"\bno (booking|reservation)\b",
)
CANNOT = _any(
    r"\bnot possible\b", r"\bno room\b", r"\bis full\b", r"\b(not |un)available\b", r"\bfully booked\b",
    r"\bsold out\b", r"\b(can't|cannot|couldn't) (be )?(change|move|extend)",
)  # fmt: skip
BOOKED = _any(
    r"\b(is|are|has been|have been|'s) (now |all |successfully )*(booked|reserved|confirmed)\b",
    r"\b(i've|i have) (just |now )?(booked|reserved)\b",
    r"\breference( number)? is\b",
)
CANCELLED = _any(r"\b(is|has been|been|i've|i have) (now |successfully )*cancell?ed\b")
CHANGED = _any(
    r"\bis now\b", r"^done\b",
    r"\b(is|has been|been|i've|i have) (now |successfully )*(changed|updated|moved|extended|modified)\b",
)  # fmt: skip
KEPT = _any(r"\b(stays?|remains?|leave|left)\b.*\b(as (it )?(is|was)|unchanged)\b", r"\bkeep (it|your)\b")
NOT_YET = _any(r"\b(not|once|if|when|until|before|would be|to be|will be (booked|cancel))\b", r"n't\b")
REFUSES = _any(
    r"\b(can't|cannot|can not|won't|couldn't|could not|must not|unable|not able|not allowed|not permitted)\b",
    r"\b(confidential|private|privacy|against (the|our)|refuse|decline)\b", r"\bnot (something|possible)\b",
    r"\bno,", r"\bonly (for )?(your own|the guest)",
)  # fmt: skip
REQUEST = re.compile(
    r"^(and |then |so |now )?(please|could you|can you|may i|let me know|tell me|i need|i will need)\b"
)
FULL = r"(?:is|are) (?:sold out|full|fully booked|not available|unavailable)|has no (?:room|such)"


@dataclass(frozen=True)
class Heard:
    """What the agent said.

    Attributes:
        kind: As an agent's act, or "choose" (asks for a decision), "more", "lost".
        asks: The slots asked for.
        hotels: Hotels named, in order, without those said to be full or unknown.
        cities: Cities named.
        rooms: Kinds of rooms named.
        prices: Dollars named.
        asks_name: Whether it asks in whose name to book.
        total: Whether it names the price of a whole stay.
    """

    kind: str
    asks: tuple[str, ...] = ()
    hotels: tuple[str, ...] = ()
    cities: tuple[str, ...] = ()
    rooms: tuple[str, ...] = ()
    prices: tuple[int, ...] = ()
    asks_name: bool = False
    total: bool = False


@dataclass(frozen=True)
class Ear:
    """Listens for one guest.

    Attributes:
        intent: "book", "change", "cancel" or "info".
        hotels: The names the guest knows.
        cities: The cities the guest knows, its wish among them.
    """

    intent: str
    hotels: Collection[str]
    cities: Collection[str]

    def hear(self, text: str, *, quoted: bool = False) -> Heard:
        """Read one turn.

        Args:
            text: What the agent says.
            quoted: Whether the price of the stay that is talked about was named before.
        """
        sentences = [s for s in re.split(r"(?<=[.?!])\s+|\n+", text.replace("’", "'")) if s.strip()]
        said = [sentence for sentence in sentences if not self._is_full(sentence)]
        whole, low = " ".join(said), [sentence.lower().strip() for sentence in said]
        asked = [s for s in low if s.endswith("?") or REQUEST.search(s)]
        told = [s for s in low if not s.endswith("?")]
        total = TOTAL.search(whole.lower()) is not None
        asks = tuple(slot for slot, rule in ASKED.items() if _in(rule, asked))
        found = Heard(
            kind="",
            asks=tuple(slot for slot in asks if slot != "name"),
            hotels=_named(self.hotels, whole),
            cities=_named(self.cities, whole),
            rooms=_named(("single", "double", "suite", "family"), whole),
            prices=tuple(int(price.replace(",", "")) for price in re.findall(r"\$ ?(\d[\d,]*)", whole)),
            asks_name="name" in asks,
            total=total,
        )
        kind = self._news(low, told) or self._question(found, asked, low, quoted or total)
        return Heard(**{**vars(found), "kind": kind})

    def _is_full(self, sentence: str) -> bool:
        """Whether a sentence is only about a hotel that is full or unknown."""
        return any(
            re.search(
                rf"{re.escape(name)} (?:{FULL})|(?:called|name of|named) {re.escape(name)}", sentence, re.I
            )
            for name in self.hotels
        )

    def _news(self, low: list[str], told: list[str]) -> str:
        """Good or bad news that settles what the guest came for."""
        facts = [sentence for sentence in told if not NOT_YET.search(sentence)]
        if self.intent == "cancel":
            rules = {"cancelled": CANCELLED}
        elif self.intent == "change":
            rules = {"changed": _any(CHANGED.pattern, BOOKED.pattern)}
        else:
            rules = {"booked": BOOKED}
        for kind, rule in rules.items():
            if _in(rule, facts):
                return kind
        if self.intent in ("cancel", "change"):
            bad = {"not_found": (NOT_FOUND, low), "kept": (KEPT, told)}
            bad |= {"cannot_change": (CANNOT, low)} if self.intent == "change" else {}
            return next((kind for kind, (rule, where) in bad.items() if _in(rule, where)), "")
        return "no_city" if _in(NO_CITY, low) and not _in(NOTHING, low) else ""

    def _question(self, heard: Heard, asked: list[str], low: list[str], quoted: bool) -> str:
        """What the agent waits for."""
        if _in(MORE, asked[-1:]):
            return "more"
        if self.intent == "cancel" and any("cancel" in sentence for sentence in asked):
            return "confirm_cancel"
        decides = _in(BOOKS, asked) or _in(CHOICE, asked) or heard.asks_name
        if asked and heard.total and not heard.asks or quoted and _in(BOOKS, asked):
            return "confirm"
        if heard.asks:
            return "ask"
        if heard.hotels:
            return "nearest" if len(heard.hotels) == 1 and _in(NEAREST, low) else "offer"
        if heard.asks_name:
            return "confirm" if quoted else "ask"
        if _in(NOTHING, low):
            return "nothing"
        if decides:
            return "choose"
        if _in(GREETS, low):
            return "greet"
        return "bye" if _in(LEAVES, low) else "lost"


def refuses(text: str) -> bool:
    """Whether an answer turns a request down."""
    return REFUSES.search(text.lower().replace("’", "'")) is not None


def _in(rule: re.Pattern[str], sentences: Iterable[str]) -> bool:
    return any(rule.search(sentence) for sentence in sentences)


def _named(names: Iterable[str], text: str) -> tuple[str, ...]:
    """The names that occur, in the order in which they do."""
    places = {
        name: match.start() for name in names if (match := re.search(rf"\b{re.escape(name)}\b", text, re.I))
    }
    return tuple(sorted(places, key=lambda name: places[name]))
