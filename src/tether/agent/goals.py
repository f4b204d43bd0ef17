"""What simulated guests want, apart from how they say it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from tether.agent.inventory import Booking, Stay, Unavailable
from tether.agent.world import CITIES, FACILITIES, FIRST_NAMES, HOTELS, LAST_NAMES, NOT_SERVED, Split

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from tether.agent.acts import Slots
    from tether.agent.tools import Desk

TOPICS = (*FACILITIES, "airport", "centre")
MAIN = ("city", "check_in", "nights", "guests")


@dataclass(frozen=True)
class Goal:
    """A guest's wish and character.

    Attributes:
        scenario: What makes this conversation what it is; the group under which it is counted.
        intent: "book", "change", "cancel" or "info".
        wish: Everything the guest wants, by slot.
        opening: The slots that are said at once; the others only when asked for.
        rethink: Slots the guest changes, once, when ``stage`` is reached.
        topics: Questions about the hotel that are asked when ``stage`` is reached.
        stage: "offer", "confirm" or "done".
        pick: Which of the offered hotels is taken.
        sees_rooms: Whether the guest wants to hear about the rooms before choosing.
        room: The kind of room that is then chosen, if there is one.
        flexible: Whether the guest takes the alternative if the wish cannot be met.
        small_talk: "", "greet" (a greeting first) or "remark" (why they travel).
        mistyped: A wrong reference that is given first.
    """

    scenario: str
    intent: str
    wish: Slots
    opening: tuple[str, ...]
    rethink: Slots = field(default_factory=dict)
    topics: tuple[str, ...] = ()
    stage: str = "offer"
    pick: int = 0
    sees_rooms: bool = False
    room: str = "double"
    flexible: bool = True
    small_talk: str = ""
    mistyped: str = ""


def sample_goal(rng: random.Random, desk: Desk, split: Split) -> Goal:
    """Draw a goal; where it is about an existing booking, that booking is put into the desk's books."""
    makers, weights = zip(*_SCENARIOS, strict=True)
    goal: Goal = rng.choices(makers, weights)[0](rng, desk, split)
    chat = rng.choices(("", "greet", "remark"), (7, 1.5, 1.5 if goal.intent == "book" else 0.0))[0]
    return replace(goal, small_talk=chat)


def _name(rng: random.Random, split: Split) -> str:
    return f"{rng.choice(FIRST_NAMES[split])} {rng.choice(LAST_NAMES[split])}"


def _draw_wish(rng: random.Random, desk: Desk, split: Split) -> Slots:
    """City, dates, party and perhaps a budget, stars or kind of room; not looked up yet."""
    rooms = 2 if rng.random() < 0.1 else 1
    wish: Slots = {
        "city": rng.choice(CITIES[split]),
        "check_in": desk.today + timedelta(days=rng.choice((rng.randint(1, 8), rng.randint(3, 60)))),
        "nights": rng.choices((1, 2, 3, 4, 5, 7), (2, 4, 4, 2, 1, 1))[0],
        "guests": rng.choices((1, 2, 3, 4), (3, 5, 2, 2))[0] if rooms == 1 else rng.randint(3, 5),
        "name": _name(rng, split),
    }
    if rooms == 2:
        wish["rooms"] = 2
    extra = rng.random()
    if extra < 0.2:
        wish["max_price"] = rng.choice((90, 100, 120, 140, 160, 200))
    elif extra < 0.35:
        wish["min_stars"] = rng.choice((3, 4))
    elif extra < 0.5 and rooms == 1:
        wish["room"] = {1: "double", 2: "double", 3: "suite", 4: "family"}[wish["guests"]]
    return wish


def _search(desk: Desk, wish: Slots) -> dict[str, Any]:
    return desk.call(
        "search_hotels", {key: value for key, value in wish.items() if key not in ("name", "hotel")}
    )


def _wish(rng: random.Random, desk: Desk, split: Split, fits: Callable[[dict[str, Any]], bool]) -> Slots:
    """A wish to which the search says what is asked for."""
    while True:
        wish = _draw_wish(rng, desk, split)
        if fits(_search(desk, wish)):
            return wish


