"""Dialogues of a small domain: a guest with a wish and an agent that asks, searches, offers, confirms, books.

Every dialogue takes the same road, with turns by lot: what the guest tells at once, a search that finds
nothing, a question about what is offered, a change of mind before the booking, a table or seat that is taken,
a guest who leaves it. Calls get their results from the domain's stock, and the agent says nothing that was
not asked for, told by the guest or returned by a tool.
"""

from __future__ import annotations

import json
import random
import re
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from tether.agent.dates import NUMBERS, WEEKDAYS, dated_forms, month_day, relative_forms
from tether.chatdata.chats import Chat
from tether.domains.domain import Desk

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tether.agent.world import Split
    from tether.domains.domain import Domain, Offer, Slots

WORLDS = 12
FIRST_DAY, DAYS = date(2026, 1, 5), 300  # on one of these a dialogue takes place
AHEAD = 30  # days within which a guest wants to come
EVENING = [f"{hour}:{minute}" for hour in (17, 18, 19, 20, 21) for minute in ("00", "30")]
MOST_PEOPLE = 6
CHANCES = {"greet": 0.15, "tell": 0.5, "miss": 0.25, "ask": 0.4, "rethink": 0.25, "leave": 0.1, "two": 0.6}


def talk(domain: Domain, split: Split, seed: int, index: int) -> Chat:
    """Dialogue ``index`` of a seed; it does not depend on how many others are made."""
    lot = random.Random(f"{domain.name}/{split}/{seed}/{index}")
    today = FIRST_DAY + timedelta(days=lot.randrange(DAYS))
    world = f"{domain.name}/{split}/{lot.randrange(WORLDS)}"
    stock = domain.stock(random.Random(world), domain.names(split), today)
    under_way = _Talk(domain, split, lot, today, Desk(domain, world, stock))
    under_way.run()
    return Chat(
        f"{domain.name}-{split}-{seed}-{index:05d}",
        tuple(under_way.messages),
        domain.tools,
        f"builtin:{domain.name}/{split}",
        under_way.scenario,
    )


