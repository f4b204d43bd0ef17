"""The tables of the hotels' books, and what they refuse to store."""

from __future__ import annotations

SLEEPS = {"single": 1, "double": 2, "suite": 3, "family": 4}
LONGEST_STAY = 30

SCHEMA = f"""
CREATE TABLE kinds (kind TEXT PRIMARY KEY, sleeps INTEGER NOT NULL CHECK (sleeps > 0)) STRICT;
CREATE TABLE hotels (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE COLLATE NOCASE,
    city TEXT NOT NULL COLLATE NOCASE,
    stars INTEGER NOT NULL CHECK (stars BETWEEN 1 AND 5)
) STRICT;
CREATE TABLE facilities (
    hotel_id INTEGER NOT NULL REFERENCES hotels, topic TEXT NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (hotel_id, topic)
) STRICT;
CREATE TABLE rooms (
    id INTEGER PRIMARY KEY,
    hotel_id INTEGER NOT NULL REFERENCES hotels,
    number INTEGER NOT NULL,
    kind TEXT NOT NULL REFERENCES kinds,
    UNIQUE (hotel_id, number)
) STRICT;
CREATE TABLE rates (
    hotel_id INTEGER NOT NULL REFERENCES hotels,
    kind TEXT NOT NULL REFERENCES kinds,
    weekday INTEGER NOT NULL CHECK (weekday BETWEEN 0 AND 6),
    price INTEGER NOT NULL CHECK (price > 0),
    PRIMARY KEY (hotel_id, kind, weekday)
) STRICT;
CREATE TABLE guests (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE CHECK (name <> '')) STRICT;
CREATE TABLE bookings (
    id INTEGER PRIMARY KEY,
    reference TEXT NOT NULL UNIQUE COLLATE NOCASE,
    guest_id INTEGER NOT NULL REFERENCES guests,
    hotel_id INTEGER NOT NULL REFERENCES hotels,
    kind TEXT NOT NULL REFERENCES kinds,
    people INTEGER NOT NULL CHECK (people > 0),
    rooms INTEGER NOT NULL CHECK (rooms > 0),
    check_in TEXT NOT NULL CHECK (check_in IS date(check_in)),
    check_out TEXT NOT NULL CHECK (check_out IS date(check_out)),
    total INTEGER NOT NULL CHECK (total > 0),
    CHECK (julianday(check_out) - julianday(check_in) BETWEEN 1 AND {LONGEST_STAY})
) STRICT;
CREATE TABLE stays (
    room_id INTEGER NOT NULL REFERENCES rooms,
    night TEXT NOT NULL CHECK (night IS date(night)),
    booking_id INTEGER NOT NULL REFERENCES bookings,
    PRIMARY KEY (room_id, night)
) STRICT, WITHOUT ROWID;
CREATE INDEX stays_of_booking ON stays (booking_id);
CREATE TABLE cancellations (
    booking_id INTEGER PRIMARY KEY REFERENCES bookings,
    refund INTEGER NOT NULL CHECK (refund >= 0)
) STRICT;
CREATE TRIGGER stay_matches_booking BEFORE INSERT ON stays
WHEN NOT EXISTS (
    SELECT 1 FROM bookings b JOIN rooms r ON r.id = new.room_id
    WHERE b.id = new.booking_id AND b.hotel_id = r.hotel_id AND b.kind = r.kind
      AND new.night >= b.check_in AND new.night < b.check_out
      AND NOT EXISTS (SELECT 1 FROM cancellations c WHERE c.booking_id = b.id)
) BEGIN SELECT RAISE(ABORT, 'the night is not part of this booking'); END;
"""
