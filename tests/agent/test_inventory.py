from __future__ import annotations

import sqlite3
from dataclasses import replace
from datetime import date, timedelta

import pytest

from tether.agent.inventory import Hotel, Inventory, Stay, Unavailable
from tether.agent.world import CITIES, HOTELS_PER_CITY, Split, first_day, world

SPLITS: tuple[Split, ...] = ("train", "dev", "test")


@pytest.fixture
def books() -> Inventory:
    return world("train", 0)


def free_stay(books: Inventory) -> tuple[Hotel, Stay]:
    stay = Stay(first_day("train", 0) + timedelta(days=1), nights=2, people=1)
    hotel = next(hotel for hotel in books.hotels() if books.offers(hotel, stay))
    return hotel, stay


def test_a_double_booking_cannot_be_stored(books: Inventory) -> None:
    hotel, stay = free_stay(books)
    booking = books.book(hotel, stay, "Ana Silva")
    (room,) = books.connection.execute(
        "SELECT DISTINCT room_id FROM stays WHERE booking_id = ?", (booking.id,)
    ).fetchone()
    with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"), books.transaction():
        books.occupy(hotel, room, booking.stay, "Somebody Else")
    assert not books.connection.execute("SELECT 1 FROM guests WHERE name = 'Somebody Else'").fetchone()


def test_a_night_outside_its_booking_cannot_be_stored(books: Inventory) -> None:
    hotel, stay = free_stay(books)
    booking = books.book(hotel, stay, "Ana Silva")
    sql = "INSERT INTO stays SELECT room_id, ?, booking_id FROM stays WHERE booking_id = ?"
    with pytest.raises(sqlite3.IntegrityError, match="not part of this booking"):
        books.connection.execute(sql, (stay.check_out.isoformat(), booking.id))


@pytest.mark.parametrize(
    "change",
    [
        "check_out = check_in",
        "check_in = 'soon'",
        "people = 0",
        "total = -1",
        "hotel_id = 999",
        "kind = 'tent'",
    ],
)
def test_nonsense_in_a_booking_is_refused(books: Inventory, change: str) -> None:
    hotel, stay = free_stay(books)
    booking = books.book(hotel, stay, "Ana Silva")
    with pytest.raises(sqlite3.IntegrityError):
        books.connection.execute(f"UPDATE bookings SET {change} WHERE id = ?", (booking.id,))


def test_rooms_run_out(books: Inventory) -> None:
    hotel, stay = free_stay(books)
    for guest in range(len(books.rooms(hotel))):
        if not books.offers(hotel, stay):
            break
        books.book(hotel, stay, f"Guest {guest}")
    with pytest.raises(Unavailable, match="no such room free"):
        books.book(hotel, stay, "Too Late")


def test_cancelling_frees_the_room_and_the_booking_is_gone(books: Inventory) -> None:
    hotel, stay = free_stay(books)
    before = books.offers(hotel, stay)
    booking = books.book(hotel, stay, "Ana Silva")
    books.cancel(booking.reference, refund=booking.total)
    assert books.offers(hotel, stay) == before
    with pytest.raises(Unavailable, match="was cancelled"):
        books.booking(booking.reference)


def test_a_stay_can_be_extended_over_its_own_nights_and_a_failed_change_changes_nothing(
    books: Inventory,
) -> None:
    hotel, stay = free_stay(books)
    booking = books.book(hotel, replace(stay, nights=1), "Ana Silva")
    longer = books.change(booking.reference, replace(booking.stay, nights=2))
    assert longer.stay.nights == 2
    with pytest.raises(Unavailable):
        books.change(booking.reference, replace(longer.stay, people=50))
    assert books.booking(booking.reference) == longer


def test_total_is_the_sum_of_the_nights() -> None:
    books = Inventory()
    books.connection.execute("INSERT INTO hotels VALUES (1, 'Inn', 'Town', 3)")
    books.connection.execute("INSERT INTO rooms VALUES (1, 1, 101, 'double')")
    rates = [(1, "double", day, 100 + day) for day in range(7)]
    books.connection.executemany("INSERT INTO rates VALUES (?, ?, ?, ?)", rates)
    friday = date(2026, 5, 8)
    assert books.book(books.hotel("inn"), Stay(friday, 3, 2), "A").total == 104 + 105 + 106


def test_a_file_keeps_what_was_booked(books: Inventory, tmp_path) -> None:  # type: ignore[no-untyped-def]
    hotel, stay = free_stay(books)
    stored = books.copy(tmp_path / "books.db")
    booking = stored.book(hotel, stay, "Ana Silva")
    stored.close()
    assert Inventory(tmp_path / "books.db").booking(booking.reference) == booking
    assert not books.knows(booking.reference)


def test_worlds_are_reproducible_and_copies_independent() -> None:
    one, two = world("dev", 3), world("dev", 3)
    assert "\n".join(one.connection.iterdump()) == "\n".join(two.connection.iterdump())
    stay = Stay(first_day("dev", 3), 1, 1)
    hotel = next(hotel for hotel in one.hotels() if one.offers(hotel, stay))
    assert not two.knows(one.book(hotel, stay, "Ana Silva").reference)


def test_splits_share_no_city_and_no_hotel() -> None:
    for split in SPLITS:
        books = world(split, 0)
        assert len(books.hotels()) == HOTELS_PER_CITY * len(CITIES[split]) >= 12
        for other in SPLITS:
            if other != split:
                others = [hotel for number in range(8) for hotel in world(other, number).hotels()]
                assert not {hotel.name for hotel in books.hotels()} & {hotel.name for hotel in others}
                assert not {hotel.city for hotel in books.hotels()} & {hotel.city for hotel in others}
