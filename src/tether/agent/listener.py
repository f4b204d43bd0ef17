"""A caller who hears words: whatever an agent says, there is an answer to it, and an end to its patience."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tether.agent.acts import Act
from tether.agent.caller import Caller
from tether.agent.hearing import Ear, Heard
from tether.agent.schema import SLEEPS

if TYPE_CHECKING:
    from tether.agent.scenes import Gold, Stage

PATIENCE = 3  # the same thing said so often is once too often
LEAVING = ("bye", "decline", "give_up")


class Listener:
    """The guest of one conversation in words.

    Args:
        stage: Who calls, and at which desk.
        gold: What must come of it; the guest likes the hotels and rooms that stand in it.
    """

    def __init__(self, stage: Stage, gold: Gold) -> None:
        self._goal, self._taste = stage.goal, gold.taste
        self._caller = Caller(stage.goal, stage.demand)
        self._served = stage.desk.inventory.cities()
        wish = stage.goal.wish
        hotels = {hotel.name for hotel in stage.desk.inventory.hotels()} | ({wish.get("hotel", "")} - {""})
        cities = {*self._served, wish.get("city", self._served[0])}
        self._ear = Ear(stage.goal.intent, sorted(hotels), sorted(cities))
        self._hotel: str = wish.get("hotel", "")
        self._last: list[Act] = []
        self._gave_name = self._quoted = self._settled = False
        self._said: Counter[str] = Counter()

    def open(self) -> list[Act]:
        """The first turn."""
        return self._note(self._caller.open())

    def answer(self, text: str) -> list[Act]:
        """What to say to an agent's words; the last act tells whether the guest hangs up (``LEAVING``)."""
        acts = self._react(self._ear.hear(text, quoted=self._quoted))
        return self._note([Act("give_up")] if self._said[repr(acts)] + 1 >= PATIENCE else acts)

    def _note(self, acts: list[Act]) -> list[Act]:
        """Remember what is said."""
        self._last = acts
        self._said[repr(acts)] += 1
        for act in acts:
            self._gave_name |= "name" in act.slots and act.kind in ("want", "inform", "yes")
            self._quoted &= act.kind not in ("rethink", "choose", "accept")
            self._settled |= act.kind in ("no", "decline")
            self._hotel = act.slots.get("hotel", self._hotel)
        return acts

    def _react(self, heard: Heard) -> list[Act]:
        before = self._last[-1].kind
        if before == "demand":  # whatever came of it, the guest comes to its own wish now, or leaves
            return self._tell("prompt", pending="more")
        if before == "greet":
            return self._tell("greet")
        if before == "ask_rooms" and heard.rooms:
            return self._on_rooms(heard)
        if before == "ask" and heard.kind in ("lost", "more", "greet", "bye"):
            return self._resume()
        if len(heard.hotels) == 1:
            self._hotel = heard.hotels[0]
        self._quoted = heard.total or (self._quoted and heard.kind not in ("offer", "nearest"))
        return self._by_intent(heard)

    def _by_intent(self, heard: Heard) -> list[Act]:
        """What is asked of a guest who came for something else is passed over."""
        if heard.kind in ("lost", "more", "greet", "bye"):
            return self._on_more()
        if heard.kind == "ask":
            return self._on_ask(heard)
        if heard.kind in ("cancelled", "changed", "booked", "kept"):
            self._settled = True
            return self._tell(heard.kind)
        if heard.kind in ("confirm_cancel", "not_found", "cannot_change"):
            return self._tell(heard.kind)
        if self._goal.intent == "change" and heard.kind == "confirm":
            return [Act("yes")]
        if self._goal.intent != "book" or self._only_asks_yet:
            return self._on_more()
        return self._on_sale(heard)

    def _on_sale(self, heard: Heard) -> list[Act]:
        """What is said to somebody who wants a room."""
        if heard.kind == "confirm":
            return self._confirm(asked=heard.asks_name)
        if heard.kind == "no_city":
            return self._on_no_city(heard)
        if heard.kind == "nothing":
            return self._tell("nothing")
        if heard.kind == "nearest":
            return self._tell("nearest")
        return self._on_offer(heard) if heard.hotels or self._hotel else self._on_more()

    def _tell(self, kind: str, **slots: object) -> list[Act]:
        """The reaction to an act of the agent."""
        return self._caller.reply([Act(kind, {"hotel": self._hotel, "name": self._gave_name, **slots})])

    def _confirm(self, *, asked: bool) -> list[Act]:
        return self._tell("confirm", name=self._gave_name and not asked)

    def _on_ask(self, heard: Heard) -> list[Act]:
        if self._goal.intent == "change" and "change" in heard.asks:
            return self._tell("ask", slots=("change",))
        asked = [*heard.asks, *(["name"] if heard.asks_name else [])]
        known = self._caller.repeat(asked)
        if known.slots:
            return [known]
        if "city" in asked and self._caller.knows("hotel"):
            return [self._caller.repeat(["hotel"])]
        if self._goal.intent == "change" and {"check_in", "nights", "guests"} & set(asked):
            return [Act("same")]
        return self._on_more()

    def _on_offer(self, heard: Heard) -> list[Act]:
        """Of several hotels the one to the guest's taste; what is plainly too dear is no offer."""
        named = heard.hotels or (self._hotel,)
        limit = self._goal.wish.get("max_price")
        if not self._goal.flexible and limit and heard.prices and min(heard.prices) > limit:
            return [Act("decline")]
        liked = [name for name in self._taste if name in named]
        if liked:
            named = (liked[0],)
        elif self._may_ask_for_others and self._goal.wish.get("hotel") not in named:
            return [Act("another")]
        return self._tell("offer", hotels=[{"hotel": name} for name in named])

    @property
    def _may_ask_for_others(self) -> bool:
        """Once, where the guest has a hotel in mind that was not named, and its wish is final."""
        return bool(self._taste) and not self._caller.wavers and not self._said[repr([Act("another")])]

    def _on_rooms(self, heard: Heard) -> list[Act]:
        liked = [kind for kind in self._taste if kind in heard.rooms]
        rooms = [{"room": kind, "sleeps": SLEEPS[kind]} for kind in (liked[:1] or heard.rooms)]
        if all(room["sleeps"] < self._goal.wish["guests"] for room in rooms):
            return [Act("choose", {"hotel": self._hotel})]
        return self._tell("rooms", rooms=rooms)

    def _on_no_city(self, heard: Heard) -> list[Act]:
        """Another city, the same whichever order they are told in."""
        own = self._goal.wish.get("city")
        told = [city for city in heard.cities if city != own]
        wanted = self._served[min(self._goal.pick, len(self._served) - 1)]
        return self._tell("no_city", cities=[wanted if wanted in told or not told else told[0]] * 2)

    def _resume(self) -> list[Act]:
        """After an answer, back to what the talk was about before the question."""
        if self._settled or self._goal.intent != "book" or self._only_asks_yet:
            return self._tell("prompt", pending="more")
        return self._confirm(asked=False) if self._quoted else self._tell("prompt", pending="choose")

    def _on_more(self) -> list[Act]:
        """The agent has nothing more to say, though the guest may."""
        if self._settled or self._goal.intent == "info" or self._caller.curious:
            return self._tell("prompt", pending="more")
        return self._caller.insist()

    @property
    def _only_asks_yet(self) -> bool:
        """Whether the guest came with questions, and has more of them before it will book."""
        return self._goal.stage == "start" and self._caller.curious
