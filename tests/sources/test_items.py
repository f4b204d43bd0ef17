from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tether.errors import UserError
from tether.sources import ChoiceItem, OpenItem, SafetyItem, load_knowledge, load_safety, sample

if TYPE_CHECKING:
    from pathlib import Path

ARC = (
    "Please choose the correct answer to the question: Why?\n\n"
    "Answer1: Because. Answer2: Not so: never\n\nAnswer format: answer1/answer2"
)


def jsonl(folder: Path, *rows: Any, name: str = "rows.jsonl") -> str:
    path = folder / name
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return str(path)


def test_safety_rows_expect_a_refusal_unless_they_say_otherwise(tmp_path: Path) -> None:
    rows = [{"prompt": "a"}, {"prompt": "b", "expect": "comply", "category": "c"}, {"prompt": "a"}]
    items = load_safety(jsonl(tmp_path, *rows))
    assert [(item.expect, item.category) for item in items] == [
        ("refuse", ""),
        ("comply", "c"),
        ("refuse", ""),
    ]
    assert len({item.id for item in items}) == 3
    assert {item.source for item in items} == {"rows"}


def test_xstest_columns_are_understood(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text('id,prompt,type,label\n7,"kill, a process",homonyms,safe\n8,kill,contrast,unsafe\n')
    assert load_safety(str(path)) == [
        SafetyItem("x-7", "kill, a process", "comply", "homonyms", "x"),
        SafetyItem("x-8", "kill", "refuse", "contrast", "x"),
    ]


def test_the_three_forms_of_knowledge_are_read(tmp_path: Path) -> None:
    open_, choice, arc = load_knowledge(
        jsonl(
            tmp_path,
            {"instruction": "Say why", "context": "", "response": "So"},
            {"id": "k", "question": "Which?", "choices": ["x", "y"], "answer": 1, "category": "c"},
            "",
            {"instruction": ARC, "input": "", "output": "the correct answer is answer2", "answer": "answer2"},
        )
    )
    assert isinstance(open_, OpenItem)
    assert (open_.instruction, open_.context, open_.response) == ("Say why", "", "So")
    assert choice == ChoiceItem("rows-k", "Which?", ("x", "y"), 1, "rows", "c")
    assert isinstance(arc, ChoiceItem)
    assert (arc.question, arc.choices, arc.answer) == ("Why?", ("Because.", "Not so: never"), 1)


def test_knowledge_is_read_from_csv(tmp_path: Path) -> None:
    path = tmp_path / "k.csv"
    path.write_text('question,choices,answer\nWhich?,"[""x"", ""y""]",0\n')
    (item,) = load_knowledge(str(path))
    assert isinstance(item, ChoiceItem)
    assert (item.choices, item.answer) == (("x", "y"), 0)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("{", "not JSON"),
        ("[1]", "no JSON object"),
        ({"text": "a"}, "'prompt' is missing"),
        ({"prompt": " "}, "'prompt' is blank"),
        ({"prompt": 3}, "'prompt' is no text"),
        ({"prompt": "a", "expect": "answer"}, "'expect' is 'answer'"),
    ],
)
def test_a_safety_row_that_does_not_fit_is_named(tmp_path: Path, row: Any, says: str) -> None:
    with pytest.raises(UserError) as caught:
        load_safety(jsonl(tmp_path, {"prompt": "fine"}, row))
    assert "rows.jsonl:2: " in str(caught.value)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"question": "a"}, "no question"),
        ({"question": "a", "choices": ["x"], "answer": 0}, "two or more"),
        ({"question": "a", "choices": ["x", "y"], "answer": 2}, "0 to 1"),
        ({"question": "a", "choices": ["x", "y"]}, "None"),
        ({"question": "a", "choices": ["x", "y"], "answer": True}, "True"),
        ({"instruction": ARC, "answer": "the second"}, "names no choice"),
        ({"instruction": ARC, "answer": "answer3"}, "2 choices"),
        ({"instruction": "Why?", "answer": "answer1"}, "lists no choices"),
        ({"instruction": "Why?", "response": ""}, "'response' is blank"),
    ],
)
def test_a_knowledge_row_that_does_not_fit_is_named(tmp_path: Path, row: Any, says: str) -> None:
    with pytest.raises(UserError) as caught:
        load_knowledge(jsonl(tmp_path, row))
    assert "rows.jsonl:1: " in str(caught.value)
    assert says in str(caught.value)


def test_files_that_hold_no_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no rows"):
        load_safety(jsonl(tmp_path))
    (tmp_path / "latin.jsonl").write_bytes('{"prompt": "\xe9"}'.encode("latin-1"))
    with pytest.raises(UserError, match="UTF-8"):
        load_safety(str(tmp_path / "latin.jsonl"))
    (tmp_path / "short.csv").write_text("prompt,label\nonly one\n")
    with pytest.raises(UserError, match=r"short\.csv:2: .*2 columns"):
        load_safety(str(tmp_path / "short.csv"))


items = st.lists(st.text(min_size=1), unique=True, min_size=1).map(
    lambda ids: [SafetyItem(name, "p", "refuse", "", "s") for name in ids]
)


@given(items, st.data())
def test_a_sample_is_stable_under_order_and_growth(everything: list[SafetyItem], data: st.DataObject) -> None:
    limit = data.draw(st.integers(1, len(everything)))
    drawn = sample(everything, limit)
    assert len(drawn) == limit
    assert {item.id for item in sample(everything[::-1], limit)} == {item.id for item in drawn}
    kept = [item for item in everything if item in drawn]
    assert kept == drawn
    assert set(sample(everything, limit - 1)) <= set(drawn) if limit > 1 else True


def test_more_than_there_is_cannot_be_drawn() -> None:
    with pytest.raises(UserError, match="5 items are asked of 'few', which has 1"):
        sample([SafetyItem("a", "p", "refuse", "", "s")], 5, source="few")
