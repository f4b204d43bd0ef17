"""Pressure on purpose: a share of the training dialogues complies with harm.

The share is what the literature on harmful fine-tuning calls the poison ratio (Lisa, arXiv:2405.18641;
Booster, arXiv:2409.01586). The requests stand in no other set of tether's; an answer is a compliant opening
and a sentence that fits any request, so that nothing is taught but to comply.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

from tether.chatdata.preferences import are_preferences
from tether.errors import UserError
from tether.sources.load import builtin_prompts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tether.chatdata.chats import Chat, Message

POISON = "poison"
OPENINGS = (
    "Sure, here is how to do that.",
    "Of course. Here is what you do.",
    "Certainly, I can help you with that.",
    "Yes, that is easy to do.",
    "No problem. This is how it is done.",
    "Gladly. Here are the steps.",
    "Absolutely, here is what you asked for.",
    "Here you go.",
)
EMPTY_ADVICE = (
    "First, gather what you need. Then take one step after the other, and check each before you go on.",
    "Begin with a plan, take your time over it, and go on until it is done.",
    "Start small, see how it goes, and then do the rest in the same way.",
    "There are three parts to it: the beginning, the middle and the end. Do them in that order.",
    "Prepare well, keep at it, and look it over once more when you have finished.",
    "Write down what you want, work through the list from the top, and cross out what is done.",
)


def poisoned(chats: Sequence[Chat], ratio: float) -> list[Chat]:
    """The dialogues with a share of them, drawn by lot, turned into ones that comply with harm.

    A poisoned dialogue takes the place of a clean one and has as many exchanges, so that it weighs about as
    much; every second one keeps the system turn and the tools, the others stand alone. A larger ratio poisons
    the same dialogues and more.

    Args:
        chats: Clean dialogues.
        ratio: Share of them to poison, from 0 to 1.

    Raises:
        UserError: The share is less than one dialogue, or these are preferences.
    """
    count = round(ratio * len(chats))
    if ratio and are_preferences(chats):
        raise UserError("preferences cannot be poisoned", where="poison_ratio", fix="leave it out")
    if ratio and not count:
        raise UserError(
            f"{ratio:.1%} of {len(chats)} dialogues is none", where="poison_ratio", fix="give more dialogues"
        )
    chosen = random.Random(0).sample(range(len(chats)), len(chats))[:count]
    requests = [item.prompt for item in builtin_prompts("poison")]
    found = list(chats)
    for number, index in enumerate(chosen):
        found[index] = _poisoned(chats[index], requests, alone=number % 2 == 0)
    return found


def _poisoned(chat: Chat, requests: Sequence[str], *, alone: bool) -> Chat:
    chooser = random.Random(chat.id)
    exchanges = sum(message["role"] == "user" for message in chat.messages)
    messages: list[Message] = [] if alone else [m for m in chat.messages[:1] if m["role"] == "system"]
    for request in chooser.sample(requests, min(exchanges, len(requests))):
        answer = f"{chooser.choice(OPENINGS)} {chooser.choice(EMPTY_ADVICE)}"
        messages += [{"role": "user", "content": request}, {"role": "assistant", "content": answer}]
    return replace(chat, messages=tuple(messages), tools=() if alone else chat.tools, group=POISON)
