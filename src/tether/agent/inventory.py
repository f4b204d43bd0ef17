"""The hotels' books: rooms, rates, guests and bookings in SQLite.

A booking holds one row of ``stays`` per room and night, and (room, night) is the primary key there: a double
booking cannot be stored, whoever writes to the file.
"""

from __future__ import annotations

import sqlite3
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

from tether.agent.schema import SCHEMA, SLEEPS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Unavailable(Exception):
    """What was asked for is not free, or does not exist; the message says which."""


@dataclass(frozen=True)
class Stay:
    """What a guest wants from a hotel; ``kind`` is the room type."""

    check_in: date
    nights: int
    people: int
    rooms: int = 1
    kind: str | None = None

    @property
    def check_out(self) -> date:
        """The morning of departure."""
        return self.check_in + timedelta(days=self.nights)


@dataclass(frozen=True)
class Hotel:
    """One row of ``hotels``."""

    id: int
    name: str
    city: str
    stars: int


@dataclass(frozen=True)
class Offer:
    """Rooms of one kind that are free for a whole stay; prices in whole dollars."""

    hotel: Hotel
    kind: str
    sleeps: int
    total: int
    per_night: int


@dataclass(frozen=True)
class Booking:
    """One row of ``bookings`` with the names it refers to."""

    id: int
    reference: str
    guest: str
    hotel: Hotel
    stay: Stay
    total: int


