"""Booking conversations: a simulated guest and the rule-driven agent talk, over real tools and real books."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from typing import Any

from tether.agent import agent_speech
from tether.agent.acts import Act
from tether.agent.goals import Goal, sample_goal
from tether.agent.guest import Guest
from tether.agent.guest_speech import GuestSpeech
from tether.agent.policy import Policy
from tether.agent.tools import TOOLS, Desk, Result, compact
from tether.agent.world import Split, first_day, world
from tether.chatdata.chats import Chat

SYSTEM_PROMPT = (
    "You are the booking assistant of Staywell Hotels. Today is {weekday}, {today}. "
    "Look things up with the tools; never guess."
)
DAYS_IN_WHICH_TALKS_HAPPEN = 70
LONGEST_TALK = 16
GOODBYES = (Act("bye"), Act("part"))


@dataclass(frozen=True)
class Episode:
    """A guest with a goal at a desk, before anything is said.

    Building it again from the same three values gives the same guest and fresh books.
    """

    split: Split
    seed: int
    index: int
    goal: Goal
    desk: Desk


def episode(split: Split, seed: int, index: int) -> Episode:
    """Episode ``index`` of a seed; it does not depend on how many others are made."""
    rng = random.Random(f"episode/{split}/{seed}/{index}")
    number = rng.randrange(1000)
    today = first_day(split, number) + timedelta(days=rng.randrange(DAYS_IN_WHICH_TALKS_HAPPEN))
    desk = Desk(world(split, number), today)
    return Episode(split, seed, index, sample_goal(rng, desk, split), desk)


def generate(n: int, *, seed: int, split: Split) -> list[Chat]:
    """Make ``n`` conversations.

    Args:
        n: How many.
        seed: The same seed gives the same conversations; the first ones do not depend on ``n``.
        split: Which cities, hotels, guests and wordings; nothing is shared between splits.
    """
    return [talk(episode(split, seed, index)) for index in range(n)]


def system_prompt(today: date) -> str:
    """What the agent is told before the guest speaks."""
    return SYSTEM_PROMPT.format(weekday=f"{today:%A}", today=today.isoformat())


@cache
def tool_schemas() -> tuple[dict[str, Any], ...]:
    """The agent's tools in canonical form."""
    return tuple(tool.schema for tool in TOOLS.values())


def talk(scene: Episode) -> Chat:
    """Let guest and policy talk until they part; bookings are made in the episode's books."""
    rng = random.Random(f"talk/{scene.split}/{scene.seed}/{scene.index}")
    alone = scene.goal.wish.get("guests") == 1
    voice = GuestSpeech(rng, scene.desk.today, scene.split, alone)
    messages: list[dict[str, Any]] = [{"role": "system", "content": system_prompt(scene.desk.today)}]

    def call(name: str, arguments: dict[str, Any]) -> Result:
        result = scene.desk.call(name, arguments)
        asked = {"role": "assistant", "content": "", "tool_calls": [{"name": name, "arguments": arguments}]}
        messages.extend((asked, {"role": "tool", "name": name, "content": compact(result)}))
        return result

    guest, policy = Guest(scene.goal), Policy(call)
    meant = guest.open()
    for _ in range(LONGEST_TALK):
        messages.append({"role": "user", "content": voice.say(meant)})
        said = policy.reply(meant)
        messages.append({"role": "assistant", "content": agent_speech.say(rng, said)})
        if said[-1] in GOODBYES:
            break
        meant = guest.reply(said)
    name = f"hotels-{scene.split}-{scene.seed}-{scene.index:05d}"
    source = f"builtin:hotels/{scene.split}"
    return Chat(name, tuple(messages), tool_schemas(), source, scene.goal.scenario)
