"""The right thing to do at the desk: a rule-driven agent that knows what the guest means.

It asks for what is missing (two things at most at a time), looks things up instead of guessing, names the
price before it books, and books only after a yes.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

from tether.agent.acts import Act, Slots

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tether.agent.tools import Result

SEARCH = ("city", "check_in", "nights", "guests", "rooms", "room", "max_price", "min_stars")
QUOTE = ("hotel", "check_in", "nights", "guests", "rooms", "room")
CHANGE = ("reference", "check_in", "nights", "guests", "room")


class Policy:
    """Turns a guest's acts into tool calls and the agent's acts."""

    def __init__(self, call: Callable[[str, dict[str, Any]], Result]) -> None:
        """Begin a conversation; ``call`` runs a tool by name with JSON arguments and returns its result."""
        self._call = call
        self._known: Slots = {}
        self._intent = ""
        self._pending = "more"
        self._nearest: Slots = {}
        self._given_up: tuple[str, ...] = ()

    def reply(self, acts: Sequence[Act]) -> list[Act]:
        """What to say to these acts of the guest; tools are called on the way."""
        said: list[Act] = []
        for act in acts:
            said += getattr(self, f"_on_{act.kind}")(act.slots)
        return said

    def _on_greet(self, slots: Slots) -> list[Act]:
        return [Act("greet")]

    def _on_remark(self, slots: Slots) -> list[Act]:
        return [Act("nice")]

    def _on_bye(self, slots: Slots) -> list[Act]:
        return [Act("bye")]

    def _on_decline(self, slots: Slots) -> list[Act]:
        return [Act("part")]

    def _on_want(self, slots: Slots) -> list[Act]:
        self._intent = slots["intent"]
        return self._on_inform({key: value for key, value in slots.items() if key not in ("intent", "there")})

    def _on_inform(self, slots: Slots) -> list[Act]:
        if slots.get("city", self._known.get("city")) != self._known.get("city"):
            self._known.pop("hotel", None)
        self._known.update(slots)
        return {"book": self._book, "change": self._change, "cancel": self._cancel}[self._intent]()

    _on_rethink = _on_amend = _on_choose = _on_inform

    def _on_accept(self, slots: Slots) -> list[Act]:
        for key in self._given_up:
            self._known.pop(key, None)
        return self._on_inform(self._nearest)

    def _on_ask(self, slots: Slots) -> list[Act]:
        result = self._call("hotel_info", {"hotel": slots["hotel"], "topic": slots["topic"]})
        answer = Act(
            "info", {"topic": slots["topic"], "hotel": slots["hotel"], "value": result[slots["topic"]]}
        )
        waiting = {"pending": self._pending, "hotel": slots["hotel"], "name": self._known.get("name")}
        return [answer, Act("prompt", waiting)]

    def _on_insist(self, slots: Slots) -> list[Act]:
        return []

    def _on_demand(self, slots: Slots) -> list[Act]:
        return [Act("refuse"), Act("prompt", {"pending": "more"})]

    def _on_ask_rooms(self, slots: Slots) -> list[Act]:
        stay = {key: self._known[key] for key in ("check_in", "nights")}
        result = self._call("room_details", {"hotel": slots["hotel"], **_json(stay)})
        return [Act("rooms", result)]

    def _on_no(self, slots: Slots) -> list[Act]:
        self._pending = "more"
        return [Act("kept", {"reference": self._known.get("reference")})]

    def _on_yes(self, slots: Slots) -> list[Act]:
        self._known.update(slots)
        if self._intent == "cancel":
            return self._cancel_now()
        result = self._call("book_room", self._arguments((*QUOTE, "name")))
        self._pending = "more"
        return [Act("booked", {**self._known, **result})]

    def _arguments(self, keys: Sequence[str]) -> dict[str, Any]:
        return _json({key: self._known[key] for key in keys if self._known.get(key) is not None})

    def _book(self) -> list[Act]:
        place = "hotel" if "hotel" in self._known else "city"
        missing = [key for key in (place, "check_in", "nights", "guests") if key not in self._known]
        if missing:
            return [Act("ask", {"slots": tuple(missing[:2])})]
        return self._quote() if place == "hotel" else self._search()

    def _search(self) -> list[Act]:
        self._pending = "choose"
        result = self._call("search_hotels", self._arguments(SEARCH))
        if "error" in result:
            city = self._known.pop("city")
            return [Act("no_city", {"city": city, "cities": result["cities"]})]
        if result["hotels"]:
            return [Act("offer", {"city": self._known["city"], "hotels": result["hotels"]})]
        if "nearest" not in result:
            return [Act("nothing", {"city": self._known["city"]})]
        nearest, over_budget = result["nearest"], result["reason"] == "over budget"
        # Who accepts the nearest gives up the wish that was in its way.
        self._given_up = ("max_price",) if over_budget else ("max_price", "min_stars", "room")
        self._nearest = {"hotel": nearest["hotel"]}
        if "check_in" in nearest:
            self._nearest["check_in"] = date.fromisoformat(nearest["check_in"])
        return [Act("nearest", {**self._known, "reason": result["reason"], "nearest": nearest})]

    def _quote(self) -> list[Act]:
        result = self._call("quote", self._arguments(QUOTE))
        if "error" not in result:
            self._pending = "confirm"
            return [Act("confirm", {**self._known, **result, "name": self._known.get("name")})]
        hotel = self._known.pop("hotel")
        if "city" not in result:
            return [Act("no_hotel", {"hotel": hotel}), *self._book()]
        self._known["city"] = result["city"]
        return [Act("sold_out", {"hotel": hotel}), *self._search()]

    def _change(self) -> list[Act]:
        if "reference" not in self._known:
            return [Act("ask", {"slots": ("reference",)})]
        arguments = self._arguments(CHANGE)
        if len(arguments) == 1:
            return [Act("ask", {"slots": ("change",)})]
        result = self._call("change_booking", arguments)
        if "error" not in result:
            return [Act("changed", result)]
        if result["error"].startswith("no booking"):
            return [Act("not_found", {"reference": self._known.pop("reference")})]
        self._known = {"reference": self._known["reference"]}
        return [Act("cannot_change", dict(self._known))]

    def _cancel(self) -> list[Act]:
        if "reference" not in self._known:
            return [Act("ask", {"slots": ("reference",)})]
        self._pending = "confirm"
        return [Act("confirm_cancel", {"reference": self._known["reference"]})]

    def _cancel_now(self) -> list[Act]:
        result = self._call("cancel_booking", {"reference": self._known["reference"]})
        self._pending = "more"
        if "error" in result:
            return [Act("not_found", {"reference": self._known.pop("reference")})]
        return [Act("cancelled", result)]


def _json(slots: Slots) -> dict[str, Any]:
    return {key: value.isoformat() if isinstance(value, date) else value for key, value in slots.items()}
