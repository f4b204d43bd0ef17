"""Anchors of a domain that was learned before: turns of its dialogues, and what its own model says there.

In a sequence of domains the earlier ones are old knowledge too. As with the base, what must not change is not
what the data say but what the model does: the model that has just learned a domain answers turns of it, and
whoever learns the next domain is held to these answers, as pseudo-rehearsal does (Robins 1995).
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import TYPE_CHECKING

from tether import bases
from tether.anchors.anchors import AnchorSet, load_anchors
from tether.anchors.build import Asked, answered, save_anchors
from tether.files import make_once
from tether.inference import LocalModel
from tether.progress import say

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tether.chatdata.chats import Chat

TURNS = {"train": 64, "select": 64, "certify": 104}
ANSWER_TOKENS = 64
FOLDER = "anchors"


@dataclass(frozen=True)
class Learned:
    """A domain that was learned before.

    Attributes:
        group: What its anchors are called.
        folder: The model that learned it last.
        chats: Its training dialogues.
    """

    group: str
    folder: Path
    chats: Sequence[Chat]


def learned_anchors(learned: Learned, base: bases.Base) -> AnchorSet:
    """The anchors of a domain that was learned, made once and kept beside its model.

    Args:
        learned: The domain.
        base: What all domains were learned from.
    """
    folder = learned.folder / FOLDER
    make_once(folder, lambda target: _build(learned, base, target))
    return load_anchors(folder)


def _build(learned: Learned, base: bases.Base, out: Path) -> None:
    say(f"Making anchors of what was learned on {learned.group} ...")
    tokenizer = bases.load_tokenizer(base)
    live = LocalModel(bases.load_tuned(base, learned.folder), tokenizer, base.name)
    asked = [
        Asked(learned.group, split, str(chat.messages[index - 1]["content"]), live.ask(_until(chat, index)))
        for split, (chat, index) in _turns(learned.chats)
    ]
    # Greedy, as the domain's agent is measured and used.
    save_anchors(answered(live, asked, base.revision, ANSWER_TOKENS, 0.0), out)


def _until(chat: Chat, index: int) -> Chat:
    return replace(chat, messages=chat.messages[:index])


def _turns(chats: Sequence[Chat]) -> list[tuple[str, tuple[Chat, int]]]:
    """Agent turns by lot with their split: one of every dialogue, then a second one, and so on.

    So the splits share no dialogue as long as there are enough; of few turns, each split gets its share.
    """
    lot = random.Random(0)
    decks = []
    for chat in lot.sample(chats, len(chats)):
        answers = [index for index in chat.agent_turns if index > 0]  # the rest open a dialogue unasked
        decks.append([(chat, index) for index in lot.sample(answers, len(answers))])
    turns = [turn for row in zip_longest(*decks) for turn in row if turn is not None]
    share = min(1.0, len(turns) / sum(TURNS.values()))
    splits = [split for split, most in TURNS.items() for _ in range(max(1, int(share * most)))]
    return list(zip(splits, turns, strict=False))
