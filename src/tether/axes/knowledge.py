"""Knowledge: multiple choice by likelihood, and how much better a question's own answer fits than another's.

Plain likelihood of reference answers measures style: every fine-tuning in our pilot *improved* it by 15%. The
association gain cancels style, since the same answer is scored after its own question and after others:

    gain = [log2 p(answer | its question) - mean of log2 p(answer | another question)] / answer bytes
"""

from __future__ import annotations

import math
from hashlib import sha256
from statistics import fmean
from typing import TYPE_CHECKING

from tether.axes.harness import harness_items
from tether.axes.written import rouge_l, token_f1
from tether.inference import LocalModel
from tether.progress import say
from tether.results import Item
from tether.sources import ChoiceItem, HarnessItem, OpenItem

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tether.inference import Answers

OTHER_QUESTIONS = 3
LONGEST_ANSWER = 400  # characters of a reference that are scored
ANSWER_TOKENS = 48  # tokens of a generated answer


def knowledge(model: Answers, questions: Sequence[ChoiceItem | OpenItem | HarnessItem]) -> list[Item]:
    """Score every question that the model can be scored on.

    A hosted model gives no likelihoods: multiple choice and lm-eval's tasks are left out, and a free answer's
    score is its token F1, which results keep apart from accuracy and from the association gain.

    Returns:
        Items of the groups "choice" (score 1 or 0), "open" (score in bits per byte) and, from lm-eval alone,
        "text" (minus the bits per byte); of a hosted model, of the group "written" (token F1) alone.
    """
    choices = [question for question in questions if isinstance(question, ChoiceItem)]
    opens = [question for question in questions if isinstance(question, OpenItem)]
    harness = [question for question in questions if isinstance(question, HarnessItem)]
    if isinstance(model, LocalModel):
        return [
            *_choice_items(model, choices),
            *_open_items(model, opens),
            *harness_items(model, harness),
        ]
    if left_out := len(choices) + len(harness):
        what = "questions of multiple choice or of lm-eval" if harness else "questions of multiple choice"
        say(f"{model.name} gives no likelihoods: {left_out} {what} are left out")
    return _written_items(model, opens)


def _choice_items(model: LocalModel, questions: Sequence[ChoiceItem]) -> list[Item]:
    pairs = [pair for question in questions for pair in choice_continuations(model, question)]
    scores = iter(model.log_likelihoods(pairs, label="Multiple choice"))
    return [_choice_item(question, [next(scores) for _ in question.choices]) for question in questions]


def choice_continuations(model: LocalModel, question: ChoiceItem) -> list[tuple[list[int], list[int]]]:
    """The question as plain text, as lm-eval asks it, gone on with by each of its choices."""
    context = f"Question: {question.question}\nAnswer:"
    return [continuation(model, context, f" {choice}") for choice in question.choices]


def _choice_item(question: ChoiceItem, nats: Sequence[float]) -> Item:
    """Right when the right choice has the highest likelihood per character, as lm-eval's `acc_norm`."""
    per_character = [score / len(choice) for score, choice in zip(nats, question.choices, strict=True)]
    picked = per_character.index(max(per_character))
    right = float(picked == question.answer)
    return Item(
        id=question.id,
        axis="knowledge",
        source=question.source,
        cluster=question.id,
        group="choice",
        input=question.question,
        output=question.choices[picked],
        score=right,
        reason="right" if right else f"the answer is '{question.choices[question.answer]}'",
        metrics={"accuracy": right},
        category=question.category,
    )


def _open_items(model: LocalModel, questions: Sequence[OpenItem]) -> list[Item]:
    if not questions:
        return []
    contexts = {question.id: model.ask(_asked(question)) for question in questions}
    references = {question.id: _reference(question) for question in questions}
    answers = {
        id_: model.tokenizer(text, add_special_tokens=False)["input_ids"] for id_, text in references.items()
    }
    ids = list(contexts)
    others = {id_: other_questions(id_, ids) for id_ in ids}
    pairs = [
        (contexts[id_], answers[question.id])
        for question in questions
        for id_ in (question.id, *others[question.id])
    ]
    scores = iter(model.log_likelihoods(pairs, label="Free-form answers"))
    written = model.generate(
        [contexts[question.id] for question in questions],
        max_new_tokens=ANSWER_TOKENS,
        label="Answering questions",
    )
    items = []
    for question, text in zip(questions, written, strict=True):
        own, *foreign = [next(scores) for _ in (question.id, *others[question.id])]
        items.append(_open_item(question, text, references[question.id], own, foreign))
    return items


