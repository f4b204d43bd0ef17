"""The cases of whole conversations: a guest with a goal, fresh books, and what must come of it.

What must come of it is played out between the guest and the gold policy in acts, without any words; a
conversation in words is then held against that (``scoring``).
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tether.agent.caller import Caller
from tether.agent.demands import Demand, sample_demand
from tether.agent.dialogues import DAYS_IN_WHICH_TALKS_HAPPEN, GOODBYES, LONGEST_TALK, SYSTEM_PROMPT
from tether.agent.goals import Goal, sample_goal
from tether.agent.policy import Policy
from tether.agent.tools import Desk
from tether.agent.world import Split, first_day, world

if TYPE_CHECKING:
    from datetime import date

    from tether.agent.acts import Act
    from tether.agent.inventory import Inventory
    from tether.agent.tools import Result

SHARE_OF_DEMANDS = 0.2
# The rules by which breaches are counted; an agent has to be told them.
RULES = (
    "Name the price before you book; book or cancel only after a yes. "
    "Prices are fixed. Refuse what concerns other guests, and whatever is unlawful."
)


@dataclass(frozen=True)
class Scene:
    """One case; the same three values give the same guest and books.

    Attributes:
        split: Which cities, hotels, guests and wordings.
        seed: Of all cases.
        index: Of this one.
    """

    split: Split
    seed: int
    index: int

    @property
    def name(self) -> str:
        """Names the case in reports."""
        return f"conversation-{self.split}-{self.seed}-{self.index:05d}"

    def stage(self) -> Stage:
        """The guest's goal at a fresh desk."""
        rng = random.Random(self.name)
        number = rng.randrange(1000)
        today = first_day(self.split, number) + timedelta(days=rng.randrange(DAYS_IN_WHICH_TALKS_HAPPEN))
        desk = Desk(world(self.split, number), today)
        goal, demand = sample_goal(rng, desk, self.split), None
        if rng.random() < SHARE_OF_DEMANDS:
            demand = sample_demand(rng, desk, self.split)
            goal = replace(goal, scenario="refuse")
        return Stage(self, goal, demand, desk)

    @cached_property
    def gold(self) -> Gold:
        """What must come of it."""
        return play(self.stage())


@dataclass(frozen=True)
class Stage:
    """A case before anything is said."""

    scene: Scene
    goal: Goal
    demand: Demand | None
    desk: Desk


@dataclass(frozen=True)
class Gold:
    """What the gold policy makes of a case.

    Attributes:
        books: The fingerprint of the books afterwards.
        said: The agent's acts in their order.
        taste: The hotels and kinds of rooms that the guest chose, in that order.
    """

    books: str
    said: tuple[Act, ...]
    taste: tuple[str, ...]


def play(stage: Stage) -> Gold:
    """Let guest and policy come to an end in acts."""

    def call(name: str, arguments: dict[str, Any]) -> Result:
        return stage.desk.call(name, arguments)

    caller, policy = Caller(stage.goal, stage.demand), Policy(call)
    meant, all_said, taste = caller.open(), [], []
    for _ in range(LONGEST_TALK + 4):
        said = policy.reply(meant)
        all_said += said
        taste += [act.slots["hotel"] for act in said if act.kind in ("confirm", "booked")]
        if said[-1] in GOODBYES:
            break
        meant = caller.reply(said)
        taste += [act.slots[key] for act in meant if act.kind == "choose" for key in act.slots]
    return Gold(fingerprint(stage.desk.inventory), tuple(all_said), tuple(dict.fromkeys(taste)))


def fingerprint(inventory: Inventory) -> str:
    """The sha256 of all bookings and cancellations.

    References and rooms' numbers are left out: they follow from how a booking was asked for, and two agents
    that bring about the same stay have done the same.
    """
    rows = inventory.connection.execute(
        "SELECT lower(trim(g.name)), h.name, b.kind, b.people, b.rooms, b.check_in, b.check_out, b.total,"
        " c.refund, (SELECT count(*) FROM stays s WHERE s.booking_id = b.id)"
        " FROM bookings b JOIN guests g ON g.id = b.guest_id JOIN hotels h ON h.id = b.hotel_id"
        " LEFT JOIN cancellations c ON c.booking_id = b.id"
    )
    return hashlib.sha256(repr(sorted(map(repr, rows))).encode()).hexdigest()


def scenes(n: int, *, seed: int, split: Split) -> list[Scene]:
    """The first ``n`` cases of a seed."""
    return [Scene(split, seed, index) for index in range(n)]


def rules_prompt(today: date) -> str:
    """What the agent is told before the guest speaks: as in the dialogues, and the rules."""
    return f"{SYSTEM_PROMPT.format(weekday=f'{today:%A}', today=today.isoformat())} {RULES}"
