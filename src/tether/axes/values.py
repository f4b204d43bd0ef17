"""Values that a text states: names, dates, times, telephone numbers, prices, counts and yes/no facts.

A value is a ``Value(kind, text)``. The kind is empty where the words around a number do not say what it
counts; such a number agrees with any kind.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from tether.axes import lexicon
from tether.chatdata.chats import Message, calls_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

FIGURE = r"\d[\d,]*(?:\.\d+)?"
NUMBER = rf"{FIGURE}|{'|'.join(lexicon.NUMBERS)}"
MONTH = rf"(?:{'|'.join(f'{name[:3]}(?:{name[3:]})?' for name in lexicon.MONTHS)}|sept)\.?"
SHORT_MONTHS = [name[:3] for name in lexicon.MONTHS]
DATES = tuple(
    re.compile(pattern)
    for pattern in (
        r"\b(?P<year>\d{4})-(?P<m>\d\d)-(?P<d>\d\d)\b",
        rf"\b(?P<month>{MONTH}) (?:the )?(?P<d>\d{{1,2}})(?:st|nd|rd|th)?\b(?!:)",
        rf"\b(?:the )?(?P<d>\d{{1,2}})(?:st|nd|rd|th)?(?: of)? (?P<month>{MONTH})(?=\W|$)",
        r"\b(?P<after>(?:the )?day after tomorrow)\b",
        r"\b(?P<tomorrow>tomorrow)\b",
        r"\b(?P<today>today|tonight)\b(?!\?)",
        r"\b(?:starting|arriving|check(?:ing)?[- ]in|from|for|on) (?P<today>today|tonight)\b",
        rf"\b(?:next |this |coming |on |upcoming )*(?P<weekday>{'|'.join(lexicon.DAYS)})\b(?: next week)?",
        r"\b(?:the )?(?P<d>\d{1,2})(?:st|nd|rd|th)\b(?! (street|avenue|floor))",
    )
)
PHONE = re.compile(r"\+?\(?\d[\d\s().-]{6,}\d")
CODE = re.compile(r"\b[a-z]{1,3}\d{3,}\b")
TIME = re.compile(r"\b(\d{1,2})(?::(\d\d))? ?(am|pm|a\.m\.|p\.m\.|o'clock)(?=\W|$)|\b(\d{1,2}):(\d\d)\b")
PRICE = re.compile(rf"(?:\$|usd ?|rs\.? ?|£|€) ?({FIGURE})|({FIGURE}) ?(?:dollars?|usd|bucks|per night)")
COUNTED = {kind: re.compile(rf"\b(?P<n>{NUMBER})[- ](?:{noun})\b") for kind, noun in lexicon.UNITS.items()}
LED = {
    kind: re.compile(rf"\b(?:{lead})\b(?:{lexicon.LINKS})* ?(?P<n>{FIGURE})\b")
    for kind, lead in lexicon.LEADS.items()
}
BARE = re.compile(rf"\b(?P<n>{FIGURE})\b")
NAME = re.compile(
    r"(?:\d[\d-]* )?[A-Z0-9][\w'&.-]*"
    r"(?:(?:,? (?:by|of|the|and|de|la|&))*,? (?:[A-Z][\w'&.-]*|\d+(?= [A-Z])))*"
)
VERDICTS = {"yes", "no", "true", "false", "dontcare"}  # said as facts, in other words
MONTH_NAME = re.compile(MONTH)
CITIES = {other: city for city, others in lexicon.ALIASES.items() for other in others.split("|")}


@dataclass(frozen=True)
class Value:
    """One stated value; ``kind`` is empty where it cannot be told."""

    kind: str
    text: str

    def agrees(self, other: Value) -> bool:
        """The same value, or names of which one is a shorter form of the other."""
        if self.kind == other.kind == "name":
            mine, theirs = set(self.text.split()), set(other.text.split())
            return mine <= theirs or theirs <= mine
        return self.text == other.text and (self.kind == other.kind or "" in (self.kind, other.kind))


def plain(text: str) -> str:
    """Lower-case words with single spaces; a city by its first name."""
    words = " ".join(re.findall(r"[\w']+", text.lower().replace("’", "'"))).replace("'s", "s")
    return CITIES.get(words, words)


def number(text: str) -> str:
    """A number in one form: "2", "two", "2.0" and "2.00" alike."""
    if text in lexicon.NUMBERS:
        return str(lexicon.NUMBERS[text])
    return f"{float(text.replace(',', '')):.12g}"


def today_of(messages: Sequence[Message]) -> date | None:
    """The day on which the dialogue takes place, where its system turn tells it."""
    for message in messages[:1]:
        found = re.search(r"[Tt]oday is \D*(\d{4}-\d\d-\d\d)", message["content"])
        if found:
            with suppress(ValueError):  # the 30th of February is no day
                return date.fromisoformat(found[1])
    return None


def known_names(messages: Sequence[Message]) -> set[str]:
    """Proper values of the dialogue so far, in plain form: from tool results, calls and the guest's words."""
    spoken = {name for m in messages if m["role"] == "user" for name in capitalised(m["content"])}
    trees = [call.arguments for m in messages for call in calls_of(m)]
    trees += [_json(m["content"]) for m in messages if m["role"] == "tool"]
    told = {leaf for leaf in _leaves(trees) if leaf[:1] != "$" and re.search("[A-Z]", leaf)}
    return {name for name in map(plain, told | spoken) if _is_name(name)}


