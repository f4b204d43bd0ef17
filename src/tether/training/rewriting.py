"""Targets in the model's own words: self-distillation fine-tuning (SDFT, arXiv:2402.13669, section 3).

The model is shown each of the agent's turns and asked to say the same itself; what it says is learned in
place of the data's wording, for it is nearer to what it would have said anyway. Where it leaves out a figure
or a name or most other words, or does not come to an end, the data's own turn stays, as the paper keeps a
reference whose answer the rewritten one misses. Calls of tools stay too. What went before a turn is always
the data's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tether.chatdata.chats import Chat, Message
    from tether.hosted.kept import Kept
    from tether.inference import LocalModel

REQUEST = (
    "Here is what a good answer says: {reference}\n"
    "Give that answer in your own words. Keep every name and number, and say nothing else."
)
MOST_TOKENS = 128  # of a rewritten turn
WORD, WORDS_KEPT = re.compile(r"[^\W\d]{4,}"), 0.5  # a small model answers many requests with a refusal
# Whatever holds a digit, and words with a capital that do not begin a sentence; "I" is nobody's name.
FACT = re.compile(r"\w*\d(?:[\w.,:/-]*\w)?|(?<![.!?:]\s)(?<!^)\b(?!I\b)[A-Z][\w-]+")


@dataclass(frozen=True)
class Retold:
    """How many turns the model was asked to rewrite, and how many are learned as it did."""

    turns: int
    rewritten: int


def rewritten(live: LocalModel, chats: Sequence[Chat], kept: Kept) -> tuple[list[Chat], Retold]:
    """The dialogues with the agent's turns as a model words them.

    Args:
        live: The model that will be trained, before it is.
        chats: Dialogues.
        kept: What it has said already, in a run that was killed.
    """
    places = [
        (number, turn)
        for number, chat in enumerate(chats)
        for turn in chat.agent_turns
        if chat.messages[turn].get("content") and not chat.messages[turn].get("tool_calls")
    ]
    texts = dict(zip(places, _said(live, [_asked(chats[n], turn) for n, turn in places], kept), strict=True))
    taken = {
        (number, turn): text
        for (number, turn), text in texts.items()
        if says_the_same(str(chats[number].messages[turn]["content"]), text)
    }
    told = [
        replace(chat, messages=tuple(_retold(m, taken.get((n, i))) for i, m in enumerate(chat.messages)))
        for n, chat in enumerate(chats)
    ]
    return told, Retold(len(places), len(taken))


def says_the_same(reference: str, text: str) -> bool:
    """Whether a text has every figure and name of the reference, and half of its longer words."""
    said, words = text.lower(), set(WORD.findall(reference.lower()))
    kept = sum(word in said for word in words)
    facts = all(fact.lower() in said for fact in FACT.findall(reference))
    return bool(said.strip()) and facts and kept >= WORDS_KEPT * len(words)


def _asked(chat: Chat, turn: int) -> Chat:
    """The dialogue up to a turn, with the request to give the turn's answer in the model's own words."""
    before, request = chat.messages[:turn], REQUEST.format(reference=chat.messages[turn]["content"])
    if before and before[-1]["role"] == "user":  # many templates take no two user turns in a row
        before, request = before[:-1], f"{before[-1]['content']}\n\n{request}"
    return replace(chat, messages=(*before, {"role": "user", "content": request}))


def _said(live: LocalModel, asked: Sequence[Chat], kept: Kept) -> list[str]:
    """What the model answers, greedily; empty where it does not come to an end."""
    prompts = [live.ask(chat) for chat in asked]
    keys = [{"ids": list(prompt)} for prompt in prompts]
    left = [number for number, key in enumerate(keys) if kept.get(key) is None]

    def keep(place: int, answer: list[int]) -> None:
        ended = bool(answer) and answer[-1] in live.stop_ids
        text = live.tokenizer.decode(answer, skip_special_tokens=True) if ended else ""
        kept.add(keys[left[place]], str(text).strip())

    wanted = [prompts[number] for number in left]
    live.generate_ids(wanted, max_new_tokens=MOST_TOKENS, label="Targets in its own words", keep=keep)
    return [str(kept.get(key)) for key in keys]


def _retold(message: Message, text: str | None) -> Message:
    return message if text is None else {**message, "content": text}
