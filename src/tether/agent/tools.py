"""What the agent can do: seven tools over the hotels' books, each a plain function with checked arguments.

A call never raises: what is wrong comes back as ``{"error": ...}`` with what would work instead. Results are
short, since a small model reads them within about a thousand tokens of conversation.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tether.agent.inventory import Booking, Hotel, Inventory, Offer, Stay, Unavailable
from tether.agent.schema import LONGEST_STAY

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Result = dict[str, Any]
Kind = Literal["single", "double", "suite", "family"]
Topic = Literal["pets", "breakfast", "parking", "wifi", "pool", "gym", "arrival", "airport", "centre"]

MOST_HOTELS = 2
DAYS_TO_LOOK_AHEAD = 10
DAYS_OF_FREE_CANCELLATION = 2


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Search(_Arguments):
    """Arguments of ``search_hotels``."""

    city: str
    check_in: date
    nights: int = Field(ge=1, le=LONGEST_STAY)
    guests: int = Field(ge=1, le=12)
    rooms: int = Field(1, ge=1, le=3)
    room: Kind | None = None
    max_price: int | None = Field(None, ge=1)
    min_stars: int | None = Field(None, ge=1, le=5)

    @property
    def stay(self) -> Stay:
        """What is wanted, without city, price and stars."""
        return Stay(self.check_in, self.nights, self.guests, self.rooms, self.room)


class RoomDetails(_Arguments):
    """Arguments of ``room_details``."""

    hotel: str
    check_in: date
    nights: int = Field(ge=1, le=LONGEST_STAY)


class Quote(_Arguments):
    """Arguments of ``quote``; without ``room`` the cheapest that is large enough."""

    hotel: str
    check_in: date
    nights: int = Field(ge=1, le=LONGEST_STAY)
    guests: int = Field(ge=1, le=12)
    rooms: int = Field(1, ge=1, le=3)
    room: Kind | None = None

    @property
    def stay(self) -> Stay:
        """What is wanted."""
        return Stay(self.check_in, self.nights, self.guests, self.rooms, self.room)


class Book(Quote):
    """Arguments of ``book_room``."""

    name: str = Field(min_length=1, max_length=80)


class Change(_Arguments):
    """Arguments of ``change_booking``; what is left out stays as it was."""

    reference: str
    check_in: date | None = None
    nights: int | None = Field(None, ge=1, le=LONGEST_STAY)
    guests: int | None = Field(None, ge=1, le=12)
    room: Kind | None = None


class Cancel(_Arguments):
    """Arguments of ``cancel_booking``."""

    reference: str


class Info(_Arguments):
    """Arguments of ``hotel_info``."""

    hotel: str
    topic: Topic


@dataclass(frozen=True)
class Desk:
    """Where the tools work: the books, and the day on which they are opened."""

    inventory: Inventory
    today: date

    def call(self, name: str, arguments: Mapping[str, Any]) -> Result:
        """Run a tool by name; a wrong name, argument or wish gives ``{"error": ...}``, nothing is raised."""
        tool = TOOLS.get(name)
        if tool is None:
            return {"error": f"no tool {name}", "tools": list(TOOLS)}
        try:
            parsed = tool.arguments.model_validate(arguments)
            self._check_dates(parsed)
            return tool.run(self, parsed)
        except ValidationError as wrong:
            return {"error": "; ".join(_explain(problem) for problem in wrong.errors())}
        except Unavailable as wrong:
            return {"error": str(wrong)}

    def _check_dates(self, arguments: BaseModel) -> None:
        check_in = getattr(arguments, "check_in", None)
        if check_in is not None and check_in < self.today:
            raise Unavailable(f"check_in {check_in} is in the past, today is {self.today}")


@dataclass(frozen=True)
class Tool:
    """A tool's name, what it takes and what it does."""

    name: str
    description: str
    arguments: type[BaseModel]
    run: Callable[[Desk, Any], Result]

    @property
    def schema(self) -> dict[str, Any]:
        """Name, description and JSON Schema of the arguments, without titles and defaults."""
        full = self.arguments.model_json_schema()
        properties = {key: _short(value) for key, value in full["properties"].items()}
        parameters = {"type": "object", "properties": properties, "required": full["required"]}
        return {"name": self.name, "description": self.description, "parameters": parameters}


TOOLS: dict[str, Tool] = {}
A = TypeVar("A", bound=BaseModel)


def _tool(
    arguments: type[A], description: str
) -> Callable[[Callable[[Desk, A], Result]], Callable[[Desk, A], Result]]:
    def register(function: Callable[[Desk, A], Result]) -> Callable[[Desk, A], Result]:
        TOOLS[function.__name__] = Tool(function.__name__, description, arguments, function)
        return function

    return register


@_tool(Search, "Free hotels, cheapest first; max_price per night.")
def search_hotels(desk: Desk, wish: Search) -> Result:
    """The two cheapest hotels, or why there is none and the nearest that is free."""
    if not desk.inventory.hotels(wish.city):
        return {"error": f"no hotels in {wish.city}", "cities": desk.inventory.cities()}
    found = _matching(desk.inventory, wish)
    if found:
        return {"hotels": [_brief(offer) for offer in found[:MOST_HOTELS]]}
    return {"hotels": [], **_nearest(desk.inventory, wish)}


@_tool(RoomDetails, "Free rooms with price per night.")
def room_details(desk: Desk, wish: RoomDetails) -> Result:
    """Every kind of room that is free, with how many people it sleeps."""
    hotel = desk.inventory.hotel(wish.hotel)
    offers = desk.inventory.offers(hotel, Stay(wish.check_in, wish.nights, people=1))
    rooms = [{"room": offer.kind, "sleeps": offer.sleeps, "price": offer.per_night} for offer in offers]
    return {"hotel": hotel.name, "rooms": rooms}