class _Talk:
    """A dialogue under way.

    Args:
        domain: What it is about.
        split: Whose names and wordings.
        lot: Draws everything.
        today: The day on which it takes place.
        desk: The agent's tools.
    """

    def __init__(self, domain: Domain, split: Split, lot: random.Random, today: date, desk: Desk) -> None:
        self.domain, self.split, self.lot, self.today, self.desk = domain, split, lot, today, desk
        self.search_tool, self.details_tool, self.book_tool = (tool["name"] for tool in domain.tools)
        self.scenario = "book"
        self.known: set[str] = set()
        self.wish, self.instead = self._wish()
        told = domain.words["system"].format(weekday=WEEKDAYS[today.weekday()], today=today.isoformat())
        self.messages: list[dict[str, Any]] = [{"role": "system", "content": told}]

    def run(self) -> None:
        """From hello to goodbye."""
        self._open()
        self._ask_for(self.domain.criteria)
        offer = self._choose(self._search())
        self._ask_for(self.domain.booking)
        if self._agree(offer):
            self._book(offer)
        self._guest("done")
        self._agent("bye")

    def _wish(self) -> tuple[Slots, str | None]:
        """What the guest wants; and instead of it, where that is nowhere to be had."""
        domain, target = self.domain, self.lot.choice(list(self.desk.stock.values()))
        fitting = {slot: [v for v in self._possible(slot) if target.suits(slot, v)] for slot in domain.slots}
        wish = {slot: self.lot.choice(values) for slot, values in fitting.items()}
        criteria, flexible = {slot: wish[slot] for slot in domain.criteria}, domain.flexible
        misses = [v for v in self._possible(flexible) if not self.desk.found({**criteria, flexible: v})]
        if not misses or not self._happens("miss"):
            return wish, None
        self.scenario = "nothing found"
        return {**wish, flexible: self.lot.choice(misses)}, wish[flexible]

    def _possible(self, slot: str) -> list[Any]:
        """What a guest may say for a slot."""
        days = [(self.today + timedelta(days=ahead)).isoformat() for ahead in range(1, AHEAD + 1)]
        own: dict[str, list[Any]] = {"date": days, "time": EVENING, "people": list(range(1, MOST_PEOPLE + 1))}
        return own[slot] if slot in own else list(self.domain.names(self.split)[slot])

    def _open(self) -> None:
        """The guest says what is wanted, and some of the slots at once."""
        if self._happens("greet"):
            self._guest("greet")
            self._agent("greet")
        told = [slot for slot in self.domain.slots if self._happens("tell")]
        self.known |= set(told)
        parts = (self._guest_words(f"with_{slot}", **self._said(slot)) for slot in told)
        self._guest("want", rest="".join(f" {part}" for part in parts))

    def _ask_for(self, slots: Sequence[str]) -> None:
        """The agent asks for what it has not been told, one slot at a time."""
        for slot in slots:
            if slot not in self.known:
                self._agent(f"ask_{slot}")
                self._guest(f"inform_{slot}", **self._said(slot))
                self.known.add(slot)

    def _search(self) -> list[Offer]:
        """What suits the wish; where nothing does, the guest wants something else."""
        criteria, flexible = self.domain.criteria, self.domain.flexible
        found = self._call(self.search_tool, {slot: self.wish[slot] for slot in criteria})
        if not found["count"]:
            self._agent("none", **self._told())
            self.wish[flexible] = self.instead
            self._guest(f"instead_{flexible}", **self._said(flexible))
            found = self._call(self.search_tool, {slot: self.wish[slot] for slot in criteria})
        return [self.desk.stock[row[self.domain.noun]] for row in found["results"]]

    def _choose(self, offers: Sequence[Offer]) -> Offer:
        """The agent offers one or two; the guest may ask about the one it takes."""
        two = len(offers) > 1 and self._happens("two")
        offer = self.lot.choice(offers[:2]) if two else offers[0]
        if two:
            self._agent("offer_two", first=self._described(offers[0]), second=self._described(offers[1]))
        else:
            self._agent("offer_one", first=self._described(offer))
        if self._happens("ask"):
            topic = self.lot.choice(self.domain.topics)
            self._guest(f"ask_{topic}", key=offer.key)
            told = self._call(self.details_tool, {self.domain.noun: offer.key})
            self._agent(f"{topic}_{told[topic]}", key=offer.key)
            two = True  # the guest names what it takes: "that one" would be the last spoken of
        self._guest("choose" if two else "accept", key=offer.key)
        return offer

    def _agree(self, offer: Offer) -> bool:
        """The agent reads everything back; the guest may change its mind, or leave it."""
        self._agent("confirm", key=offer.key, **self._told())
        if self._happens("rethink"):
            self.scenario = "change of mind"
            slot = self.lot.choice([slot for slot in self.domain.booking if slot not in self.domain.criteria])
            self.wish[slot] = self.lot.choice([v for v in self._possible(slot) if v != self.wish[slot]])
            self._guest(f"rethink_{slot}", **self._said(slot))
            self._agent("confirm", key=offer.key, **self._told())
        if self._happens("leave"):
            self.scenario = "left"
            self._guest("leave")
            self._agent("left")
            return False
        self._guest("yes")
        return True

    def _book(self, offer: Offer) -> None:
        """Book; where it is taken, what is free instead."""
        booked = self._call(self.book_tool, self._booking(offer))
        if "error" in booked:
            self.scenario = "taken"
            slack = self.domain.slack
            free = _agent_word(slack, booked["free"])
            self._agent("taken", key=offer.key, free=free, **self._told())
            self._guest("take_free", **self._said(slack, booked["free"]))
            self.wish[slack] = booked["free"]
            booked = self._call(self.book_tool, self._booking(offer))
        self._agent("booked", key=offer.key, reference=booked["reference"])

    def _booking(self, offer: Offer) -> Slots:
        return {self.domain.noun: offer.key, **{slot: self.wish[slot] for slot in self.domain.booking}}

    def _call(self, name: str, arguments: Slots) -> dict[str, Any]:
        """Make a call and read its result."""
        result = self.desk.call(name, arguments)
        asked = {"role": "assistant", "content": "", "tool_calls": [{"name": name, "arguments": arguments}]}
        read = json.dumps(result, separators=(",", ":"))
        self.messages += [asked, {"role": "tool", "name": name, "content": read}]
        return result

    def _agent(self, act: str, **words: str) -> None:
        wording = self.lot.choice(self.domain.words["agent"][act])
        self.messages.append({"role": "assistant", "content": _capital(wording.format(**words))})

    def _guest(self, act: str, **words: str) -> None:
        said = _capital(self._guest_words(act, **words))
        self.messages.append({"role": "user", "content": said})

    def _guest_words(self, act: str, **words: str) -> str:
        wording: str = self.lot.choice(self.domain.words["guest"][act][self.split])
        return wording.format(**words)

    def _said(self, slot: str, value: Any = None) -> dict[str, str]:
        """A slot's value, the wish's unless told, as a guest says it."""
        value = self.wish[slot] if value is None else value
        if slot == "date":
            return {slot: self._day(date.fromisoformat(value))}
        if slot == "time":
            return {slot: self.lot.choice(_time_forms(value))}
        return {slot: self.lot.choice(_people_forms(value)) if slot == "people" else value}

    def _day(self, day: date) -> str:
        """The day with its preposition, if it needs one."""
        relative = relative_forms(day, self.today)
        if relative and self.lot.random() < 0.5:
            return self.lot.choice(relative)
        return f"on {self.lot.choice(dated_forms(day, self.today))}"

    def _told(self) -> dict[str, str]:
        """The wish as the agent says it."""
        return {slot: _agent_word(slot, value) for slot, value in self.wish.items()}

    def _described(self, offer: Offer) -> str:
        shown = {slot: _agent_word(slot, value) for slot, value in offer.shown.items()}
        described: str = self.domain.words["described"]
        return described.format(key=offer.key, **shown)

    def _happens(self, what: str) -> bool:
        return self.lot.random() < CHANCES[what]


def _agent_word(slot: str, value: Any) -> str:
    """A value as the agent says it."""
    if slot == "date":
        return month_day(date.fromisoformat(value))
    if slot in ("time", "departs"):
        return _clock(value)
    return _people_forms(value)[0] if slot == "people" else str(value)


def _clock(value: str) -> str:
    """19:30 as 7:30 pm."""
    hour, minute = map(int, value.split(":"))
    return f"{(hour - 1) % 12 + 1}{f':{minute:02}' if minute else ''} {'pm' if hour >= 12 else 'am'}"


def _time_forms(value: str) -> list[str]:
    """Ways to write a time of the evening, for use after "at"."""
    hour, minute = map(int, value.split(":"))
    word = NUMBERS[hour - 12]
    return [_clock(value), value, f"half past {word}" if minute else f"{word} o'clock"]


def _people_forms(number: int) -> list[str]:
    noun = "person" if number == 1 else "people"
    return [f"{NUMBERS[number]} {noun}", f"{number} {noun}"]


def _capital(text: str) -> str:
    return re.sub(r"^\w", lambda first: first[0].upper(), text)