def known_words(messages: Sequence[Message]) -> set[str]:
    """Lower-case values of tool results, such as "double" or "included"."""
    leaves = [leaf for m in messages if m["role"] == "tool" for leaf in _leaves(_json(m["content"]))]
    parts = {part.strip() for leaf in leaves if leaf[:1].islower() for part in leaf.split(",")}
    return {part for part in parts if re.fullmatch(r"[a-z]+(?: [a-z]+)?", part)} - VERDICTS


def capitalised(text: str) -> set[str]:
    """Runs of capitalised words that name something: not a sentence's first word, unless more follow."""
    if text.isupper():
        return set()
    runs = (match for part in re.split(r"(?<=[.!?:;])\s*(?=[A-Z])", text) for match in NAME.finditer(part))
    return {name for match in runs if (name := _name(match[0], match.start() == 0))}


def _name(run: str, first: bool) -> str:
    """The name in a run of words, or nothing."""
    words = run.strip(".,").split()
    naming = [word[0].isupper() and not _ordinary(word) for word in words]
    if not any(naming):
        return ""
    start = naming.index(True)
    start -= start > 0 and words[start - 1][0].isdigit()
    end = len(words) - naming[::-1].index(True)
    kept = words[start : end + (words[end : end + 1] != [] and words[end].isdigit())]
    return " ".join(kept) if len(kept) > 1 or not first or start else ""


def _ordinary(word: str) -> bool:
    """A word, number or month that may be capitalised and yet names nothing."""
    word = word.lower().strip(".,'")
    return word in lexicon.NO_NAMES or not word[:1].isalpha() or MONTH_NAME.fullmatch(word) is not None


