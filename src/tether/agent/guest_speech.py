"""Puts a guest's acts into words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tether.agent.dates import NUMBERS, count, dated_forms, length_forms, relative_forms, span_forms
from tether.agent.phrases import wordings

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence
    from datetime import date

    from tether.agent.acts import Act, Slots
    from tether.agent.world import Split

SAID_BY_SEVERAL = re.compile(r"\b(we|us|our|kids|parents)\b", re.IGNORECASE)
ROOMS = {"single": "single room", "double": "double room", "suite": "suite", "family": "family room"}


@dataclass(frozen=True)
class GuestSpeech:
    """The voice of one guest: its random choices, the day, the split whose wordings it uses, "we" or "I"."""

    rng: random.Random
    today: date
    split: Split
    alone: bool = False

    def say(self, acts: Sequence[Act]) -> str:
        """One turn of the guest."""
        return " ".join(self._sentence(act) for act in acts)

    def _sentence(self, act: Act) -> str:
        slots = act.slots
        if act.kind == "want":
            return self._want(slots)
        if act.kind == "inform":
            return self._inform(slots)
        if act.kind == "rethink":
            return self._about("rethink", slots)
        if act.kind == "amend":
            return self._about("change", slots)
        if act.kind == "ask":
            hotel = (
                slots["hotel"]
                if slots["named"]
                else self.rng.choice(("the hotel", "the hotel", slots["hotel"]))
            )
            return self._pick(f"ask_{slots['topic']}", h=hotel)
        if act.kind == "demand":
            return self._pick(f"demand_{slots['kind']}", name=slots["name"], reference=slots["reference"])
        if act.kind == "choose" and "room" in slots:
            return self._pick("choose_room", room=ROOMS[slots["room"]])
        if act.kind == "yes" and "name" in slots:
            return self._pick("yes_name", name=slots["name"])
        return self._pick(act.kind, h=slots.get("hotel", ""))

    def _pick(self, key: str, **words: str) -> str:
        return _capital(self._raw(key, **words))

    def _want(self, slots: Slots) -> str:
        if slots["intent"] == "book":
            return self._want_room(slots)
        ref = self._raw("ref", reference=slots["reference"]) if "reference" in slots else ""
        said = [self._pick(f"want_{slots['intent']}", ref=ref)]
        change: Slots = {key: slots[key] for key in ("check_in", "nights", "guests") if key in slots}
        return " ".join([*said, self._about("change", change)] if change else said)

    def _want_room(self, slots: Slots) -> str:
        there = slots.get("there", False)
        place = [f"at {slots['hotel']}"] if "hotel" in slots and not there else []
        if "city" in slots:
            place = [self._raw("in_city", city=slots["city"])]
        rest = self._stay_parts(slots) + ([self._party(slots["guests"])] if "guests" in slots else [])
        if self.rng.random() < 0.4:
            rest.reverse()
        template = "want_book_there" if there else "want_book"
        words = "".join(f" {part}" for part in (*place, *rest))
        said = [self._pick(template, what=self._what(slots), rest=words)]
        said += [self._pick("max_price", price=slots["max_price"])] if "max_price" in slots else []
        said += [self._pick("min_stars", stars=slots["min_stars"])] if "min_stars" in slots else []
        said += [self._pick("name", name=slots["name"])] if "name" in slots else []
        return " ".join(said)

    def _what(self, slots: Slots) -> str:
        if "room" in slots:
            return f"a {ROOMS[slots['room']]}"
        if "rooms" in slots:
            return count(slots["rooms"], "room")
        return "a room" if "hotel" in slots else self._raw("what")

    def _stay_parts(self, slots: Slots) -> list[str]:
        """Arrival and length of the stay as parts of a longer sentence."""
        if "check_in" in slots and "nights" in slots and self.rng.random() < 0.3:
            return [self.rng.choice(span_forms(slots["check_in"], slots["nights"]))]
        parts = [self._raw("arrive", x=self._day(slots["check_in"]))] if "check_in" in slots else []
        return parts + ([self._raw("length", n=self._nights(slots["nights"]))] if "nights" in slots else [])

    def _inform(self, slots: Slots) -> str:
        said = [self._pick("inform_city", city=slots["city"])] if "city" in slots else []
        stay: Slots = {key: slots[key] for key in ("check_in", "nights") if key in slots}
        said += [self._about("inform", stay)] if stay else []
        said += [self._about("inform", {"guests": slots["guests"]})] if "guests" in slots else []
        said += [
            self._pick(f"inform_{key}", **{key: slots[key]})
            for key in ("reference", "hotel", "name")
            if key in slots
        ]
        return " ".join(said)

    def _about(self, manner: str, slots: Slots) -> str:
        """One sentence that informs of, changes or reconsiders part of the stay."""
        if "check_in" in slots and "nights" in slots:
            return self._with_cases(f"{manner}_stay", x=self._stay(slots))
        if "check_in" in slots:
            return self._with_cases(f"{manner}_check_in", x=self._day(slots["check_in"]))
        if "nights" in slots:
            return self._with_cases(f"{manner}_nights", n=self._nights(slots["nights"]))
        if "city" in slots:
            return self._pick(f"{manner}_city", city=slots["city"])
        if manner == "inform" and slots["guests"] == 1:
            return self._pick("inform_guests_one")
        return self._with_cases(f"{manner}_guests", **_people(slots["guests"]))

    def _with_cases(self, key: str, **words: str) -> str:
        return self._pick(key, **words, **{name.capitalize(): _capital(word) for name, word in words.items()})

    def _raw(self, key: str, **words: str) -> str:
        fitting = [
            wording
            for wording in wordings(key, self.split)
            if not (self.alone and SAID_BY_SEVERAL.search(wording))
        ]
        return self.rng.choice(fitting).format(**words)

    def _stay(self, slots: Slots) -> str:
        if self.rng.random() < 0.4:
            return self.rng.choice(span_forms(slots["check_in"], slots["nights"]))
        return f"{self._day(slots['check_in'])} for {self._nights(slots['nights'])}"

    def _day(self, day: date) -> str:
        """The day with its preposition, if it needs one."""
        relative = relative_forms(day, self.today)
        if relative and self.rng.random() < 0.6:
            return self.rng.choice(relative)
        return f"on {self.rng.choice(dated_forms(day, self.today))}"

    def _nights(self, nights: int) -> str:
        return self.rng.choice(length_forms(nights))

    def _party(self, number: int) -> str:
        return self._raw("party_one") if number == 1 else self._raw("party", **_people(number))


def _people(number: int) -> dict[str, str]:
    word = NUMBERS[number]
    return {
        "number": word,
        "people": f"{word} people",
        "guests": f"{number} guests",
        "adults": f"{word} adults",
        "us": f"the {word} of us",
        "travelers": f"{word} travelers",
    }


def _capital(text: str) -> str:
    return re.sub(r"^\w", lambda first: first.group().upper(), text)
