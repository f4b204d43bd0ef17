"""The axes, one line each: where their items come from, and how a model is scored on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tether.axes.conversations import conversations
from tether.axes.knowledge import knowledge
from tether.axes.proficiency import proficiency
from tether.axes.safety import RULES, safety
from tether.chatdata.leaks import Text, user_words
from tether.errors import UserError
from tether.inference import LocalModel
from tether.names import CONVERSATION_TRIALS
from tether.sources import OpenItem, load_dialogues, load_knowledge, load_safety

if TYPE_CHECKING:
    from tether.axes.judges.protocol import Judge
    from tether.inference import Answers
    from tether.results import Item

Loader = Callable[[str, int | None], Sequence[Any]]


@dataclass(frozen=True)
class Axis:
    """One axis.

    Attributes:
        load: Reads a source by name, at most so many items of it.
        score: Scores a model on a source's items; the judge is for answers that may refuse.
        texts: Id and text of each item, to find leaks by.
    """

    load: Loader
    score: Callable[[Answers, Sequence[Any], str, Judge], list[Item]]
    texts: Callable[[Sequence[Any]], list[Text]]


def _question(item: Any) -> str:
    return str(item.instruction if isinstance(item, OpenItem) else item.question)


def _proficiency(model: Answers, chats: Sequence[Any], source: str) -> list[Item]:
    """Whole conversations where the source is one of them, else single steps of dialogues.

    Raises:
        UserError: A hosted model is to hold whole conversations.
    """
    if source not in CONVERSATION_TRIALS:
        return proficiency(model, chats, source=source)
    if not isinstance(model, LocalModel):
        fix = "measure it on single steps, with builtin:hotels"
        raise UserError("a hosted model cannot hold whole conversations yet", where=source, fix=fix)
    return conversations(model, chats, source=source)


REGISTRY: dict[str, Axis] = {
    "proficiency": Axis(
        lambda name, limit: load_dialogues(name, split="test", limit=limit),
        lambda model, chats, source, judge: _proficiency(model, chats, source),
        user_words,
    ),
    "safety": Axis(
        lambda name, limit: load_safety(name, limit=limit),
        lambda model, prompts, source, judge: safety(model, prompts, judge),
        lambda prompts: [(prompt.id, prompt.prompt) for prompt in prompts],
    ),
    "knowledge": Axis(
        lambda name, limit: load_knowledge(name, limit=limit),
        lambda model, questions, source, judge: knowledge(model, questions),
        lambda questions: [(question.id, _question(question)) for question in questions],
    ),
}

Loaded = dict[str, dict[str, Sequence[Any]]]
"""Items by axis and source."""


def load_axes(sources: Mapping[str, Sequence[str]], limits: Mapping[str, int]) -> Loaded:
    """Read everything that will be measured, before anything is trained.

    Raises:
        UserError: A source will not do, or two of an axis are called alike.
    """
    loaded = {
        axis: {name: REGISTRY[axis].load(name, limits.get(name)) for name in names}
        for axis, names in sources.items()
        if names
    }
    for axis in loaded.values():
        _check_told_apart(axis)
    return loaded


def _check_told_apart(axis: Mapping[str, Sequence[Any]]) -> None:
    """See that no two sources hold an item of one id: answers before and after are paired by it."""
    seen: dict[tuple[str, str], str] = {}
    for name, items in axis.items():
        for item in items:
            other = seen.setdefault((item.source, item.id), name)
            if other != name:
                what = f"'{other}' and '{name}' are both called '{item.source}', and both have '{item.id}'"
                raise UserError(what, fix="rename one of the two files")


def measure(
    model: Answers, axis: str, loaded: Mapping[str, Sequence[Any]], judge: Judge = RULES
) -> list[Item]:
    """Score a model on all sources of one axis."""
    score = REGISTRY[axis].score
    return [item for source, items in loaded.items() for item in score(model, items, source, judge)]
