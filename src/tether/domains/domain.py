"""What a small domain is: things on offer, three tools over them, and its words in a YAML file of its own."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import date

    from tether.agent.world import Split

Slots = dict[str, Any]
"""Values by name: "date" is ISO text, "time" is HH:MM, "people" a number, every other one text."""

SHOWN = 3
TAKEN = 0.15  # of all tables, or seats, are gone already


@dataclass(frozen=True)
class Offer:
    """One thing that can be booked.

    Attributes:
        key: Its name, or its number.
        where: By criterion, the values that it suits.
        shown: What a search tells of it.
        facts: Yes or no by topic, what its details tell.
    """

    key: str
    where: Mapping[str, frozenset[str]]
    shown: Slots
    facts: dict[str, str]

    def suits(self, slot: str, value: str) -> bool:
        """Whether it can be had with a value; a slot that is no criterion of its own suits with any."""
        return slot not in self.where or value in self.where[slot]


@dataclass(frozen=True)
class Domain:
    """A domain for the shared generator (``talk.py``).

    Attributes:
        name: As its YAML file is called.
        noun: What the tools call the thing on offer; the argument that names it, too.
        criteria: Slots that a search needs.
        booking: Slots that a booking needs, apart from the offer.
        flexible: The criterion that a guest gives up where nothing is found.
        slack: The slot of which another value is free where the one wished is taken.
        topics: What the details tell.
        tools: Search, details and booking, in canonical form.
        stock: Everything on offer, from the lot that draws it, a split's names by kind, and today.
        near: Values near one of the slot ``slack``, the nearest first.
    """

    name: str
    noun: str
    criteria: tuple[str, ...]
    booking: tuple[str, ...]
    flexible: str
    slack: str
    topics: tuple[str, ...]
    tools: tuple[dict[str, Any], ...]
    stock: Callable[[random.Random, Mapping[str, Sequence[str]], date], list[Offer]]
    near: Callable[[str], Iterable[str]]

    @property
    def slots(self) -> tuple[str, ...]:
        """All slots, in the order in which they are asked for."""
        return tuple(dict.fromkeys((*self.criteria, *self.booking)))

    @cached_property
    def words(self) -> dict[str, Any]:
        """Its YAML file: "system", "agent" by act, "guest" by act and split, "names" by kind and split."""
        text = files("tether.domains").joinpath(f"{self.name}.yaml").read_text(encoding="utf-8")
        loaded: dict[str, Any] = yaml.safe_load(text)
        return loaded

    def names(self, split: Split) -> dict[str, Sequence[str]]:
        """The names of one split by kind."""
        return {kind: by_split[split] for kind, by_split in self.words["names"].items()}


def tool(name: str, description: str, **types: str) -> dict[str, Any]:
    """A tool in canonical form; every argument, by name and JSON type, is required."""
    properties = {argument: {"type": kind} for argument, kind in types.items()}
    parameters = {"type": "object", "properties": properties, "required": list(types)}
    return {"name": name, "description": description, "parameters": parameters}


class Desk:
    """The three tools over one world's stock; the same calls always give the same results.

    Args:
        domain: Whose.
        world: Names the stock, and with it what is taken.
        stock: Everything on offer.
    """

    def __init__(self, domain: Domain, world: str, stock: Sequence[Offer]) -> None:
        self.domain, self.world = domain, world
        self.stock = {offer.key: offer for offer in stock}

    def call(self, name: str, arguments: Slots) -> dict[str, Any]:
        """The result of a call."""
        search, details, _ = (tool["name"] for tool in self.domain.tools)
        if name == search:
            found = self.found(arguments)
            rows = [{self.domain.noun: offer.key, **offer.shown} for offer in found[:SHOWN]]
            return {"count": len(found), "results": rows}
        if name == details:
            return dict(self.stock[arguments[self.domain.noun]].facts)
        return self._book(**arguments)

    def found(self, wish: Slots) -> list[Offer]:
        """The offers that suit every criterion of a wish."""
        return [
            offer
            for offer in self.stock.values()
            if all(offer.suits(slot, value) for slot, value in wish.items())
        ]

    def _book(self, **arguments: Any) -> dict[str, Any]:
        lot = self._lot(arguments)
        if lot.random() >= TAKEN:
            return {"reference": f"{lot.choice('BDFKMR')}{lot.randrange(1000, 10000)}"}
        slack = self.domain.slack
        offer = self.stock[arguments[self.domain.noun]]
        near = (value for value in self.domain.near(arguments[slack]) if offer.suits(slack, value))
        free = next(v for v in near if self._lot({**arguments, slack: v}).random() >= TAKEN)
        return {"error": "full", "free": free}

    def _lot(self, arguments: Slots) -> random.Random:
        return random.Random(f"{self.world} {sorted(arguments.items())}")