def _written_items(model: Answers, questions: Sequence[OpenItem]) -> list[Item]:
    asked = [_asked(question) for question in questions]
    written = model.answer(asked, max_new_tokens=ANSWER_TOKENS, label="Answering questions")
    return [_written_item(question, text) for question, text in zip(questions, written, strict=True)]


def _written_item(question: OpenItem, written: str) -> Item:
    f1 = token_f1(written, question.response)
    return Item(
        id=question.id,
        axis="knowledge",
        source=question.source,
        cluster=question.id,
        group="written",
        input=_asked(question),
        output=written,
        score=f1,
        reason=f"token F1 {f1:.3f} with the reference; no likelihoods, so no association gain",
        metrics={
            "gain_bits_per_byte": None,
            "bits_per_byte": None,
            "token_f1": f1,
            "rouge_l": rouge_l(written, question.response),
        },
        category=question.category,
        passage=bool(question.context.strip()),
    )


def _open_item(
    question: OpenItem, written: str, reference: str, own: float, foreign: Sequence[float]
) -> Item:
    bits_per_nat = 1 / math.log(2) / len(reference.encode())
    gain = (own - fmean(foreign)) * bits_per_nat if foreign else 0.0
    return Item(
        id=question.id,
        axis="knowledge",
        source=question.source,
        cluster=question.id,
        group="open",
        input=_asked(question),
        output=written,
        score=gain,
        reason=f"the reference answer is {gain:.3f} bits per byte likelier after its own question",
        metrics={
            "gain_bits_per_byte": gain,
            "bits_per_byte": -own * bits_per_nat,
            "token_f1": token_f1(written, question.response),
            "rouge_l": rouge_l(written, question.response),
        },
        category=question.category,
        passage=bool(question.context.strip()),
    )


def other_questions(question: str, questions: Iterable[str]) -> list[str]:
    """Which of the questions of a source this one's answer is also scored after, all by their ids."""
    others = (other for other in questions if other != question)
    return sorted(others, key=lambda other: sha256(f"{question} {other}".encode()).digest())[:OTHER_QUESTIONS]


def asked_alike(before: Sequence[Item], after: Sequence[Item]) -> list[Item]:
    """The items of an earlier evaluation that a later one can be compared with.

    A gain is told against other questions of its source; where a source was another sample then, it was told
    against others.

    Args:
        before: The earlier evaluation's items of the knowledge axis.
        after: The later one's.

    Returns:
        Of ``before`` all but the free answers that were scored after other questions.
    """
    then, now = _free_by_source(before), _free_by_source(after)
    if then == now:  # nearly always, and looking at every pair of questions takes its time
        return list(before)
    return [
        item
        for item in before
        if item.group != "open"
        or other_questions(item.id, then[item.source])
        == other_questions(item.id, now.get(item.source, set()))
    ]


def _free_by_source(items: Sequence[Item]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for item in items:
        if item.group == "open":
            found.setdefault(item.source, set()).add(item.id)
    return found


def continuation(model: LocalModel, context: str, text: str) -> tuple[list[int], list[int]]:
    """Context and continuation as ids of one tokenisation: their border is where the model would see it."""
    before = list(model.tokenizer(context, add_special_tokens=False)["input_ids"])
    whole = list(model.tokenizer(context + text, add_special_tokens=False)["input_ids"])
    return before, whole[len(before) :]


def _asked(question: OpenItem) -> str:
    return f"{question.instruction}\n\n{question.context}".strip()


def _reference(question: OpenItem) -> str:
    """The reference answer, cut at a word so that long ones do not take all the time."""
    text = question.response.strip()
    return text if len(text) <= LONGEST_ANSWER else text[:LONGEST_ANSWER].rsplit(" ", 1)[0]
