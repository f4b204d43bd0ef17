from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tether.axes.knowledge import LONGEST_ANSWER, asked_alike, continuation, knowledge, other_questions
from tether.axes.written import rouge_l, token_f1
from tether.sources import ChoiceItem, OpenItem, load_knowledge

if TYPE_CHECKING:
    from tether.inference import LocalModel


def choice(answer: int = 1) -> ChoiceItem:
    return ChoiceItem(
        id="c",
        source="test",
        category="",
        question="Which is a fruit?",
        choices=("A very long stone", "Fig"),
        answer=answer,
    )


def opened(name: str, response: str) -> OpenItem:
    return OpenItem(
        id=name, source="test", category="", instruction=f"What is {name}?", context="", response=response
    )


def scores(live: LocalModel, monkeypatch: pytest.MonkeyPatch, values: list[float]) -> None:
    monkeypatch.setattr(live, "log_likelihoods", lambda pairs, **_: values[: len(pairs)])


def test_the_likeliest_choice_by_its_length_is_taken(
    live: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores(live, monkeypatch, [-17.0, -6.0])  # -1 and -2 a character
    (item,) = knowledge(live, [choice(answer=1)])
    assert (item.score, item.output) == (0.0, "A very long stone")
    assert item.reason == "the answer is 'Fig'"
    (item,) = knowledge(live, [choice(answer=0)])
    assert item.score == item.metrics["accuracy"] == 1.0


def test_the_gain_is_what_an_answer_owes_to_its_own_question(
    live: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores(live, monkeypatch, [-2.0, -6.0, -4.0, -5.0])
    first, second = knowledge(live, [opened("a", "1234"), opened("b", "12345678")])
    bits = 1 / math.log(2)
    assert first.score == first.metrics["gain_bits_per_byte"] == pytest.approx(4 * bits / 4)
    assert first.metrics["bits_per_byte"] == pytest.approx(2 * bits / 4)
    assert second.score == pytest.approx(1 * bits / 8)


def test_a_style_that_helps_every_answer_alike_is_no_gain(
    live: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions = [opened("a", "1234"), opened("b", "1234")]
    scores(live, monkeypatch, [-2.0, -6.0, -4.0, -5.0])
    before = [item.score for item in knowledge(live, questions)]
    scores(live, monkeypatch, [-1.0, -5.0, -3.0, -4.0])
    assert [item.score for item in knowledge(live, questions)] == pytest.approx(before)


def test_other_questions_are_fixed_by_the_id_alone() -> None:
    chosen = other_questions("a", "abcdefgh")
    assert len(set(chosen)) == 3
    assert "a" not in chosen
    assert other_questions("a", "hgfedcba") == chosen


def test_the_border_is_where_the_model_sees_it(live: LocalModel) -> None:
    before, after = continuation(live, "Question: Is there a room?\nAnswer:", " Yes, a double room.")
    assert live.tokenizer.decode(before) == "Question: Is there a room?\nAnswer:"
    assert live.tokenizer.decode(after) == " Yes, a double room."


def test_a_long_reference_is_cut_at_a_word(live: LocalModel, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[int]] = []

    def record(pairs: list[tuple[list[int], list[int]]], **_: object) -> list[float]:
        seen.extend(answer for _, answer in pairs)
        return [-1.0] * len(pairs)

    monkeypatch.setattr(live, "log_likelihoods", record)
    knowledge(live, [opened("a", "word " * 200), opened("b", "short")])
    text = live.tokenizer.decode(seen[0])
    assert LONGEST_ANSWER - 5 <= len(text) <= LONGEST_ANSWER
    assert text.endswith("word")


def test_words_count_without_case_articles_and_punctuation() -> None:
    assert token_f1("The cat sat!", "a cat sat") == 1.0
    assert token_f1("cat", "a cat sat") == pytest.approx(2 / 3)
    assert token_f1("dog", "cat") == token_f1("", "cat") == 0.0


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("police kill the gunman", 3 / 4),  # Lin 2004, section 3.1: ROUGE-2 cannot tell these two apart
        ("the gunman kill police", 2 / 4),
        ("POLICE killed, the gunman!", 1.0),
        ("The police have killed the very last gunman", 2 * 4 / (8 + 4)),  # in order, with gaps
        ("gunman", 2 * 1 / (1 + 4)),
        ("robber", 0.0),
        ("", 0.0),
    ],
)
def test_rouge_l_counts_the_longest_run_in_order(written: str, expected: float) -> None:
    assert rouge_l(written, "police killed the gunman") == pytest.approx(expected)
    assert rouge_l("police killed the gunman", written) == pytest.approx(expected), "beta is 1"


def test_items_say_their_kind(live: LocalModel, monkeypatch: pytest.MonkeyPatch) -> None:
    scores(live, monkeypatch, [-1.0] * 8)
    plain, passage = opened("a", "1234"), replace(opened("b", "12"), context="It is 12.", category="qa")
    kinds = [(item.category, item.passage) for item in knowledge(live, [plain, passage])]
    assert kinds == [("", False), ("qa", True)]
    (item,) = knowledge(live, [replace(choice(), category="food")])
    assert (item.category, item.passage) == ("food", False)


def test_a_real_model_is_scored_the_same_twice(live: LocalModel) -> None:
    questions = load_knowledge("builtin:knowledge", limit=10)
    items = knowledge(live, questions)
    assert {item.id for item in items} == {question.id for question in questions}
    assert knowledge(live, questions) == items


def test_a_gain_is_compared_with_one_told_against_the_same_questions(
    live: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores(live, monkeypatch, [-1.0] * 100)
    question = replace(choice(), id="choice")
    five = knowledge(live, [*(opened(name, "1234") for name in "abcde"), question])
    eight = knowledge(live, [*(opened(name, "1234") for name in "abcdefgh"), question])
    assert asked_alike(five, five) == five
    alike = [name for name in "abcde" if other_questions(name, "abcde") == other_questions(name, "abcdefgh")]
    assert {item.id for item in asked_alike(five, eight)} == {*alike, "choice"}