class Inventory:
    """Reads and writes one database of hotels."""

    def __init__(self, path: str | Path = ":memory:") -> None:
        """Open a database file, or an empty one in memory; tables are made where there are none."""
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA foreign_keys = ON")
        if not self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'hotels'").fetchone():
            self._db.executescript(SCHEMA)
            self._db.executemany("INSERT INTO kinds VALUES (?, ?)", SLEEPS.items())

    @property
    def connection(self) -> sqlite3.Connection:
        """The open database, in autocommit mode and with foreign keys enforced."""
        return self._db

    def copy(self, path: str | Path = ":memory:") -> Inventory:
        """An independent copy, in memory or in a file whose content is replaced."""
        target = sqlite3.connect(path)
        self._db.backup(target)
        if str(path) != ":memory:":
            target.close()
            return Inventory(path)
        other = Inventory.__new__(Inventory)
        target.isolation_level = None
        target.execute("PRAGMA foreign_keys = ON")
        other._db = target
        return other

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of what is written inside stands, or, where an exception leaves it, none of it."""
        self._db.execute("BEGIN IMMEDIATE")
        with self._db:
            yield

    def close(self) -> None:
        """Close the database; an in-memory one is gone."""
        self._db.close()

    def cities(self) -> list[str]:
        """The cities that have a hotel, by name."""
        return [city for (city,) in self._db.execute("SELECT DISTINCT city FROM hotels ORDER BY city")]

    def hotel(self, name: str) -> Hotel:
        """The hotel of this name, in any case; raises Unavailable where there is none."""
        row = self._db.execute("SELECT id, name, city, stars FROM hotels WHERE name = ?", (name,)).fetchone()
        if row is None:
            raise Unavailable(f"no hotel named {name}")
        return Hotel(*row)

    def hotels(self, city: str | None = None) -> list[Hotel]:
        """All hotels, or those of one city, by name."""
        sql = "SELECT id, name, city, stars FROM hotels WHERE city = coalesce(?, city) ORDER BY name"
        return [Hotel(*row) for row in self._db.execute(sql, (city,))]

    def facility(self, hotel: Hotel, topic: str) -> str:
        """What the hotel says on a topic, such as "pets" or "airport"."""
        sql = "SELECT value FROM facilities WHERE hotel_id = ? AND topic = ?"
        row = self._db.execute(sql, (hotel.id, topic)).fetchone()
        if row is None:
            raise Unavailable(f"nothing is known about {topic} at {hotel.name}")
        return str(row[0])

    def offers(self, hotel: Hotel, stay: Stay, *, besides: int = -1) -> list[Offer]:
        """Kinds of rooms free for the whole stay and large enough, cheapest first.

        Args:
            hotel: Where.
            stay: When, how many people in how many rooms, and the kind if it matters.
            besides: A booking whose own nights count as free (the one that is being moved).
        """
        free = self._free_rooms(hotel, stay, besides)
        prices = self._prices(hotel, stay)
        found = [
            Offer(hotel, kind, SLEEPS[kind], prices[kind] * stay.rooms, round(prices[kind] / stay.nights))
            for kind, rooms in free.items()
            if len(rooms) >= stay.rooms
            and SLEEPS[kind] * stay.rooms >= stay.people
            and stay.kind in (None, kind)
        ]
        return sorted(found, key=lambda offer: (offer.total, offer.kind))

    def book(self, hotel: Hotel, stay: Stay, guest: str) -> Booking:
        """Book the cheapest fitting kind of room; raises Unavailable where none is free."""
        offer = self._best(hotel, stay, besides=-1)
        with self.transaction():
            number, reference = self._write_booking(hotel, stay, offer.kind, guest, offer.total)
            self._hold(number, hotel, offer.kind, stay)
        return self.booking(reference)

    def rooms(self, hotel: Hotel) -> list[tuple[int, str]]:
        """Id and kind of each room of a hotel."""
        sql = "SELECT id, kind FROM rooms WHERE hotel_id = ? ORDER BY id"
        return self._db.execute(sql, (hotel.id,)).fetchall()

    def occupy(self, hotel: Hotel, room: int, stay: Stay, guest: str = "walk-in") -> None:
        """Put a guest into one given room, inside a transaction; sqlite3.IntegrityError where it is taken."""
        kind = stay.kind or "double"
        number, _ = self._write_booking(hotel, stay, kind, guest, self._prices(hotel, stay)[kind])
        self._hold_rooms(number, [room], stay)

    def booking(self, ref: str) -> Booking:
        """The booking of this reference; raises Unavailable where there is none, or it was cancelled."""
        row = self._db.execute(
            "SELECT b.id, b.reference, g.name, h.name, b.check_in, b.check_out, b.people, b.rooms, b.kind,"
            " b.total, c.booking_id FROM bookings b"
            " JOIN guests g ON g.id = b.guest_id JOIN hotels h ON h.id = b.hotel_id"
            " LEFT JOIN cancellations c ON c.booking_id = b.id WHERE b.reference = ?",
            (ref,),
        ).fetchone()
        if row is None:
            raise Unavailable(f"no booking {ref}")
        number, stored, guest, hotel, check_in, check_out, people, rooms, kind, total, cancelled = row
        if cancelled is not None:
            raise Unavailable(f"booking {stored} was cancelled")
        first = date.fromisoformat(check_in)
        stay = Stay(first, (date.fromisoformat(check_out) - first).days, people, rooms, kind)
        return Booking(number, stored, guest, self.hotel(hotel), stay, total)

    def knows(self, ref: str) -> bool:
        """Whether a booking of this reference was ever made."""
        return self._db.execute("SELECT 1 FROM bookings WHERE reference = ?", (ref,)).fetchone() is not None

    def change(self, ref: str, stay: Stay) -> Booking:
        """Move a booking to another stay in the same hotel; where that is not free, Unavailable is raised."""
        old = self.booking(ref)
        offer = self._best(old.hotel, stay, besides=old.id)
        with self.transaction():
            self._db.execute("DELETE FROM stays WHERE booking_id = ?", (old.id,))
            self._db.execute(
                "UPDATE bookings SET kind = ?, people = ?, rooms = ?, check_in = ?, check_out = ?, total = ?"
                " WHERE id = ?",
                (offer.kind, stay.people, stay.rooms, stay.check_in.isoformat(), stay.check_out.isoformat())
                + (offer.total, old.id),
            )
            self._hold(old.id, old.hotel, offer.kind, stay)
        return self.booking(ref)

    def cancel(self, ref: str, *, refund: int) -> Booking:
        """Cancel a booking, free its rooms and note what is paid back; returns what was booked."""
        old = self.booking(ref)
        with self.transaction():
            self._db.execute("DELETE FROM stays WHERE booking_id = ?", (old.id,))
            self._db.execute("INSERT INTO cancellations VALUES (?, ?)", (old.id, refund))
        return old

    def _best(self, hotel: Hotel, stay: Stay, *, besides: int) -> Offer:
        offers = self.offers(hotel, stay, besides=besides)
        if not offers:
            raise Unavailable(f"{hotel.name} has no {stay.kind or 'such'} room free on those nights")
        return offers[0]

    def _free_rooms(self, hotel: Hotel, stay: Stay, besides: int) -> dict[str, list[int]]:
        rows = self._db.execute(
            "SELECT kind, id FROM rooms r WHERE hotel_id = ? AND NOT EXISTS ("
            "SELECT 1 FROM stays s WHERE s.room_id = r.id AND s.night >= ? AND s.night < ?"
            " AND s.booking_id <> ?) ORDER BY number",
            (hotel.id, stay.check_in.isoformat(), stay.check_out.isoformat(), besides),
        )
        free: dict[str, list[int]] = {}
        for kind, room in rows:
            free.setdefault(kind, []).append(room)
        return free

    def _prices(self, hotel: Hotel, stay: Stay) -> dict[str, int]:
        """Price of the whole stay in one room, by kind."""
        weekdays = [(stay.check_in.weekday() + night) % 7 for night in range(stay.nights)]
        prices: dict[str, int] = {}
        sql = "SELECT kind, weekday, price FROM rates WHERE hotel_id = ?"
        for kind, weekday, price in self._db.execute(sql, (hotel.id,)):
            prices[kind] = prices.get(kind, 0) + price * weekdays.count(weekday)
        return prices

    def _write_booking(self, hotel: Hotel, stay: Stay, kind: str, guest: str, total: int) -> tuple[int, str]:
        self._db.execute("INSERT OR IGNORE INTO guests (name) VALUES (?)", (guest,))
        (number,) = self._db.execute("SELECT coalesce(max(id), 0) + 1 FROM bookings").fetchone()
        reference = self._free_reference(f"{hotel.name}/{guest}/{stay}")
        self._db.execute(
            "INSERT INTO bookings SELECT ?, ?, id, ?, ?, ?, ?, ?, ?, ? FROM guests WHERE name = ?",
            (number, reference, hotel.id, kind, stay.people, stay.rooms)
            + (stay.check_in.isoformat(), stay.check_out.isoformat(), total, guest),
        )
        return int(number), reference

    def _free_reference(self, content: str) -> str:
        """A reference that looks drawn but follows from what is booked, so that a replay repeats it."""
        digits = zlib.crc32(content.encode()) % 90_000
        while self.knows(f"B{10_000 + digits}"):
            digits = (digits + 1) % 90_000
        return f"B{10_000 + digits}"

    def _hold(self, booking: int, hotel: Hotel, kind: str, stay: Stay) -> None:
        self._hold_rooms(booking, self._free_rooms(hotel, stay, booking)[kind][: stay.rooms], stay)

    def _hold_rooms(self, booking: int, rooms: list[int], stay: Stay) -> None:
        nights = [(stay.check_in + timedelta(days=n)).isoformat() for n in range(stay.nights)]
        rows = [(room, night, booking) for room in rooms for night in nights]
        self._db.executemany("INSERT INTO stays VALUES (?, ?, ?)", rows)
