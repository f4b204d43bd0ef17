"""Agents that need no model: the gold policy, and the bottom of the scale."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tether.agent import agent_speech
from tether.agent.policy import Policy
from tether.chatdata.toolcalls import agent_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tether.agent.session import Session
    from tether.agent.tools import Result


@dataclass(frozen=True)
class Always:
    """Says the same whatever happens; with nothing to say, it is the agent that does nothing."""

    words: str = ""

    def replies(self, sessions: Sequence[Session]) -> list[str]:
        """The same words for each."""
        return [self.words for _ in sessions]


class GoldSpeaker:
    """The gold policy in words; it alone knows what the simulated guest means (``Session.meant``)."""

    def replies(self, sessions: Sequence[Session]) -> list[str]:
        """The next call or words of each conversation."""
        return [self._reply(session) for session in sessions]

    def _reply(self, session: Session) -> str:
        """Run the policy from the start over the results so far, up to the first call that has none."""
        results = iter(session.made)

        def call(name: str, arguments: dict[str, Any]) -> Result:
            made = next(results, None)
            if made is None:
                raise _NextCall(name, arguments)
            return made.result

        policy = Policy(call)
        try:
            said = [policy.reply(acts) for acts in session.meant][-1]
        except _NextCall as wanted:
            return agent_text({"content": "", "tool_calls": [vars(wanted)]})
        rng = random.Random(repr(session.messages[1:]))
        return agent_speech.say(rng, said)


class _NextCall(Exception):
    """The policy wants a call that was not made yet."""

    def __init__(self, name: str, arguments: dict[str, Any]) -> None:
        super().__init__(name)
        self.name, self.arguments = name, arguments
