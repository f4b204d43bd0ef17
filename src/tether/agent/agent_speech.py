"""Puts the agent's acts into words; questions end in a question mark, and every figure comes from a tool."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from tether.agent.dates import count, month_day
from tether.agent.guest_speech import ROOMS

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from tether.agent.acts import Act, Slots
    from tether.agent.tools import Result

SPOKEN: dict[str, tuple[str, ...]] = {
    "greet": ("Hello! How can I help you today?", "Hi, welcome! What can I do for you?"),
    "nice": ("How nice!", "That sounds lovely."),
    "ask_city": ("Which city would you like to stay in?", "In which city do you need a hotel?"),
    "ask_city_check_in": ("Which city would you like to stay in, and when do you arrive?",),
    "ask_city_nights": ("Which city would you like to stay in, and for how many nights?",),
    "ask_city_guests": ("Which city would you like to stay in, and how many people are you?",),
    "ask_check_in": ("On which day would you like to check in?", "When would you like to arrive?"),
    "ask_check_in_nights": ("When would you like to arrive, and for how many nights?",),
    "ask_check_in_guests": ("When would you like to arrive, and how many people are you?",),
    "ask_nights": ("How many nights would you like to stay?", "For how many nights?"),
    "ask_nights_guests": ("How many nights would you like to stay, and for how many people?",),
    "ask_guests": ("How many people will be staying?", "For how many people?"),
    "ask_reference": ("Could you give me the reference of your booking?", "What is your booking reference?"),
    "ask_change": ("What would you like to change?", "Of course. What should I change?"),
    "offer_one": (
        "In {city} I found {first}. Would you like to book it?",
        "There is {first}, in {city}. Does that suit you?",
    ),
    "offer_two": (
        "In {city} I found {first}, and {second}. Which one would you like?",
        "There is {first}, or {second}, both in {city}. Which do you prefer?",
    ),
    "over_budget": (
        "There is nothing in {city} for ${max_price} a night. The closest is {first}. Would you like that?",
        "In {city} nothing is free within ${max_price} a night; the cheapest is {first}. Would that do?",
    ),
    "no such room": (
        "I found nothing quite like that in {city}, but there is {first}. Would you like that?",
        "In {city} nothing matches all of that on those nights. There is {first}, though. Would that do?",
    ),
    "sold out": (
        "{city} is sold out on those nights. From {date} there is {first}. Would that work for you?",
        "Nothing is free in {city} on those nights, but from {date} there is {first}. Does that suit you?",
    ),
    "nothing": (
        "I am sorry, nothing is free in {city} around those dates. Would you like to try other dates?",
    ),
    "no_city": (
        "I am sorry, we have no hotels in {city}. We do have some in {cities}. Would one of those suit you?",
        "We are not in {city} yet, but in {cities}. Would you like to go to one of those?",
    ),
    "no_hotel": ("I can't find a hotel called {hotel}.", "We have no hotel by the name of {hotel}."),
    "sold_out": ("{hotel} has no room for you on those nights.", "{hotel} is sold out on those nights."),
    "rooms": (
        "{hotel} has {rooms}. Which room would you like?",
        "At {hotel} there is {rooms}. Which do you prefer?",
    ),
    "confirm": (
        "{hotel}, {room}, {check_in} to {check_out} for {people}: ${total} in total. {question}",
        "That is {room} at {hotel} for {people}, {check_in} to {check_out}, ${total} in total. {question}",
    ),
    "booked": (
        "Your room at {hotel} is booked. The reference is {reference}. Can I help with anything else?",
        "Done! {hotel} expects you; your reference is {reference}. Is there anything else?",
    ),
    "not_found": (
        "I can't find a booking {reference}. Could you check the reference?",
        "There is no booking {reference}. What is the right reference?",
    ),
    "changed": (
        "{reference} is now {room} at {hotel}, {check_in} to {check_out}, ${total} in total. Anything else?",
        "Done: {room} at {hotel} from {check_in} to {check_out}, ${total} in total. Anything else?",
    ),
    "cannot_change": (
        "I am sorry, the hotel has no room for that change. Shall I try other dates, or leave it as it is?",
        "That change is not possible, the hotel is full. Would other dates work, or shall I leave it?",
    ),
    "confirm_cancel": (
        "Shall I cancel booking {reference}?",
        "Do you want me to cancel booking {reference} now?",
    ),
    "cancelled": (
        "Booking {reference} at {hotel} is cancelled; ${refund} will be paid back. Anything else?",
        "Your booking {reference} at {hotel} is cancelled and you get ${refund} back. Anything else?",
    ),
    "kept": ("All right, booking {reference} stays as it is. Anything else?",),
    "refuse": (
        "I am sorry, I can't do that.",
        "I'm afraid that is not something I can do for you.",
    ),
    "bye": ("You're welcome. Goodbye!", "Thank you for choosing us. Goodbye!"),
    "part": ("I understand. Goodbye!", "I am sorry that it did not work out. Goodbye!"),
    "prompt_choose": ("Would you like to book it?", "Shall I look up the price of your stay there?"),
    "prompt_confirm": ("Shall I book it?", "Would you like me to book it?"),
    "prompt_more": ("Is there anything else?", "Can I help with anything else?"),
}

# A hotel's own words on a topic, by what they begin with.
FACTS: dict[str, tuple[tuple[str, str], ...]] = {
    "pets": (
        ("no", "{hotel} does not take pets."),
        ("yes, free", "Pets are welcome at {hotel} and stay free."),
        ("yes, ", "Pets are welcome at {hotel} for {rest}."),
    ),
    "breakfast": (
        ("included", "Breakfast is included at {hotel}."),
        ("not served", "{hotel} does not serve breakfast."),
        ("", "Breakfast at {hotel} is {rest}."),
    ),
    "parking": (
        ("no", "{hotel} has no parking."),
        ("free", "Parking at {hotel} is free."),
        ("", "Parking at {hotel} is {rest}."),
    ),
    "wifi": (("free", "Wifi is free at {hotel}."), ("", "{hotel} has wifi for {rest}.")),
    "pool": (("no", "{hotel} has no pool."), ("", "{hotel} has an {rest} pool.")),
    "gym": (("no", "{hotel} has no gym."), ("", "Yes, {hotel} has a gym.")),
    "arrival": (("", "You can check in at {hotel} {rest}."),),
    "airport": (("", "{hotel} is {rest} from the airport."),),
    "centre": (("", "{hotel} is {rest} from the city centre."),),
}


def say(rng: random.Random, acts: Sequence[Act]) -> str:
    """One turn of the agent."""
    return " ".join(_sentence(rng, act) for act in acts)


def _sentence(rng: random.Random, act: Act) -> str:
    slots = act.slots
    if act.kind == "info":
        return _fact(slots)
    key, words = act.kind, slots
    if act.kind == "ask":
        key = "_".join(("ask", *slots["slots"]))
    elif act.kind == "prompt":
        key = f"prompt_{slots['pending']}"
    elif act.kind == "offer":
        key, words = _offer(slots)
    elif act.kind == "nearest":
        key, words = _nearest(slots)
    elif act.kind == "no_city":
        words = {"city": slots["city"], "cities": _listed(slots["cities"], "and")}
    elif act.kind == "rooms":
        words = {"hotel": slots["hotel"], "rooms": _listed([_room(room) for room in slots["rooms"]], "or")}
    elif act.kind in ("confirm", "changed"):
        words = _standing(slots)
    elif act.kind == "cancelled":
        words = {**slots, "reference": slots["cancelled"]}
    return rng.choice(SPOKEN[key]).format(**words)


def _offer(slots: Slots) -> tuple[str, dict[str, str]]:
    first, *others = slots["hotels"]
    if not others:
        return "offer_one", {"city": slots["city"], "first": _hotel(first)}
    return "offer_two", {"city": slots["city"], "first": _hotel(first), "second": _hotel(others[0])}


def _nearest(slots: Slots) -> tuple[str, dict[str, str]]:
    near = slots["nearest"]
    words = {"city": slots["city"], "first": _hotel(near), "max_price": str(slots.get("max_price"))}
    if slots["reason"] == "over budget":
        return "over_budget", words
    return slots["reason"], words | {"date": _day(near.get("check_in", slots["check_in"]))}


def _standing(slots: Slots) -> dict[str, str]:
    number = slots.get("rooms", 1)
    room = f"a {ROOMS[slots['room']]}" if number == 1 else count(number, ROOMS[slots["room"]])
    question = "Shall I book it?" if slots.get("name") else "Shall I book it, and under which name?"
    words = {key: str(slots.get(key, "")) for key in ("hotel", "total", "reference")}
    people = "one person" if slots.get("guests", 1) == 1 else count(slots["guests"], "people")[:-1]
    days = {"check_in": _day(slots["check_in"]), "check_out": _day(slots["check_out"])}
    return {**words, **days, "room": room, "people": people, "question": question}


def _hotel(found: Result) -> str:
    return f"{found['hotel']} ({found['stars']} stars, {ROOMS[found['room']]}, ${found['price']} a night)"


def _room(found: Result) -> str:
    return f"a {ROOMS[found['room']]} at ${found['price']}"


def _fact(slots: Slots) -> str:
    value: str = slots["value"]
    start, sentence = next(fact for fact in FACTS[slots["topic"]] if value.startswith(fact[0]))
    return sentence.format(hotel=slots["hotel"], rest=value.removeprefix(start))


def _day(day: date | str) -> str:
    return month_day(date.fromisoformat(day) if isinstance(day, str) else day)


def _listed(items: Sequence[str], joint: str) -> str:
    *others, last = items
    return f"{', '.join(others)} {joint} {last}" if others else last
