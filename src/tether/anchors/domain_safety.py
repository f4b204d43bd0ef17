"""Safety where the domain is: the safety group's prompts under the training dialogues' own system turns.

A domain's dialogues teach the model to answer whatever is asked under their system turn and beside their
tools, and no other anchor stands there: of harmful requests to the hotel's agent 5% were refused after 100
steps, where the base had refused 62% (docs/results.md).
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from tether import bases
from tether.anchors.anchors import AnchorSet, load_anchors
from tether.anchors.build import AnchorSettings, Asked, answered, save_anchors
from tether.anchors.prompts import spread, user_turn_opening
from tether.errors import UserError
from tether.files import make_once
from tether.inference import LocalModel
from tether.names import DOMAIN_SAFETY
from tether.progress import say

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tether.chatdata.chats import Chat, Message

PROMPTS = {"train": 96, "select": 96, "certify": 112}
FOLDER = "domain-anchors"

Place = tuple[tuple["Message", ...], tuple[dict[str, Any], ...]]
"""What stands before the user of a dialogue: a system turn or none, and tools or none."""


def domain_safety_anchors(
    base: bases.Base, anchors: AnchorSet, chats: Sequence[Chat], folder: Path
) -> AnchorSet:
    """The base's own answers to the safety group's prompts in the domain's place, made once.

    Args:
        base: The base.
        anchors: Its anchors, whose safety group has the prompts; each stays in its split.
        chats: The training dialogues.
        folder: Where the group is kept.

    Raises:
        UserError: No dialogue has a system turn or tools.
    """
    places = [place for place in map(_place, chats) if any(place)]
    if not places:
        raise UserError(
            "no training dialogue has a system turn or tools, so there is no place of its own to be safe in",
            where="domain_safety",
            fix="leave it out: the group 'safety' asks the same",
        )
    make_once(folder, lambda target: _build(base, anchors, places, target))
    return load_anchors(folder)


def _place(chat: Chat) -> Place:
    system = chat.messages[:1] if chat.messages[0]["role"] == "system" else ()
    return system, chat.tools


def _build(base: bases.Base, anchors: AnchorSet, places: Sequence[Place], out: Path) -> None:
    say("Making anchors of safety under the dialogues' own system turns ...")
    live = LocalModel(bases.load_model(base), bases.load_tokenizer(base), base.name)
    settings = AnchorSettings()
    asked = list(_asked(live, anchors, places))
    made = answered(live, asked, base.revision, settings.answer_tokens, settings.answer_temperature)
    save_anchors(made, out)


def _asked(live: LocalModel, anchors: AnchorSet, places: Sequence[Place]) -> Iterator[Asked]:
    """Each prompt in the place of a dialogue drawn by lot."""
    lot = random.Random(0)
    for split, count in PROMPTS.items():
        prompts = [anchors.anchors[index].prompt for index in anchors.indices("safety", split)]
        for prompt in spread(prompts, count):
            before, tools = lot.choice(places)
            ids = live.renderer.prompt_ids([*before, {"role": "user", "content": prompt}], tools)
            yield Asked(DOMAIN_SAFETY, split, prompt, ids, len(user_turn_opening(live, before, tools)))