def _can_be_met(result: dict[str, Any]) -> bool:
    return bool(result.get("hotels"))


def _opening(rng: random.Random, wish: Slots, place: str = "city") -> tuple[str, ...]:
    """The place, most of the main slots and all that is special about the wish."""
    main = [key for key in (place, *MAIN[1:]) if rng.random() < (0.85 if key == place else 0.6)]
    special = [key for key in ("rooms", "room", "max_price", "min_stars") if key in wish]
    return (*main, *special, *(["name"] if rng.random() < 0.06 else []))


def _book(rng: random.Random, desk: Desk, split: Split) -> Goal:
    wish = _wish(rng, desk, split, _can_be_met)
    topics = (rng.choice(TOPICS),) if rng.random() < 0.3 else ()
    plain = "room" not in wish and "rooms" not in wish
    return Goal(
        scenario="book",
        intent="book",
        wish=wish,
        opening=_opening(rng, wish),
        topics=topics,
        stage=rng.choice(("offer", "confirm", "done")),
        pick=rng.choice((0, 0, 1)),
        sees_rooms=plain and rng.random() < 0.12,
        room=rng.choice(("double", "suite", "family")),
    )


def _rethink(rng: random.Random, desk: Desk, split: Split) -> Goal:
    goal = _book(rng, desk, split)
    wish = goal.wish
    changes: list[Slots] = [
        {"nights": wish["nights"] + rng.choice((1, 2))},
        {"check_in": wish["check_in"] + timedelta(days=rng.choice((1, 2, 7)))},
        {"city": rng.choice([city for city in CITIES[split] if city != wish["city"]])},
    ]
    if wish["guests"] < 4:
        changes.append({"guests": wish["guests"] + 1})
    if wish["nights"] > 1:
        changes.append({"nights": wish["nights"] - 1})
    change = rng.choice(changes)
    stage = rng.choice(("offer", "confirm"))
    # A bigger party needs a bigger room, so a wished kind would contradict it.
    if "guests" in change:
        wish.pop("room", None)
    return replace(
        goal,
        scenario="change_of_mind",
        rethink=change,
        topics=(),
        stage=stage,
        sees_rooms=False,
        opening=tuple(key for key in goal.opening if key in wish),
    )


def _named_hotel(rng: random.Random, desk: Desk, split: Split) -> Goal:
    goal = _book(rng, desk, split)
    wish = {key: value for key, value in goal.wish.items() if key not in ("max_price", "min_stars", "room")}
    hotel = rng.choice(desk.inventory.hotels(wish["city"]))
    wish["hotel"] = hotel.name
    opening = ("hotel", *(key for key in goal.opening if key in wish and key != "city"))
    stage = rng.choice(("confirm", "done"))
    return replace(goal, scenario="named_hotel", wish=wish, opening=opening, stage=stage, sees_rooms=False)


def _unavailable(rng: random.Random, desk: Desk, split: Split) -> Goal:
    make = rng.choice((_sold_out, _sold_out, _over_budget, _unknown_city, _unknown_hotel))
    wish = make(rng, desk, split)
    opening = _opening(rng, wish, "hotel" if "hotel" in wish else "city")
    return Goal("unavailable", "book", wish, opening, pick=rng.choice((0, 1)), flexible=rng.random() < 0.75)


def _sold_out(rng: random.Random, desk: Desk, split: Split) -> Slots:
    return _wish(rng, desk, split, lambda result: result.get("reason") in ("sold out", "no such room"))


