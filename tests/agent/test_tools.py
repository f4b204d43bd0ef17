from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from tether.agent import tool_schemas
from tether.agent.tools import TOOLS, Desk, compact
from tether.agent.world import first_day, world

TODAY = first_day("train", 0) + timedelta(days=2)
SOON = (TODAY + timedelta(days=3)).isoformat()


@pytest.fixture
def desk() -> Desk:
    return Desk(world("train", 0), TODAY)


SEARCH: dict[str, Any] = {"city": "Boston", "check_in": SOON, "nights": 2, "guests": 2}


def booked(desk: Desk) -> tuple[dict[str, Any], dict[str, Any]]:
    hotel = desk.call("search_hotels", SEARCH)["hotels"][0]["hotel"]
    stay = {"hotel": hotel, "check_in": SOON, "nights": 2, "guests": 2}
    return stay, desk.call("book_room", {**stay, "name": "Ana Silva"})


@pytest.mark.parametrize(
    ("tool", "arguments", "message"),
    [
        ("search_hotels", {**SEARCH, "nights": 0}, "nights should be greater than or equal to 1, not 0"),
        ("search_hotels", {**SEARCH, "check_in": "next Friday"}, "check_in should be a valid date"),
        ("search_hotels", {**SEARCH, "check_in": "2020-01-01"}, "is in the past, today is"),
        ("search_hotels", {"city": "Boston"}, "check_in is missing; nights is missing; guests is missing"),
        ("search_hotels", {**SEARCH, "pets": True}, "there is no argument pets"),
        (
            "search_hotels",
            {**SEARCH, "room": "cave"},
            "room should be 'single', 'double', 'suite' or 'family'",
        ),
        ("search_hotels", {**SEARCH, "city": "Atlantis"}, "no hotels in Atlantis"),
        (
            "quote",
            {"hotel": "Nowhere Inn", "check_in": SOON, "nights": 1, "guests": 1},
            "no hotel named Nowhere Inn",
        ),
        ("change_booking", {"reference": "B1", "nights": 2}, "no booking B1"),
        ("cancel_booking", {"reference": "B1"}, "no booking B1"),
        ("hotel_info", {"hotel": "Boston", "topic": "ghosts"}, "topic should be 'pets'"),
        ("fly_to_moon", {}, "no tool fly_to_moon"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(
    desk: Desk, tool: str, arguments: dict[str, Any], message: str
) -> None:
    before = desk.inventory.connection.total_changes
    assert message in desk.call(tool, arguments)["error"]
    assert desk.inventory.connection.total_changes == before


def test_an_unknown_city_comes_with_the_known_ones(desk: Desk) -> None:
    assert "Boston" in desk.call("search_hotels", {**SEARCH, "city": "Atlantis"})["cities"]


def test_what_is_offered_is_quoted_and_booked_at_its_price(desk: Desk) -> None:
    offer = desk.call("search_hotels", SEARCH)["hotels"][0]
    stay = {"hotel": offer["hotel"], "check_in": SOON, "nights": 2, "guests": 2}
    quoted = desk.call("quote", stay)
    assert quoted["room"] == offer["room"]
    assert abs(quoted["total"] - 2 * offer["price"]) <= 1
    assert desk.call("book_room", {**stay, "name": "Ana Silva"})["total"] == quoted["total"]


def test_search_keeps_to_budget_and_stars(desk: Desk) -> None:
    for offer in desk.call("search_hotels", {**SEARCH, "max_price": 150, "min_stars": 3})["hotels"]:
        assert offer["price"] <= 150
        assert offer["stars"] >= 3


def test_over_budget_names_the_cheapest(desk: Desk) -> None:
    cheapest = desk.call("search_hotels", SEARCH)["hotels"][0]
    refused = desk.call("search_hotels", {**SEARCH, "max_price": 1})
    assert refused == {"hotels": [], "reason": "over budget", "nearest": cheapest}


def test_a_changed_booking_stands_and_a_cancelled_one_is_paid_back(desk: Desk) -> None:
    stay, booking = booked(desk)
    changed = desk.call("change_booking", {"reference": booking["reference"], "nights": 1})
    assert changed["check_out"] == (TODAY + timedelta(days=4)).isoformat()
    cancelled = desk.call("cancel_booking", {"reference": booking["reference"]})
    assert cancelled["refund"] == changed["total"]
    assert "was cancelled" in desk.call("cancel_booking", {"reference": booking["reference"]})["error"]


def test_who_cancels_late_pays_one_night(desk: Desk) -> None:
    _, booking = booked(desk)
    late = Desk(desk.inventory, TODAY + timedelta(days=2))
    assert late.call("cancel_booking", {"reference": booking["reference"]})["refund"] == booking["total"] // 2


def test_every_topic_is_known_for_every_hotel(desk: Desk) -> None:
    topics = TOOLS["hotel_info"].schema["parameters"]["properties"]["topic"]["enum"]
    for hotel in desk.inventory.hotels():
        for topic in topics:
            assert desk.call("hotel_info", {"hotel": hotel.name, "topic": topic})[topic]


def test_schemas_are_json_and_as_short_as_they_can_be() -> None:
    schemas = tool_schemas()
    assert [schema["name"] for schema in schemas] == list(TOOLS)
    for schema in schemas:
        properties = schema["parameters"]["properties"]
        assert set(schema["parameters"]["required"]) <= set(properties)
        assert all(set(field) <= {"type", "enum", "format"} for field in properties.values())
    assert len(json.dumps(schemas)) < 3000


def test_results_carry_no_blanks() -> None:
    assert compact({"a": 1, "b": ["x", "é"]}) == '{"a":1,"b":["x","é"]}'
