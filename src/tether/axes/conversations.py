"""Proficiency over whole conversations: does the guest get what it came for, and do the books show it?"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from tether.agent.conversation import hold
from tether.agent.live import ModelSpeaker
from tether.agent.scoring import Outcome, outcome
from tether.chatdata.toolcalls import agent_text
from tether.names import CONVERSATION_TRIALS
from tether.results import Item
from tether.stats import pass_hat_k

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tether.agent.conversation import Conversation
    from tether.agent.examples import GoldChat
    from tether.agent.session import Speaker
    from tether.inference import LocalModel


def conversations(model: LocalModel, chats: Sequence[GoldChat], *, source: str) -> list[Item]:
    """Let the model hold whole conversations with the simulated guest.

    Args:
        model: The model.
        chats: The cases; what the gold policy said in them is not shown to the model.
        source: Which of `CONVERSATION_TRIALS`: how often each case is tried, at what temperature.

    Returns:
        The items of `judged`.
    """
    trials, temperature = CONVERSATION_TRIALS[source]
    return judged(ModelSpeaker(model, temperature=temperature), chats, source=source, trials=trials)


def judged(speaker: Speaker, chats: Sequence[GoldChat], *, source: str, trials: int = 1) -> list[Item]:
    """Let any agent hold whole conversations.

    Args:
        speaker: The agent.
        chats: The cases.
        source: What the reports call them.
        trials: How often each case is tried, the guest in other words each time.

    Returns:
        One item per conversation, score 1 where it succeeded; all trials of a case are one cluster. Metrics:
        success and its parts books, said and content; turns, calls, invalid_calls, breaches; with several
        trials, on a case's first item, pass^k for each k: the chance that k trials in a row succeed.
    """
    talks = hold([chat.scene for chat in chats], speaker, trials=trials)
    items: list[Item] = []
    for _, group in groupby(talks, key=lambda talk: talk.scene.name):
        items += _case(list(group), source)
    return items


def _case(talks: Sequence[Conversation], source: str) -> Iterable[Item]:
    """The items of one case's trials."""
    outcomes = [outcome(talk) for talk in talks]
    n, successes = len(talks), sum(found.success for found in outcomes)
    chances: dict[str, float | None] = {}
    if n > 1:
        chances = {f"pass^{k}": pass_hat_k(successes, n, k) for k in range(1, n + 1)}
    for talk, found in zip(talks, outcomes, strict=True):
        yield _item(talk, found, source, chances)
        chances = dict.fromkeys(chances)


def _item(talk: Conversation, found: Outcome, source: str, chances: dict[str, float | None]) -> Item:
    return Item(
        id=f"{talk.scene.name}:{talk.trial}",
        axis="proficiency",
        source=source,
        cluster=talk.scene.name,
        group=talk.goal.scenario,
        input=str(talk.messages[1]["content"]),
        output=transcript(talk),
        score=float(found.success),
        reason=found.reason,
        metrics={
            "success": float(found.success),
            "books": float(found.books),
            "said": float(not found.missing),
            "content": float(found.content),
            "turns": float(found.turns),
            "calls": float(found.calls),
            "invalid_calls": float(found.invalid),
            "breaches": float(len(found.breaches)),
            **chances,
        },
    )


def transcript(talk: Conversation) -> str:
    """What was said and called, one turn a line."""
    who = {"user": "Guest", "assistant": "Agent", "tool": "Result"}
    lines = [f"{who[m['role']]}: {agent_text(m)}" for m in talk.messages[1:]]
    return "\n".join(lines)
