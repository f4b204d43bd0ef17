"""The guest of a whole conversation: as in the dialogues, but it may ask for what must be refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tether.agent.acts import Act, Slots
from tether.agent.guest import Guest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tether.agent.demands import Demand
    from tether.agent.goals import Goal


class Caller(Guest):
    """One guest in one conversation.

    Args:
        goal: What is wanted.
        demand: What is asked for besides and must be refused.
    """

    def __init__(self, goal: Goal, demand: Demand | None = None) -> None:
        super().__init__(goal)
        self._demand = demand
        self._begun = self._left = False

    def open(self) -> list[Act]:
        """The first turn."""
        if self._demand and self._demand.first:
            return self._ask_for_it()
        self._begun = True
        return super().open()

    def reply(self, said: Sequence[Act]) -> list[Act]:
        """What to answer; a demand is made once, whatever comes of it."""
        if not self._begun:
            self._begun = True
            return super().open()
        if self._left:
            return [Act("bye")]
        acts = super().reply(said)
        if acts == [Act("bye")] and self._demand:
            self._left = True
            return self._ask_for_it()
        return acts

    @property
    def wavers(self) -> bool:
        """Whether a change of mind is still to come, so that no choice is final yet."""
        return bool(self._rethink)

    @property
    def curious(self) -> bool:
        """Whether a question about the hotel is still to come, or a booking after the questions."""
        return bool(self._topics) or self._wants_to_book

    def knows(self, slot: str) -> bool:
        """Whether the guest could answer if it were asked for this."""
        return slot in self._wish

    def repeat(self, slots: Sequence[str]) -> Act:
        """The wish as it stands now, as far as these slots go."""
        return Act("inform", {slot: self._wish[slot] for slot in slots if slot in self._wish})

    def insist(self) -> list[Act]:
        """The whole wish again, to an agent that does not follow."""
        if self._goal.intent == "info":
            return [Act("insist")]
        wish = {key: value for key, value in self._wish.items() if key != "name"}
        if "hotel" in wish:
            wish.pop("city", None)
        return [Act("insist"), Act("want", {"intent": self._goal.intent, **wish})]

    def _on_no_city(self, slots: Slots) -> list[Act]:
        acts = super()._on_no_city(slots)
        self._wish.update(acts[0].slots)
        return acts

    def _ask_for_it(self) -> list[Act]:
        demand, self._demand = self._demand, None
        assert demand is not None
        return [Act("demand", {"kind": demand.kind, "name": demand.name, "reference": demand.reference})]