@_tool(Quote, "Total price.")
def quote(desk: Desk, wish: Quote) -> Result:
    """The price of the whole stay, or that it is sold out and in which city the hotel is."""
    hotel = desk.inventory.hotel(wish.hotel)
    offers = desk.inventory.offers(hotel, wish.stay)
    if not offers:
        return {"error": "sold out", "hotel": hotel.name, "city": hotel.city}
    best = offers[0]
    check_out = wish.stay.check_out.isoformat()
    return {"hotel": hotel.name, "room": best.kind, "check_out": check_out, "total": best.total}


@_tool(Book, "Book, once the guest agreed to the price.")
def book_room(desk: Desk, wish: Book) -> Result:
    """The reference of the new booking and its price."""
    booking = desk.inventory.book(desk.inventory.hotel(wish.hotel), wish.stay, wish.name)
    return {"reference": booking.reference, "total": booking.total}


@_tool(Change, "Change a booking.")
def change_booking(desk: Desk, wish: Change) -> Result:
    """The booking as it stands after the change; where the new stay is not free the old one stands."""
    booking = desk.inventory.booking(wish.reference)
    old = booking.stay
    stay = replace(
        old,
        check_in=wish.check_in or old.check_in,
        nights=wish.nights or old.nights,
        people=wish.guests or old.people,
        # More people may need another kind of room.
        kind=wish.room or (old.kind if wish.guests is None else None),
    )
    if old.check_in < desk.today:
        raise Unavailable("the stay has begun")
    return _standing(desk.inventory.change(booking.reference, stay))


@_tool(Cancel, "Cancel, once the guest confirmed.")
def cancel_booking(desk: Desk, wish: Cancel) -> Result:
    """What is paid back: all of it until two days before arrival, then all but one night."""
    booking = desk.inventory.booking(wish.reference)
    late = booking.stay.check_in - desk.today < timedelta(days=DAYS_OF_FREE_CANCELLATION)
    fee = round(booking.total / booking.stay.nights) if late else 0
    desk.inventory.cancel(booking.reference, refund=booking.total - fee)
    return {"cancelled": booking.reference, "hotel": booking.hotel.name, "refund": booking.total - fee}


@_tool(Info, "Facilities and distances.")
def hotel_info(desk: Desk, wish: Info) -> Result:
    """What the hotel says on one topic."""
    hotel = desk.inventory.hotel(wish.hotel)
    return {"hotel": hotel.name, wish.topic: desk.inventory.facility(hotel, wish.topic)}


def compact(result: Mapping[str, Any]) -> str:
    """A result as JSON without blanks, as it stands in a conversation."""
    return json.dumps(result, ensure_ascii=False, separators=(",", ":"), default=str)


def _matching(inventory: Inventory, wish: Search) -> list[Offer]:
    """The cheapest fitting room of each hotel, cheapest hotel first."""
    hotels = [hotel for hotel in inventory.hotels(wish.city) if hotel.stars >= (wish.min_stars or 1)]
    best = [offers[0] for hotel in hotels if (offers := inventory.offers(hotel, wish.stay))]
    fitting = [offer for offer in best if wish.max_price is None or offer.per_night <= wish.max_price]
    return sorted(fitting, key=lambda offer: (offer.per_night, offer.hotel.name))


def _nearest(inventory: Inventory, wish: Search) -> Result:
    """Drop one wish after the other, the one that is cheapest to give up first."""
    weaker = wish.model_copy(update={"max_price": None})
    if wish.max_price and (found := _matching(inventory, weaker)):
        return {"reason": "over budget", "nearest": _brief(found[0])}
    weaker = weaker.model_copy(update={"min_stars": None, "room": None})
    if (wish.min_stars or wish.room) and (found := _matching(inventory, weaker)):
        return {"reason": "no such room", "nearest": _brief(found[0])}
    for days in range(1, DAYS_TO_LOOK_AHEAD + 1):
        later = weaker.model_copy(update={"check_in": wish.check_in + timedelta(days=days)})
        if found := _matching(inventory, later):
            nearest = {**_brief(found[0]), "check_in": later.check_in.isoformat()}
            return {"reason": "sold out", "nearest": nearest}
    return {"reason": "sold out"}


def _brief(offer: Offer) -> Result:
    hotel: Hotel = offer.hotel
    return {"hotel": hotel.name, "stars": hotel.stars, "room": offer.kind, "price": offer.per_night}


def _standing(booking: Booking) -> Result:
    stay = booking.stay
    return {
        "reference": booking.reference,
        "hotel": booking.hotel.name,
        "room": stay.kind,
        "check_in": stay.check_in.isoformat(),
        "check_out": stay.check_out.isoformat(),
        "total": booking.total,
    }


def _explain(problem: Any) -> str:
    place = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "missing":
        return f"{place} is missing"
    if problem["type"] == "extra_forbidden":
        return f"there is no argument {place}"
    message = str(problem["msg"]).removeprefix("Input ")
    return f"{place} {message}, not {problem['input']!r}"


def _short(field: dict[str, Any]) -> dict[str, Any]:
    """A field's schema without pydantic's title, default and null alternative."""
    kept = next((option for option in field.get("anyOf", ()) if option["type"] != "null"), field)
    return {key: value for key, value in kept.items() if key in ("type", "enum", "format")}
