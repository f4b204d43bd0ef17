from __future__ import annotations

import random
import time

import pytest

from tether.chatdata.chats import Chat
from tether.chatdata.leaks import Leak, find_leaks, normalise, user_words

QUESTION = "How do I book a quiet room with a view of the sea for two nights in June?"


def kinds(measured: str, seen: str) -> list[str]:
    return [leak.kind for leak in find_leaks({"test": [("1", measured)]}, {"train": [("2", seen)]})]


def test_case_punctuation_and_spaces_do_not_hide_a_text() -> None:
    assert normalise("  Don't  PANIC!\n") == "don t panic"
    leaks = find_leaks({"test": [("1", "Stay calm.")]}, {"train": [("2", "stay  CALM")]})
    assert leaks == [Leak("exact", "test", "train", "1", "2", "Stay calm.")]


@pytest.mark.parametrize(
    ("seen", "found"),
    [
        (QUESTION.replace("June", "July"), ["near"]),
        (f"Hello there. {QUESTION} Thank you very much for any help that you can give me.", ["near"]),
        (QUESTION.replace("quiet", "large").replace("sea", "lake"), []),
        ("How do I cook a soup with a bit of the best ginger for two people in winter?", []),
        ("", []),
    ],
    ids=["one word changed", "within a longer text", "two words changed", "another question", "nothing"],
)
def test_nearly_the_same_is_found(seen: str, found: list[str]) -> None:
    assert kinds(QUESTION, seen) == found
    assert kinds(seen, QUESTION) == found


def test_a_few_common_words_are_no_leak() -> None:
    assert kinds("What is the best way to bake bread at home without an oven?", "What is the best way?") == []


def test_the_closest_of_several_is_named() -> None:
    seen = [
        ("far", f"{QUESTION} {QUESTION.replace('June', 'May')}"),
        ("close", QUESTION.replace("June", "July")),
    ]
    unlike = ("unlike", "How do I book a quiet room, and why is the view of the sea for two nights dear?")
    (leak,) = find_leaks({"test": [("1", QUESTION)]}, {"train": [unlike, *seen]})
    assert leak.id_b in ("far", "close")


def test_each_pair_of_sets_is_told_apart_and_exact_comes_first() -> None:
    measured = {"a": [("1", QUESTION.replace("June", "July"))], "b": [("2", QUESTION)]}
    leaks = find_leaks(measured, {"x": [("3", QUESTION)], "y": [("4", "Nothing of the kind at all.")]})
    assert [(leak.kind, leak.a, leak.b) for leak in leaks] == [("exact", "b", "x"), ("near", "a", "x")]


def test_a_dialogue_is_known_by_what_its_user_says() -> None:
    messages = (
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Bye"},
    )
    assert user_words([Chat("talk", messages, (), "file:1")]) == [("talk", "Hi Bye")]


def test_thousands_of_texts_take_seconds() -> None:
    rng = random.Random(0)
    words = [f"word{i}" for i in range(2000)]
    texts = [(str(i), " ".join(rng.choices(words, k=40))) for i in range(5000)]
    start = time.perf_counter()
    leaks = find_leaks({"test": texts[:2500]}, {"train": texts[2400:]})
    assert time.perf_counter() - start < 20
    assert len(leaks) == 100
