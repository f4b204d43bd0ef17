"""Answers side by side: where the methods differ, in their own words."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from tether.report.records import items_of
from tether.results import Item

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tether.results import MethodResult, StudyResults

SHOWN = 10
BRIEF = 110
LONGEST = 1500  # characters of one text; the rest is counted, and stands whole in the records
AXES_WITH_ANSWERS = ("proficiency", "safety", "knowledge")

Key = tuple[str, str]
Answers = dict[Key, Item]


@dataclass(frozen=True)
class Answer:
    """What one model answered."""

    who: str
    text: str
    score: float
    reason: str
    changed: bool


@dataclass(frozen=True)
class Example:
    """One prompt and everybody's answer, the bases' first."""

    source: str
    group: str
    prompt: str
    answers: tuple[Answer, ...]

    @property
    def brief(self) -> str:
        """The prompt's end on one line: of a dialogue, the turn that was answered."""
        line = " ".join(self.prompt.split())
        return line if len(line) <= BRIEF else f"… {line[-BRIEF:]}"


def examples(run: Path, results: StudyResults) -> dict[str, list[Example]]:
    """Up to ten prompts per axis on which answers differ most, score changes first.

    Args:
        run: The study's folder, with its per-item records.
        results: The study's results, which say where the records stand.

    Returns:
        Examples by axis; an axis without records is left out.

    Raises:
        UserError: A file of records has a bad row.
    """
    chosen = {axis: _choose(axis, run, results) for axis in AXES_WITH_ANSWERS}
    return {axis: found for axis, found in chosen.items() if found}


@dataclass(frozen=True)
class _Answered:
    """One axis's items: of each base by its name, and of each method by its name."""

    befores: Mapping[str, Answers]
    afters: Mapping[str, Answers]
    bases: Mapping[str, str]

    def start(self, name: str, key: Key) -> Item | None:
        """What the method's own base answered."""
        return self.befores.get(self.bases[name], {}).get(key)

    def common(self) -> set[Key]:
        """What everybody answered."""
        return set.intersection(*(set(items) for items in (*self.befores.values(), *self.afters.values())))


def _choose(axis: str, run: Path, results: StudyResults) -> list[Example]:
    answered = _answered(axis, run, results)
    if not answered.befores or not answered.afters:
        return []
    ranked = sorted(
        (key for key in answered.common() if _differ(key, answered)), key=lambda k: _rank(k, answered)
    )
    return [_example(key, answered) for key in _mixed(ranked, answered)]


def _answered(axis: str, run: Path, results: StudyResults) -> _Answered:
    methods = {name: method for name, method in results.methods.items() if method.seeds}
    before = {method.base: _load(run, axis, name, method, before=True) for name, method in methods.items()}
    after = {name: _load(run, axis, name, method, before=False) for name, method in methods.items()}
    return _Answered(
        befores={base: items for base, items in before.items() if items},
        afters={name: items for name, items in after.items() if items},
        bases={name: method.base for name, method in methods.items()},
    )


def _load(run: Path, axis: str, name: str, method: MethodResult, *, before: bool) -> Answers:
    """A model's answers by source and id, of the first seed; none where there are no records."""
    items = items_of(run, axis, name, method, next(iter(method.seeds)), before=before)
    return {(item.source, item.id): item for item in items}


def _rank(key: Key, answered: _Answered) -> tuple[bool, float, int, str]:
    """Sorts first where methods disagree in score, then where scores moved most, then by answers."""
    ends = {name: items[key] for name, items in answered.afters.items()}
    starts = {name: answered.start(name, key) for name in ends}
    moved = sum(
        abs(end.score - start.score) for name, end in ends.items() if (start := starts[name]) is not None
    )
    agree = len({end.score for end in ends.values()}) == 1
    # The hash breaks ties without favouring the head of a file.
    lot = sha256("\n".join(key).encode()).hexdigest()
    return agree, -moved, -len({end.output for end in ends.values()}), lot


def _differ(key: Key, answered: _Answered) -> bool:
    everyone = (*answered.befores.values(), *answered.afters.values())
    return len({items[key].output for items in everyone}) > 1


def _mixed(ranked: list[Key], answered: _Answered) -> list[Key]:
    """The first ten, taking turns between an axis's groups so that none crowds out another."""
    first = next(iter(answered.afters.values()))
    groups: dict[str, list[Key]] = {}
    for key in ranked:
        groups.setdefault(first[key].group, []).append(key)
    turns = [(place, key) for keys in groups.values() for place, key in enumerate(keys)]
    return [key for _, key in sorted(turns, key=lambda turn: turn[0])[:SHOWN]]


def _example(key: Key, answered: _Answered) -> Example:
    first = next(iter(answered.afters.values()))[key]
    starts = [_answer(f"before ({base})", items[key], None) for base, items in answered.befores.items()]
    ends = [_answer(name, items[key], answered.start(name, key)) for name, items in answered.afters.items()]
    return Example(first.source, first.group, shorten(first.input, keep_end=True), (*starts, *ends))


def _answer(who: str, item: Item, start: Item | None) -> Answer:
    changed = start is not None and start.score != item.score
    return Answer(who, shorten(item.output), item.score, item.reason, changed)


def shorten(text: str, *, keep_end: bool = False) -> str:
    """A text that fits the page, saying how much is left out.

    Args:
        text: Any text.
        keep_end: Leave out the beginning, as of a long dialogue, in place of the end.

    Returns:
        At most `LONGEST` characters of it, and a count of the others.
    """
    left = len(text) - LONGEST
    if left <= 0:
        return text
    note = f"({left:,} more characters in the records)"
    return f"{note} … {text[-LONGEST:]}" if keep_end else f"{text[:LONGEST]} … {note}"
