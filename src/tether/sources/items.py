"""What the axes ask: rows of the forms that tether reads, made into typed items with stable ids."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, cast

from tether.chatdata.chats import Chat
from tether.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tether.sources.rows import Row

Expect = Literal["refuse", "comply"]
# XSTest says what a prompt is where we say what an answer should do.
XSTEST_LABELS: dict[str, Expect] = {"safe": "comply", "unsafe": "refuse"}
LEAD_IN = "Please choose the correct answer to the question:"


class HasId(Protocol):
    """Anything with a stable id."""

    @property
    def id(self) -> str:
        """Told apart from every other item of its source by this."""


T = TypeVar("T", bound=HasId)


@dataclass(frozen=True)
class SafetyItem:
    """A prompt, and whether a safe model refuses it or answers.

    Attributes:
        system: What the agent was told before; empty is nothing.
        tools: What it can call, in canonical form: with tools the prompt is asked within the domain.
        held_out: Whether nothing harmful of its category is in tether's anchors or alignment.
    """

    id: str
    prompt: str
    expect: Expect
    category: str
    source: str
    system: str = ""
    tools: tuple[dict[str, Any], ...] = ()
    held_out: bool = False

    @property
    def asked(self) -> str | Chat:
        """What the model is given."""
        if not self.system:
            return self.prompt
        turns = ({"role": "system", "content": self.system}, {"role": "user", "content": self.prompt})
        return Chat(self.id, turns, self.tools, self.source, self.category)


@dataclass(frozen=True)
class ChoiceItem:
    """A multiple-choice question; ``answer`` counts ``choices`` from 0."""

    id: str
    question: str
    choices: tuple[str, ...]
    answer: int
    source: str
    category: str


@dataclass(frozen=True)
class OpenItem:
    """A question with a reference answer in free words."""

    id: str
    instruction: str
    context: str
    response: str
    category: str
    source: str


class Ids:
    """Gives each row its id: its own where it has one, else one made from its text."""

    def __init__(self, source: str) -> None:
        """Start without any id; ``source`` will stand before each."""
        self._source = source
        self._seen: Counter[str] = Counter()

    def of(self, row: Row, text: str) -> str:
        """The id of ``row``, whose text tells it apart where it has no id."""
        own = row.values.get("id")
        name = str(own) if own not in (None, "") else hashlib.sha256(text.encode()).hexdigest()[:12]
        self._seen[name] += 1
        count = self._seen[name]
        return f"{self._source}-{name}" + (f"-{count}" if count > 1 else "")


def parse_safety(rows: Sequence[Row], source: str) -> list[SafetyItem]:
    """Prompts with what is expected: our own form, or XSTest's columns ``label`` and ``type``.

    A row's ``system`` is a system prompt to ask it under.

    Raises:
        UserError: A row has no prompt, or expects something else than "refuse" or "comply".
    """
    ids = Ids(source)
    items = []
    for row in rows:
        prompt = row.text("prompt")
        category = row.text("category", default=row.text("type", default=""))
        system = row.text("system", default="")
        items.append(SafetyItem(ids.of(row, prompt), prompt, _expected(row), category, source, system))
    return items


def parse_knowledge(rows: Sequence[Row], source: str) -> list[ChoiceItem | OpenItem]:
    """Questions: multiple choice, LLM-Adapters' ARC form of it, or instructions with a reference response.

    Raises:
        UserError: A row has none of these forms, or its answer names no choice.
    """
    ids = Ids(source)
    return [_knowledge_item(row, ids, source) for row in rows]


def sample(items: Sequence[T], limit: int | None, *, seed: int = 0, source: str = "") -> list[T]:
    """Draw ``limit`` items by hash of their ids, so that the draw stays when others are added or reordered.

    Returns:
        The drawn items in their old order; all of them without a limit.

    Raises:
        UserError: There are fewer items than asked for.
    """
    if limit is None:
        return list(items)
    if limit > len(items):
        what = f"{limit} items are asked of '{source}', which has {len(items)}"
        raise UserError(what, fix=f"ask for {len(items)} or fewer, or leave the limit out")
    ranked = sorted(items, key=lambda item: hashlib.sha256(f"{seed}:{item.id}".encode()).digest())
    drawn = {item.id for item in ranked[:limit]}
    return [item for item in items if item.id in drawn]


def _expected(row: Row) -> Expect:
    label = row.values.get("label")
    if "expect" not in row.values and isinstance(label, str) and label in XSTEST_LABELS:
        return XSTEST_LABELS[label]
    expect = row.text("expect", default="refuse")
    if expect not in ("refuse", "comply"):
        what = f"'expect' is '{expect}'"
        raise UserError(what, where=row.place, fix="write refuse or comply; without the field it is refuse")
    return cast("Expect", expect)


def _knowledge_item(row: Row, ids: Ids, source: str) -> ChoiceItem | OpenItem:
    category = row.text("category", default="")
    if "choices" in row.values:
        question, choices, answer = row.text("question"), _choices(row), row.values.get("answer")
    elif "response" in row.values:
        instruction, response = row.text("instruction"), row.text("response")
        context = row.text("context", default="")
        id_ = ids.of(row, f"{instruction}\n{context}\n{response}")
        return OpenItem(id_, instruction, context, response, category, source)
    elif "instruction" in row.values and "answer" in row.values:
        question, choices, answer = _adapters_form(row)
    else:
        raise UserError(
            "this row is no question",
            where=row.place,
            fix="give it instruction and response, or question, choices and answer",
        )
    index = _index(row, answer, len(choices))
    return ChoiceItem(
        ids.of(row, "\n".join((question, *choices))), question, choices, index, source, category
    )


def _choices(row: Row) -> tuple[str, ...]:
    choices = row.values["choices"]
    if isinstance(choices, str):  # a CSV can hold a list only as text
        try:
            choices = json.loads(choices)
        except json.JSONDecodeError:
            choices = None
    if not isinstance(choices, list) or len(choices) < 2 or not all(_is_text(choice) for choice in choices):
        raise UserError("'choices' is no list of two or more texts", where=row.place)
    return tuple(choices)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _index(row: Row, answer: Any, count: int) -> int:
    number = int(answer) if isinstance(answer, str) and answer.isdecimal() else answer
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < count:
        what = f"'answer' is {answer!r} where there are {count} choices"
        raise UserError(what, where=row.place, fix=f"give the right choice's index, 0 to {count - 1}")
    return number


def _adapters_form(row: Row) -> tuple[str, tuple[str, ...], int]:
    """LLM-Adapters: "...question: Q Answer1: A Answer2: B Answer format: ...", and "answer2"."""
    text, answer = row.text("instruction"), row.text("answer")
    named = re.fullmatch(r"([a-z]+)([1-9]\d*)", answer)
    if not named:
        fix = "write answer1, answer2 ..., or use question, choices and answer"
        raise UserError(f"'answer' is {answer!r}, which names no choice", where=row.place, fix=fix)
    word = named[1].capitalize()
    body = re.split(rf"\n+\s*{word} format:", text)[0]
    question, *choices = (part.strip() for part in re.split(rf"\b{word}\d+:\s", body))
    if len(choices) < 2 or not all((question, *choices)):
        raise UserError(f"the instruction lists no choices {word}1:, {word}2: ...", where=row.place)
    return question.removeprefix(LEAD_IN).strip(), tuple(choices), int(named[2]) - 1
