"""A simulated guest: rule-driven, follows its goal, and says what it means as acts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tether.agent.acts import Act, Slots

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tether.agent.goals import Goal


class Guest:
    """One guest in one conversation."""

    def __init__(self, goal: Goal) -> None:
        """Start a conversation with this goal."""
        self._goal = goal
        self._wish: Slots = dict(goal.wish)
        self._topics = list(goal.topics)
        self._rethink = dict(goal.rethink)
        self._sees_rooms = goal.sees_rooms
        self._wants_to_book = goal.stage == "start" and goal.intent == "book"
        if goal.mistyped:
            self._wish["reference"] = goal.mistyped

    def open(self) -> list[Act]:
        """The first turn."""
        if self._goal.small_talk == "greet":
            return [Act("greet")]
        return self._begin()

    def reply(self, said: Sequence[Act]) -> list[Act]:
        """What to answer; what the agent said last is what it waits for."""
        last = said[-1]
        if last.kind == "prompt":
            return self._on_prompt(last.slots)
        handler = getattr(self, f"_on_{last.kind}")
        acts: list[Act] = handler(last.slots)
        return acts

    def _begin(self) -> list[Act]:
        if self._goal.stage == "start":
            return self._ask(self._wish["hotel"], named=True)
        wish = {key: self._wish[key] for key in self._goal.opening}
        remark = [Act("remark")] if self._goal.small_talk == "remark" else []
        return [*remark, Act("want", {"intent": self._goal.intent, **wish})]

    def _ask(self, hotel: str, *, named: bool) -> list[Act]:
        return [Act("ask", {"topic": self._topics.pop(0), "hotel": hotel, "named": named})]

    def _on_greet(self, slots: Slots) -> list[Act]:
        return self._begin()

    def _on_ask(self, slots: Slots) -> list[Act]:
        asked = slots["slots"]
        if asked == ("change",):
            change: Slots = {
                key: self._wish[key] for key in ("check_in", "nights", "guests") if key in self._wish
            }
            return [Act("amend", change)]
        return [Act("inform", {key: self._wish[key] for key in asked})]

    def _on_offer(self, slots: Slots) -> list[Act]:
        hotels = slots["hotels"]
        return self._on_choice(hotels[min(self._goal.pick, len(hotels) - 1)]["hotel"])

    def _on_choice(self, hotel: str) -> list[Act]:
        if self._goal.stage == "offer" and self._rethink:
            return self._change_mind()
        if self._goal.stage == "offer" and self._topics:
            return self._ask(hotel, named=True)
        if self._sees_rooms:
            self._sees_rooms = False
            return [Act("ask_rooms", {"hotel": hotel})]
        return [Act("choose", {"hotel": hotel})]

    def _on_rooms(self, slots: Slots) -> list[Act]:
        big_enough = [room["room"] for room in slots["rooms"] if room["sleeps"] >= self._wish["guests"]]
        kind = self._goal.room if self._goal.room in big_enough else big_enough[0]
        return [Act("choose", {"hotel": slots["hotel"], "room": kind})]

    def _on_nearest(self, slots: Slots) -> list[Act]:
        return [Act("accept" if self._goal.flexible else "decline")]

    def _on_no_city(self, slots: Slots) -> list[Act]:
        if not self._goal.flexible:
            return [Act("decline")]
        return [Act("inform", {"city": slots["cities"][self._goal.pick]})]

    def _on_nothing(self, slots: Slots) -> list[Act]:
        return [Act("decline")]

    def _on_confirm(self, slots: Slots) -> list[Act]:
        if self._goal.stage == "confirm" and self._rethink:
            return self._change_mind()
        if self._goal.stage == "confirm" and self._topics:
            return self._ask(slots["hotel"], named=False)
        return [Act("yes", {} if slots["name"] else {"name": self._wish["name"]})]

    def _on_booked(self, slots: Slots) -> list[Act]:
        return self._ask(slots["hotel"], named=False) if self._topics else [Act("bye")]

    def _on_prompt(self, slots: Slots) -> list[Act]:
        if slots["pending"] == "choose":
            return self._on_choice(slots["hotel"])
        if slots["pending"] == "confirm":
            return self._on_confirm(slots)
        if self._topics:
            return self._ask(slots["hotel"], named=False)
        if self._wants_to_book:
            self._wants_to_book = False
            wish = {key: self._wish[key] for key in self._goal.opening}
            return [Act("want", {"intent": "book", "there": True, **wish})]
        return [Act("bye")]

    def _change_mind(self) -> list[Act]:
        change, self._rethink = self._rethink, {}
        self._wish.update(change)
        return [Act("rethink", change)]

    def _on_cannot_change(self, slots: Slots) -> list[Act]:
        return self._change_mind() if self._goal.flexible and self._rethink else [Act("no")]

    def _on_confirm_cancel(self, slots: Slots) -> list[Act]:
        return [Act("yes" if self._goal.flexible else "no")]

    def _on_not_found(self, slots: Slots) -> list[Act]:
        self._wish["reference"] = self._goal.wish["reference"]
        return [Act("inform", {"reference": self._wish["reference"]})]

    def _on_finished(self, slots: Slots) -> list[Act]:
        return [Act("bye")]

    _on_changed = _on_cancelled = _on_kept = _on_finished
