"""A simulated guest and any agent talk in words, over fresh books, until the guest hangs up."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Literal

from tether.agent.guest_speech import GuestSpeech
from tether.agent.listener import LEAVING, Listener
from tether.agent.scenes import rules_prompt
from tether.agent.session import Session
from tether.progress import task

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tether.agent.acts import Act
    from tether.agent.scenes import Scene
    from tether.agent.session import Speaker

MOST_TURNS = 20  # of the agent, as the guest hears them
MOST_CALLS = 8  # one after the other, without a word to the guest
MOST_STEPS = 48  # turns and calls together

End = Literal["", "content", "gave_up", "too_long"]


class Conversation(Session):
    """One guest's conversation.

    Args:
        scene: The case.
        trial: Other trials of a case put the same wish into other words.

    Attributes:
        scene: The case.
        trial: Which trial of it.
        goal: What the guest wants.
        spoken: What the guest heard, turn by turn.
        end: Why it is over: the guest was done with its wish (or took "no" for an answer), gave up on the
            agent, or there were too many turns or calls; empty while it goes on.
    """

    def __init__(self, scene: Scene, trial: int = 0) -> None:
        stage = scene.stage()
        rules = {"role": "system", "content": rules_prompt(stage.desk.today)}
        super().__init__(stage.desk, [rules])
        self.scene, self.trial, self.goal = scene, trial, stage.goal
        self.spoken: list[str] = []
        self.end: End = ""
        self._listener = Listener(stage, scene.gold)
        rng = random.Random(f"{scene.name}/trial {trial}")
        alone = stage.goal.wish.get("guests") == 1
        self._voice = GuestSpeech(rng, stage.desk.today, scene.split, alone)
        self._calls = self._steps = 0
        self._say(self._listener.open())

    def go_on(self, text: str) -> None:
        """Take what the agent wrote, and let the guest answer what it hears of it."""
        words = self.take(text)
        self._steps += 1
        if words is None:
            self._calls += 1
            self.end = "too_long" if self._calls >= MOST_CALLS or self._steps >= MOST_STEPS else ""
            return
        self.spoken.append(words)
        self._calls = 0
        if self.meant[-1][-1].kind in LEAVING:  # the agent has had its last word
            self.end = "content"
        elif len(self.spoken) >= MOST_TURNS or self._steps >= MOST_STEPS:
            self.end = "too_long"
        else:
            self._say(self._listener.answer(words))

    def _say(self, acts: list[Act]) -> None:
        self.meant.append(acts)
        self.hear_guest(self._voice.say(acts))
        if acts[-1].kind == "give_up":
            self.end = "gave_up"


def hold(
    scenes: Sequence[Scene], speaker: Speaker, *, trials: int = 1, label: str = "Conversations"
) -> list[Conversation]:
    """Let an agent hold conversations, all of them side by side, so that a model can answer in batches.

    Args:
        scenes: The cases.
        speaker: The agent.
        trials: How often each case is played, the guest in other words each time.
        label: What the progress is called.

    Returns:
        The conversations, over; those of one case together.
    """
    talks = [Conversation(scene, trial) for scene in scenes for trial in range(trials)]
    with task(label, len(talks)) as progress:
        going = talks
        while going:
            for talk, text in zip(going, speaker.replies(going), strict=True):
                talk.go_on(text)
            left = [talk for talk in going if not talk.end]
            progress.advance(len(going) - len(left))
            going = left
    return talks
