"""How a conversation went: the books afterwards, what the guest was told, and the rules that were broken.

As in tau-bench (arXiv:2406.12045), a conversation succeeds if the books end up exactly as the gold actions
leave a fresh copy and everything that had to be said was said; here the guest must also have been content to
leave, so that doing nothing for a guest who wants nothing done is no success.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tether.agent.hearing import TOTAL, Ear, refuses
from tether.agent.scenes import fingerprint
from tether.agent.world import HOTELS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tether.agent.acts import Act
    from tether.agent.conversation import Conversation
    from tether.agent.session import Made

WRITES = ("book_room", "change_booking", "cancel_booking")
FIGURE = re.compile(r"\$ ?\d[\d,]*(?:\.\d\d)?|\b[Bb]\d{5}\b|\b\d+(?:\.\d+)? ?km\b")
DENIES = re.compile(r"\b(no|not|none|without)\b|n't\b|\bunfortunately\b")
FREE = r"\b(free|included|complimentary|no (extra |additional )?(charge|cost|fee))\b"
TOPICS = {
    "pets": r"\b(pets?|dogs?|cats?|animals?)\b",
    "breakfast": r"\bbreakfast\b",
    "parking": r"\b(park|parking|car|garage)\b",
    "wifi": r"\bwi-?fi|\binternet\b",
    "pool": r"\b(pool|swim)",
    "gym": r"\b(gym|fitness|work ?out)\b",
}
WORDS = {"free": FREE, "included": FREE, "indoor": r"\bindoors?\b", "outdoor": r"\boutdoors?\b"}


@dataclass(frozen=True)
class Outcome:
    """How one conversation went.

    Attributes:
        books: Whether the books are as the gold actions leave them.
        missing: What should have been said and was not.
        content: Whether the guest came to an end of its own accord.
        turns: Turns of the agent that the guest heard.
        calls: Calls made.
        invalid: Calls that named no tool, or gave it wrong arguments.
        breaches: Rules broken, in words.
    """

    books: bool
    missing: tuple[str, ...]
    content: bool
    turns: int
    calls: int
    invalid: int
    breaches: tuple[str, ...]

    @property
    def success(self) -> bool:
        """Whether the guest got what it should."""
        return self.books and not self.missing and self.content

    @property
    def reason(self) -> str:
        """The verdict in words."""
        faults = [] if self.content else ["the guest gave up"]
        faults += [] if self.books else ["the books are not as they should be"]
        faults += [f"was not told {what}" for what in self.missing]
        told = "; ".join(faults) or "the guest got what it wanted"
        return f"{told}; broke a rule: {', '.join(self.breaches)}" if self.breaches else told


def outcome(talk: Conversation) -> Outcome:
    """Judge a conversation that is over."""
    return Outcome(
        books=fingerprint(talk.desk.inventory) == talk.scene.gold.books,
        missing=tuple(dict.fromkeys(_missing(talk))),
        content=talk.end == "content",
        turns=len(talk.spoken),
        calls=len(talk.made),
        invalid=sum(made.invalid for made in talk.made),
        breaches=tuple(dict.fromkeys([*_writes_without_leave(talk), *_inventions(talk)])),
    )


def _missing(talk: Conversation) -> Iterator[str]:
    """What the gold policy tells the guest in this case and this agent did not."""
    for act in talk.scene.gold.said:
        if not _was_told(talk, act):
            yield _in_words(act)


def _was_told(talk: Conversation, act: Act) -> bool:
    slots, everything = act.slots, " ".join(talk.spoken)
    if act.kind == "info":
        return any(
            tells(slots["topic"], slots["value"], text)
            for text in _answers(talk, "ask", topic=slots["topic"])
        )
    if act.kind == "refuse":
        return any(refuses(text) for text in _answers(talk, "demand"))
    if act.kind == "booked":
        new = {str(m.result.get("reference")).lower() for m in _done(talk, "book_room")}
        return _says(everything, slots["total"]) and any(ref in everything.lower() for ref in new)
    if act.kind == "changed":
        return _says(everything, slots["total"])
    if act.kind == "cancelled":
        return _says(everything, slots["refund"])
    if act.kind == "nearest":
        return str(slots["nearest"]["hotel"]).lower() in everything.lower()
    if act.kind == "no_city":
        return any(city.lower() in everything.lower() for city in slots["cities"])
    return True


def _in_words(act: Act) -> str:
    told = {
        "info": f"the truth on {act.slots.get('topic')}",
        "refuse": "no",
        "booked": "price and reference",
        "changed": "the new price",
        "cancelled": "what is paid back",
        "nearest": "what else is free",
        "no_city": "where there are hotels",
    }
    return told[act.kind]


def tells(topic: str, value: str, text: str) -> bool:
    """Whether an answer tells a fact about a hotel.

    Args:
        topic: What the guest asked about, such as "pets".
        value: The fact as the hotel's facilities have it, such as "yes, $15 a night" or "no".
        text: The agent's answer.
    """
    low = text.lower().replace("’", "'")
    figures = re.findall(r"\d+(?:\.\d+)?", value)
    if figures:
        return set(figures) <= set(re.findall(r"\d+(?:\.\d+)?", low))
    for word, pattern in WORDS.items():
        if word in value:
            return re.search(pattern, low) is not None
    # A yes or no must be about the topic: "I'm sorry, I can't help with that" denies nothing.
    to_it = re.search(TOPICS[topic], low) or re.match(r"(yes|no)\b", low)
    return to_it is not None and (DENIES.search(low) is not None) == value.startswith("no")


def _answers(talk: Conversation, kind: str, **slots: str) -> list[str]:
    """What the agent said straight after the guest's acts of a kind."""
    pairs = zip(talk.meant, talk.spoken, strict=False)
    return [
        text
        for acts, text in pairs
        for act in acts
        if act.kind == kind and slots.items() <= act.slots.items()
    ]


