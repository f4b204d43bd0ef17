"""Flights: find one by cities and day, ask about it, book seats."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import permutations
from typing import TYPE_CHECKING

from tether.domains.domain import Domain, Offer, tool

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Mapping, Sequence

TOPICS = ("wifi", "luggage", "pets")
DAYS_SOLD = 60
FLIGHTS_PER_ROUTE, DAYS_A_WEEK = (1, 2), (3, 4, 5)


def stock(lot: random.Random, names: Mapping[str, Sequence[str]], today: date) -> list[Offer]:
    """A flight or two between every two cities, on some days of the week."""
    numbers = lot.sample(range(100, 1000), 2 * len(names["origin"]) ** 2)
    return [
        _flight(lot, f"{lot.choice(names['airline'])}{numbers.pop()}", origin, destination, today)
        for origin, destination in permutations(names["origin"], 2)
        for _ in range(lot.choice(FLIGHTS_PER_ROUTE))
    ]


def _flight(lot: random.Random, number: str, origin: str, destination: str, today: date) -> Offer:
    weekdays = lot.sample(range(7), lot.choice(DAYS_A_WEEK))
    days = (today + timedelta(days=ahead) for ahead in range(1, DAYS_SOLD + 1))
    where = {
        "origin": frozenset({origin}),
        "destination": frozenset({destination}),
        "date": frozenset(day.isoformat() for day in days if day.weekday() in weekdays),
    }
    departs = f"{lot.randrange(6, 22):02}:{lot.randrange(0, 60, 5):02}"
    facts = {topic: lot.choice(("yes", "no")) for topic in TOPICS}
    return Offer(number, where, {"departs": departs, "price": lot.randrange(60, 400)}, facts)


def near(day: str) -> Iterator[str]:
    """The days after one."""
    return ((date.fromisoformat(day) + timedelta(days=later)).isoformat() for later in range(1, DAYS_SOLD))


FLIGHTS = Domain(
    name="flights",
    noun="flight",
    criteria=("origin", "destination", "date"),
    booking=("date", "people"),
    flexible="date",
    slack="date",
    topics=TOPICS,
    tools=(
        tool(
            "find_flights",
            "Flights between two cities on a day; date is YYYY-MM-DD",
            origin="string",
            destination="string",
            date="string",
        ),
        tool("flight_details", "Wifi, luggage and pets on a flight", flight="string"),
        tool(
            "book_flight",
            "Book seats; date is YYYY-MM-DD",
            flight="string",
            date="string",
            people="integer",
        ),
    ),
    stock=stock,
    near=near,
)
