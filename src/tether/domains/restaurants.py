"""Restaurants: find one by city and kitchen, ask about it, book a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tether.domains.domain import Domain, Offer, tool

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import date

TOPICS = ("parking", "terrace", "pets")
PRICES = ("cheap", "moderate", "expensive")
KITCHENS_PER_CITY, RESTAURANTS_PER_KITCHEN = 4, (1, 2, 2)


def stock(lot: random.Random, names: Mapping[str, Sequence[str]], today: date) -> list[Offer]:
    """Restaurants of some kitchens in every city; the day makes no difference."""
    free = lot.sample(names["restaurant"], len(names["restaurant"]))
    return [
        _restaurant(lot, free.pop(), city, kitchen)
        for city in names["city"]
        for kitchen in lot.sample(names["cuisine"], KITCHENS_PER_CITY)
        for _ in range(lot.choice(RESTAURANTS_PER_KITCHEN))
        if free
    ]


def _restaurant(lot: random.Random, name: str, city: str, kitchen: str) -> Offer:
    shown = {"price": lot.choice(PRICES), "rating": lot.randrange(34, 50) / 10}
    facts = {topic: lot.choice(("yes", "no")) for topic in TOPICS}
    return Offer(name, {"city": frozenset({city}), "cuisine": frozenset({kitchen})}, shown, facts)


def near(time: str) -> Iterator[str]:
    """Times about one of the evening, the nearest first."""
    hour, minute = map(int, time.split(":"))
    for halves in (1, -1, 2, -2, 3, -3, 4, -4, 5, -5):
        minutes = 60 * hour + minute + 30 * halves
        yield f"{minutes // 60}:{minutes % 60:02}"


RESTAURANTS = Domain(
    name="restaurants",
    noun="restaurant",
    criteria=("city", "cuisine"),
    booking=("date", "time", "people"),
    flexible="cuisine",
    slack="time",
    topics=TOPICS,
    tools=(
        tool("find_restaurants", "Restaurants of a city by cuisine", city="string", cuisine="string"),
        tool("restaurant_details", "Parking, terrace and pets at a restaurant", restaurant="string"),
        tool(
            "book_table",
            "Book a table; date is YYYY-MM-DD, time is HH:MM",
            restaurant="string",
            date="string",
            time="string",
            people="integer",
        ),
    ),
    stock=stock,
    near=near,
)
