"""Conversations as the gold policy holds them: to learn from, and to name the cases that are measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tether.agent.conversation import hold
from tether.agent.scenes import scenes
from tether.agent.speakers import GoldSpeaker
from tether.chatdata.chats import Chat

if TYPE_CHECKING:
    from tether.agent.scenes import Scene
    from tether.agent.world import Split


@dataclass(frozen=True)
class GoldChat(Chat):
    """A conversation that went as it should.

    Attributes:
        scene: The case, which another agent can be given.
    """

    scene: Scene = field(kw_only=True)


def gold_chats(n: int, *, seed: int, split: Split) -> list[GoldChat]:
    """Make ``n`` conversations, refusals among them.

    Args:
        n: How many.
        seed: The same seed gives the same conversations; the first ones do not depend on ``n``.
        split: Which cities, hotels, guests and wordings; nothing is shared between splits.
    """
    return [
        GoldChat(
            talk.scene.name,
            tuple(talk.messages),
            tuple(talk.tools),
            f"builtin:conversations/{split}",
            talk.goal.scenario,
            scene=talk.scene,
        )
        for talk in hold(scenes(n, seed=seed, split=split), GoldSpeaker(), label="Gold conversations")
    ]