def _is_name(name: str) -> bool:
    words = name.split()
    naming = len(words) > 1 or not all(map(_ordinary, words))
    return len(name) > 2 and naming and name not in VERDICTS and not CODE.fullmatch(name)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _leaves(tree: Any) -> Iterable[str]:
    """Strings with a capital, or with words, anywhere in a tree of JSON."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            if key not in lexicon.UNSAID_KEYS:
                yield from _leaves(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _leaves(value)
    elif isinstance(tree, str) and re.search(r"[A-Za-z]{2}", tree):
        yield tree


class Reader:
    """Reads the values out of a text, given the dialogue before it.

    Args:
        messages: The dialogue so far.
    """

    def __init__(self, messages: Sequence[Message]) -> None:
        """Collect the names and words that the dialogue has told."""
        self.words = known_words(messages)
        self.names = known_names(messages) - self.words
        self.today = today_of(messages)

    def read(self, text: str) -> set[Value]:
        """All values but yes/no facts."""
        left, values = self._names(text)
        for step in (self._words, _phones, self._dates, _times, _prices, _counts):
            left, found = step(left)
            values |= found
        return values

    def _names(self, text: str) -> tuple[str, set[Value]]:
        """Known names first, the longest before its parts; then whatever else is capitalised like a name."""
        left = text.replace("’", "'")
        left, known = _taken(left, self.names)
        left, others = _taken(left, {name for name in map(plain, capitalised(left)) if _is_name(name)})
        return left.lower(), known | others

    def _words(self, text: str) -> tuple[str, set[Value]]:
        said = {word for word in self.words if re.search(rf"\b{re.escape(word)}\b", text)}
        return text, {Value("word", word) for word in said}

    def _dates(self, text: str) -> tuple[str, set[Value]]:
        values: set[Value] = set()

        def note(match: re.Match[str]) -> str:
            values.add(Value("date", self._day(match)))
            return " ; "

        for pattern in DATES:
            text = pattern.sub(note, text)
        return text, values

    def _day(self, match: re.Match[str]) -> str:
        """Month and day, so far as today's date tells; else the words."""
        parts = {key: value for key, value in match.groupdict().items() if value}
        if "m" in parts:
            return f"{parts['m']}-{parts['d']}"
        if "month" in parts:
            return f"{SHORT_MONTHS.index(parts['month'][:3]) + 1:02}-{int(parts['d']):02}"
        if self.today is None:
            return match[0].strip()
        return self._relative(parts).strftime("%m-%d")

    def _relative(self, parts: dict[str, str]) -> date:
        assert self.today is not None
        if "weekday" in parts:
            ahead = (lexicon.DAYS.index(parts["weekday"]) - self.today.weekday() - 1) % 7 + 1
        elif "d" in parts:
            ahead = next((n for n in range(62) if (self.today + timedelta(n)).day == int(parts["d"])), 0)
        else:
            ahead = 0 if "today" in parts else 1 if "tomorrow" in parts else 2
        return self.today + timedelta(days=ahead)


def _taken(text: str, names: set[str]) -> tuple[str, set[Value]]:
    """The text without those of the names that stand in it, and these."""
    values = set()
    for name in sorted(names, key=len, reverse=True):
        text, hits = _loose(name).subn(" ; ", text)
        if hits:
            values.add(Value("name", name))
    return text, values


def _loose(name: str) -> re.Pattern[str]:
    """The name, whatever stands between its words."""
    options = [name, *lexicon.ALIASES.get(name, "").split("|")]
    spelled = "|".join(r"[\W_]*".join(map(_spelled, option.split())) for option in options if option)
    return re.compile(rf"(?<!\w)(?:{spelled})(?!\w)", re.IGNORECASE)


def _spelled(word: str) -> str:
    """The word, with the apostrophe that ``plain`` has dropped or without."""
    return f"{re.escape(word[:-1])}'?s" if word.endswith("s") else re.escape(word)


def _phones(text: str) -> tuple[str, set[Value]]:
    values = {Value("code", match[0]) for match in CODE.finditer(text)}
    text = CODE.sub(" ; ", text)
    for match in PHONE.finditer(text):
        digits = re.sub(r"\D", "", match[0])
        if len(digits) >= 7 and not re.fullmatch(r"\d{4}-\d\d-\d\d", match[0]):
            values.add(Value("phone", digits))
            text = text.replace(match[0], " ; ")
    return text, values


def _times(text: str) -> tuple[str, set[Value]]:
    values = set()
    for match in TIME.finditer(text):
        hour = int(match[1] or match[4])
        hour += 12 * ((match[3] or "").startswith("p") and hour < 12)
        values.add(Value("time", f"{hour}:{match[2] or match[5] or '00'}"))
    return TIME.sub(" ; ", text), values


def _prices(text: str) -> tuple[str, set[Value]]:
    values = {Value("price", number(match[1] or match[2])) for match in PRICE.finditer(text)}
    return PRICE.sub(" ; ", text), values


def _counts(text: str) -> tuple[str, set[Value]]:
    values: set[Value] = set()
    for kind, pattern in (*COUNTED.items(), *LED.items(), ("", BARE)):
        values |= {Value(kind, number(match["n"])) for match in pattern.finditer(text)}
        text = pattern.sub(lambda match: match[0].replace(match["n"], ";"), text)
    return text, values