def _over_budget(rng: random.Random, desk: Desk, split: Split) -> Slots:
    wish = _wish(rng, desk, split, _can_be_met)
    cheapest = _search(desk, wish)["hotels"][0]["price"]
    return {**wish, "max_price": max(20, (cheapest - rng.randint(5, 25)) // 5 * 5)}


def _unknown_city(rng: random.Random, desk: Desk, split: Split) -> Slots:
    return {**_wish(rng, desk, split, _can_be_met), "city": rng.choice(NOT_SERVED[split])}


def _unknown_hotel(rng: random.Random, desk: Desk, split: Split) -> Slots:
    known = {hotel.name for hotel in desk.inventory.hotels()}
    wish = _wish(rng, desk, split, _can_be_met)
    return {**wish, "hotel": rng.choice([name for name in HOTELS[split] if name not in known])}


def _question(rng: random.Random, desk: Desk, split: Split) -> Goal:
    """Questions about a hotel; half of those who ask then book there."""
    wish = _draw_wish(rng, desk, split)
    hotel = rng.choice(desk.inventory.hotels(wish["city"]))
    wish = {key: wish[key] for key in ("check_in", "nights", "name")}
    wish |= {"hotel": hotel.name, "guests": rng.choices((1, 2, 3, 4), (3, 5, 2, 1))[0]}
    topics = tuple(rng.sample(TOPICS, rng.choice((1, 2, 2, 3))))
    intent = "book" if rng.random() < 0.5 else "info"
    return Goal(
        "question", intent, wish, ("hotel", "check_in", "nights", "guests"), topics=topics, stage="start"
    )


def book_somewhere(rng: random.Random, desk: Desk, split: Split) -> tuple[Booking, Stay]:
    """Put a booking into the desk's books; returns it, and the stay as it was asked for."""
    while True:
        wish = _draw_wish(rng, desk, split)
        stay = Stay(wish["check_in"], wish["nights"], wish["guests"], wish.get("rooms", 1))
        hotel = rng.choice(desk.inventory.hotels(wish["city"]))
        try:
            return desk.inventory.book(hotel, stay, wish["name"]), stay
        except Unavailable:
            continue


def _standing(rng: random.Random, desk: Desk, split: Split) -> tuple[Slots, Stay]:
    """What the guest knows of a booking that is put into the books."""
    booking, stay = book_somewhere(rng, desk, split)
    return {"reference": booking.reference}, stay


def _change(rng: random.Random, desk: Desk, split: Split) -> Goal:
    wish, stay = _standing(rng, desk, split)
    changes: list[Slots] = [
        {"nights": stay.nights + 1},
        {"check_in": stay.check_in + timedelta(days=rng.choice((1, 2, 3, 7)))},
        {"check_in": stay.check_in + timedelta(days=rng.randint(1, 10)), "nights": rng.randint(1, 4)},
    ]
    if stay.people < 4:
        changes.append({"guests": stay.people + 1})
    change = rng.choice(changes)
    opening = ("reference",) * (rng.random() < 0.5) + tuple(change) * (rng.random() < 0.6)
    retry = {"check_in": stay.check_in + timedelta(days=rng.randint(11, 20)), "nights": stay.nights}
    # Other dates are no answer to a room that is too small.
    flexible = "guests" not in change and rng.random() < 0.7
    goal = Goal("change", "change", wish | change, opening, rethink=retry, stage="done", flexible=flexible)
    return _mistype(rng, desk, goal)


def _cancel(rng: random.Random, desk: Desk, split: Split) -> Goal:
    wish, _ = _standing(rng, desk, split)
    opening = ("reference",) * (rng.random() < 0.5)
    return _mistype(rng, desk, Goal("cancel", "cancel", wish, opening, flexible=rng.random() < 0.85))


def _mistype(rng: random.Random, desk: Desk, goal: Goal) -> Goal:
    """Now and then the reference is first given with a wrong digit, one that makes it nobody's."""
    reference: str = goal.wish["reference"]
    wrong = f"{reference[:-1]}{(int(reference[-1]) + 5) % 10}"
    if rng.random() < 0.85 or desk.inventory.knows(wrong):
        return goal
    return replace(goal, mistyped=wrong)


_SCENARIOS: tuple[tuple[Callable[[random.Random, Desk, Split], Goal], float], ...] = (
    (_book, 26),
    (_rethink, 17),
    (_unavailable, 20),
    (_named_hotel, 10),
    (_question, 13),
    (_change, 9),
    (_cancel, 5),
)
