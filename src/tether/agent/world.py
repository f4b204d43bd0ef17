"""The hotels of each split, with other people's bookings already in the books.

A split has a few worlds: the same cities and hotel names with other facts (prices, facilities, what is sold
out), so that an agent has to look things up. No city, hotel or guest of one split exists in another.
"""

from __future__ import annotations

import random
from datetime import date, timedelta
from functools import lru_cache
from typing import Literal

from tether.agent.inventory import Hotel, Inventory, Stay
from tether.agent.schema import SLEEPS

Split = Literal["train", "dev", "test"]

WORLDS = 8
DAYS = 150
HOTELS_PER_CITY = 3
FULL_WEEKENDS_PER_CITY = 8

CITIES: dict[Split, tuple[str, ...]] = {
    "train": ("Boston", "Lisbon", "Chicago", "Edinburgh", "Denver", "Vienna", "Sydney", "Kyoto"),
    "dev": ("Seattle", "Dublin", "Munich", "Osaka", "Nashville"),
    "test": ("Portland", "Porto", "Prague", "Melbourne", "Savannah"),
}
HOTELS: dict[Split, tuple[str, ...]] = {
    "train": (
        "Harbour House", "The Linden", "Hotel Aurora", "Old Mill Inn", "Grand Meridian", "The Birchwood",
        "Hotel Castello", "Lakeside Lodge", "The Union", "Park Corner Hotel", "Hotel Solara", "The Foundry",
        "Riverside Inn", "Hotel Magnolia", "The Pembroke", "Station Hotel", "Hotel Verano", "The Wren",
        "Kingsgate Hotel", "Garden Court", "Hotel Estrella", "The Alder", "Bluebell Inn", "Northgate Hotel",
        "Hotel Cedar", "The Beacon", "Marble Arch Inn", "Hotel Orchard", "The Clifton", "Windmill Hotel",
    ),
    "dev": (
        "Hotel Juniper", "The Mariner", "Copper Kettle Inn", "Fountain Hotel", "The Ashby", "Hotel Miramar",
        "Old Post House", "The Sycamore", "Hotel Bellavista", "Quayside Hotel", "The Larkspur", "Abbey Inn",
        "Hotel Corona", "The Thornton", "Bridge House", "Hotel Tulip", "The Carlisle", "Orchid Lodge",
    ),
    "test": (
        "Hotel Saffron", "The Halcyon", "Stonebridge Inn", "Hotel Paloma", "The Waverley", "Lantern House",
        "Hotel Cypress", "The Drake", "Meadow Lodge", "Hotel Imperial", "The Ferry Inn", "Tower Hotel",
        "Hotel Marigold", "The Hawthorn", "Canal House", "Hotel Bristol", "The Elmwood", "Summit Hotel",
    ),
}  # fmt: skip
NOT_SERVED: dict[Split, tuple[str, ...]] = {
    "train": ("Oslo", "Cairo", "Miami", "Toronto", "Athens", "Lima", "Nairobi", "Dallas"),
    "dev": ("Helsinki", "Phoenix", "Manila", "Krakow"),
    "test": ("Reykjavik", "Houston", "Bogota", "Zagreb"),
}
FIRST_NAMES: dict[Split, tuple[str, ...]] = {
    "train": ("Ana", "James", "Priya", "Tom", "Lena", "Carlos", "Mei", "Grace", "Omar", "Julia", "Nadia"),
    "dev": ("Elena", "Marcus", "Aisha", "Henry", "Sofia", "Kenji"),
    "test": ("Clara", "Victor", "Leila", "Simon", "Ingrid", "Rahul"),
}
LAST_NAMES: dict[Split, tuple[str, ...]] = {
    "train": ("Silva", "Becker", "Okafor", "Turner", "Novak", "Lopez", "Chen", "Walsh", "Fischer", "Reid"),
    "dev": ("Moreau", "Barnes", "Khan", "Larsen", "Costa", "Tanaka"),
    "test": ("Jensen", "Palmer", "Rossi", "Ahmed", "Dubois", "Murray"),
}
FACILITIES: dict[str, tuple[str, ...]] = {
    "pets": ("no", "yes, free", "yes, $15 a night", "yes, $25 a night"),
    "breakfast": ("included", "$12 a person", "$18 a person", "not served"),
    "parking": ("no", "free", "$10 a night", "$24 a night"),
    "wifi": ("free", "free", "$5 a day"),
    "pool": ("no", "indoor", "outdoor"),
    "gym": ("no", "yes"),
    "arrival": ("from 2 pm", "from 3 pm", "from 4 pm"),
}