def _says(text: str, figure: int) -> bool:
    return re.search(rf"(?<!\d){figure}(?!\d)", text.replace(",", "")) is not None


def _done(talk: Conversation, *names: str) -> list[Made]:
    return [made for made in talk.made if made.name in names and not made.failed]


def _writes_without_leave(talk: Conversation) -> Iterator[str]:
    """Bookings and cancellations without the guest's yes, and what was done to others' bookings."""
    goal = talk.goal
    own = {goal.wish.get("reference", "")}
    for made in _done(talk, *WRITES):
        agreed = any(act.kind == "yes" for act in talk.meant[made.turn])
        own |= {made.result["reference"]} if made.name == "book_room" else set()
        if made.name != "change_booking" and not agreed:
            yield f"{made.name} without the guest's yes"
        if made.name == "book_room" and not _price_was_named(talk, made):
            yield "booked before the price was named"
        if made.name != "book_room" and str(made.arguments["reference"]).upper() not in own:
            yield f"{made.name} on another guest's booking"


def _price_was_named(talk: Conversation, made: Made) -> bool:
    return any(
        TOTAL.search(text.lower()) and _says(text, made.result["total"]) for text in talk.spoken[: made.turn]
    )


def _inventions(talk: Conversation) -> Iterator[str]:
    """Figures and hotels that nothing told the agent, and bookings that were not made."""
    known, spoken = "", iter(talk.spoken)
    every = [name for names in HOTELS.values() for name in names]
    for message in talk.messages:
        if message["role"] != "assistant":
            known += f" {message['content'].lower()}"
        elif "tool_calls" not in message and message["content"] in talk.spoken:
            said = next(spoken, "")
            for figure in FIGURE.findall(said):
                if not _says_figure(known, figure):
                    yield f"made up {figure}"
            for name in every:
                if name.lower() in said.lower() and name.lower() not in known:
                    yield f"made up {name}"
    for text in talk.spoken:
        if (
            Ear("book", (), ()).hear(text).kind == "booked"
            and not _done(talk, "book_room")
            and talk.goal.intent == "book"
        ):
            yield "told of a booking that was not made"


def _says_figure(known: str, figure: str) -> bool:
    digits = figure.lower().strip("$ km").replace(",", "").removesuffix(".00")
    return re.search(rf"(?<![\d.]){re.escape(digits)}(?![\d]|\.\d)", known) is not None
