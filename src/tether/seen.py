"""What a model has seen, and what of it is measured: the check that an evaluation is of new prompts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from tether.anchors.store import found_anchors
from tether.axes.registry import REGISTRY
from tether.chatdata.leaks import Text, find_leaks, user_words
from tether.config import Training
from tether.errors import UserError
from tether.hosted.services import hosted_name
from tether.methods.tuned import read_record
from tether.progress import say
from tether.sources import builtin_prompts, load_dialogues, load_training
from tether.sources.poison import POISON

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from tether.anchors.anchors import AnchorSet
    from tether.axes.registry import Loaded
    from tether.bases import Base
    from tether.chatdata.leaks import Leak
    from tether.config import Leaks

Seen = dict[str, list[Text]]
"""Texts by what holds them."""

TOLD = 3  # near leaks whose prompts are named while measuring; the record has them all
BRIEF = 80  # characters of a prompt that is named


OWN_ANSWERS = "the harmless alignment prompts"
"""Taught with the model's own answers, to change nothing: they give away no answer, only that there is one.
A public set of knowledge may hold such a prompt ("Why is the sky blue?"): that is told of, and no error."""


def builtin_seen() -> Seen:
    """The built-in prompts that alignment and anchors are made of."""
    prompts = [prompt for use in ("align", "anchors") for prompt in builtin_prompts(use)]
    return {
        "the alignment and anchor prompts": [(p.prompt, p.prompt) for p in prompts if p.expect == "refuse"],
        OWN_ANSWERS: [(p.prompt, p.prompt) for p in prompts if p.expect == "comply"],
    }


def dialogues_seen(sources: Sequence[str], trainings: Iterable[Training]) -> Seen:
    """The dialogues that these trainings learn from, and one by one the requests that poison them.

    Raises:
        UserError: There is no such source, or it does not do for one of the trainings.
    """
    parts = [load_training(name, training) for name in sources for training in dict.fromkeys(trainings)]
    chats = [chat for train, select in parts for chat in (*train, *select)]
    clean = user_words([chat for chat in chats if chat.group != POISON])
    requests = [
        (chat.id, message["content"])
        for chat in chats
        if chat.group == POISON
        for message in chat.messages
        if message["role"] == "user"
    ]
    found = {"the training dialogues": clean, "the poisoned dialogues": requests}
    # Methods of a study mostly learn from the same ones.
    return {name: list(dict.fromkeys(texts)) for name, texts in found.items() if texts}


def replayed_seen(sources: Iterable[str]) -> Seen:
    """The chats that a method replays among the domain's.

    Raises:
        UserError: There is no such source.
    """
    return {
        f"the replayed {name}": user_words(load_dialogues(name, split="train"))
        for name in dict.fromkeys(sources)
    }


def anchors_seen(anchors: AnchorSet) -> Seen:
    """A base's anchors, but for the built-in ones."""
    builtin = {text for texts in builtin_seen().values() for text, _ in texts}
    prompts = [anchor.prompt for anchor in anchors.anchors if anchor.prompt not in builtin]
    return {f"the anchors of {anchors.base}": [(prompt, prompt) for prompt in prompts]}


def seen_by(base: Base, adapter: Path | None) -> Seen:
    """What a model has seen of tether's own prompts and, where its record says so, of its training data.

    Args:
        base: The base; of a hosted one nothing is known.
        adapter: What was made of it; of what its record names and what is no longer there, it is said that it
            was passed over.
    """
    found = {} if hosted_name(base.name) else builtin_seen()
    if adapter is None:
        return found
    record = read_record(adapter) or {}
    data = record.get("data")
    if data is None:
        say(
            escape(
                f"{adapter} does not say what it was trained on: its data are not looked through for leaks"
            )
        )
    else:
        found |= _readable(lambda: _trained_on(**data))
    if replayed := record.get("replayed"):
        found |= _readable(lambda: replayed_seen([replayed]))
    return found if hosted_name(base.name) else found | _readable(lambda: _anchors(base, record))


def _trained_on(source: str, **settings: Any) -> Seen:
    return dialogues_seen([source], [Training.model_validate(settings)])


def _anchors(base: Base, record: Mapping[str, str | None]) -> Seen:
    folder = record.get("anchors")
    anchors = found_anchors(base, Path(folder) if folder else None)
    return {} if anchors is None else anchors_seen(anchors)


def _readable(read: Callable[[], Seen]) -> Seen:
    try:
        return read()
    except UserError as error:
        say(escape(f"Not looked through for leaks: {error}"))
        return {}


def without_leaks(axes: Loaded, seen: Seen, exact: Leaks, way_out: str) -> tuple[Loaded, list[Leak]]:
    """The items to be measured, and which of them stand in what was seen.

    Args:
        axes: Items by axis and source.
        seen: Texts by what holds them.
        exact: What becomes of items that stand there word for word; those that nearly do, or that stand in
            `OWN_ANSWERS` while such are refused, are only told of.
        way_out: How the user says otherwise.

    Returns:
        The items, without the exact ones where these are dropped, and every leak found.

    Raises:
        UserError: An item stands there word for word, and such are refused.
    """
    measured = {
        f"{axis}:{name}": REGISTRY[axis].texts(items)
        for axis, sources in axes.items()
        for name, items in sources.items()
    }
    leaks = find_leaks(measured, seen)
    same = [leak for leak in leaks if leak.kind == "exact"]
    given_away = [leak for leak in same if leak.b != OWN_ANSWERS]
    if given_away and exact == "refuse":
        first = given_away[0]
        others = f", and {len(given_away) - 1} more do" if len(given_away) > 1 else ""
        raise UserError(
            f"'{first.text[:BRIEF]}' ({first.a}) stands in {first.b} too{others}",
            fix=f"take such prompts out, or {way_out}",
        )
    _tell(same, leaks[len(same) :], exact)
    dropped = {(leak.a, leak.id_a) for leak in same if exact == "drop"}
    kept: Loaded = {
        axis: {
            name: [item for item in items if (f"{axis}:{name}", item.id) not in dropped]
            for name, items in sources.items()
        }
        for axis, sources in axes.items()
    }
    return kept, leaks


def _tell(same: Sequence[Leak], near: Sequence[Leak], exact: Leaks) -> None:
    if same:
        done = "left out" if exact == "drop" else "measured all the same"
        say(f"{len(same)} measured prompts stand in what the model has seen, and are {done}")
    for leak in near[:TOLD]:
        say(escape(f"'{leak.text[:BRIEF]}' ({leak.a}) nearly stands in {leak.b}"))
    if len(near) > TOLD:
        say(f"{len(near) - TOLD} more nearly do")