def first_day(split: Split, number: int) -> date:
    """The first day in the books of a world; worlds start in different seasons."""
    shift = {"train": 0, "dev": 16, "test": 31}[split]
    return date(2026, 1, 5) + timedelta(days=47 * (number % WORLDS) + shift)


def world(split: Split, number: int) -> Inventory:
    """A fresh copy of world ``number`` (taken modulo WORLDS) of a split."""
    return _template(split, number % WORLDS).copy()


@lru_cache(maxsize=3 * WORLDS)
def _template(split: Split, number: int) -> Inventory:
    rng = random.Random(f"world/{split}/{number}")
    inventory = Inventory()
    names = list(HOTELS[split])
    rng.shuffle(names)
    for city in CITIES[split]:
        for _ in range(HOTELS_PER_CITY):
            _add_hotel(rng, inventory, names.pop(), city)
    with inventory.transaction():
        for city in CITIES[split]:
            _fill(rng, inventory, inventory.hotels(city), first_day(split, number))
    return inventory


def _add_hotel(rng: random.Random, inventory: Inventory, name: str, city: str) -> None:
    db = inventory.connection
    stars = rng.choice((2, 3, 3, 4, 4, 5))
    (hotel,) = db.execute(
        "INSERT INTO hotels (name, city, stars) VALUES (?, ?, ?) RETURNING id", (name, city, stars)
    ).fetchone()
    facts = {topic: rng.choice(values) for topic, values in FACILITIES.items()}
    facts["airport"] = f"{rng.randint(4, 38)} km"
    facts["centre"] = f"{rng.randint(2, 45) / 10} km"
    db.executemany("INSERT INTO facilities VALUES (?, ?, ?)", [(hotel, *fact) for fact in facts.items()])
    base = 30 + rng.randint(22, 36) * stars
    kinds = ["double", *(kind for kind in SLEEPS if kind != "double" and rng.random() < 0.75)]
    for floor, kind in enumerate(kinds, start=1):
        price = round(base * {"single": 0.75, "double": 1.0, "suite": 1.7, "family": 1.5}[kind])
        rates = [(hotel, kind, day, price + (10 if day in (4, 5) else 0)) for day in range(7)]
        db.executemany("INSERT INTO rates VALUES (?, ?, ?, ?)", rates)
        rooms = [(hotel, 100 * floor + n, kind) for n in range(rng.choice((2, 2, 3)))]
        db.executemany("INSERT INTO rooms (hotel_id, number, kind) VALUES (?, ?, ?)", rooms)


def _fill(rng: random.Random, inventory: Inventory, hotels: list[Hotel], start: date) -> None:
    """Other guests' bookings: some weekends on which the whole city is full, and scattered ones."""
    fridays = rng.sample([start + timedelta(days=n) for n in range(4, DAYS, 7)], FULL_WEEKENDS_PER_CITY)
    full = {friday + timedelta(days=n) for friday in fridays for n in range(-1, 2)}
    for hotel in hotels:
        for room, kind in inventory.rooms(hotel):
            night = start
            while night < start + timedelta(days=DAYS):
                nights = 1 if night in full else rng.choice((1, 2, 3))
                span = {night + timedelta(days=n) for n in range(nights)}
                if night in full or (rng.random() < 0.25 and not span & full):
                    inventory.occupy(hotel, room, Stay(night, nights, 1, kind=kind))
                night += timedelta(days=nights)
