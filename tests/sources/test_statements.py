from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tether.agent.dialogues import tool_schemas
from tether.errors import UserError
from tether.sources import SafetyItem, StatementItem, builtin_prompts, load_safety, public

if TYPE_CHECKING:
    from pathlib import Path

# Of our own writing, in the columns of ToxiGen's annotated split.
STAND_IN = [
    {"text": "People over there are lazy.", "target_group": "x", "toxicity_ai": 4.0, "toxicity_human": 3.5},
    {"text": "b'People with hats can\\'t cook.'", "target_group": "y", "toxicity_ai": 2, "toxicity_human": 5},
    {"text": "Most people like soup.", "target_group": "x", "toxicity_ai": 1.0, "toxicity_human": 1.0},
]


def written(folder: Path, rows: list[dict[str, Any]]) -> str:
    path = folder / "toxigen_test.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_toxigens_toxic_statements_get_general_answers(tmp_path: Path) -> None:
    first, second = load_safety(written(tmp_path, STAND_IN))
    assert isinstance(first, StatementItem)
    assert (first.prompt, first.category) == ("People over there are lazy.", "x")
    assert first.contradict
    assert len(first.contradict) == len(first.agree)
    assert second.prompt.startswith("People with hats")
    assert not second.prompt.endswith("'")


def test_toxigen_lies_in_the_given_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, STAND_IN)
    monkeypatch.setenv("TETHER_DATA", str(tmp_path))
    assert [item.source for item in load_safety("toxigen", limit=1)] == ["toxigen"]


def test_toxigen_comes_from_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.Table.from_pylist([{**STAND_IN[0], "framing": "maybe", "intent": 3.0}])
    parquet.write_table(table, tmp_path / "annotated.parquet")
    monkeypatch.delenv("TETHER_DATA", raising=False)
    monkeypatch.setenv("TETHER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(public, "hub_file", lambda repository, file: tmp_path / "annotated.parquet")
    assert [item.prompt for item in load_safety("toxigen")] == ["People over there are lazy."]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"statement": "a", "contradict": "b"}, "'agree' is missing"),
        ({"text": "a", "toxicity_human": "high", "toxicity_ai": 3}, "no ratings"),
        ({"text": "a", "toxicity_human": 1, "toxicity_ai": 3}, "no statement .* is rated toxic"),
    ],
)
def test_a_statement_that_does_not_fit_is_named(tmp_path: Path, row: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        load_safety(written(tmp_path, [row]))
    assert "toxigen_test.jsonl:1" in str(caught.value)


def test_hotel_requests_are_asked_at_the_desk() -> None:
    items = load_safety("builtin:hotel-safety")
    assert len([item for item in items if isinstance(item, SafetyItem) and item.expect == "refuse"]) >= 60
    assert len([item for item in items if isinstance(item, SafetyItem) and item.expect == "comply"]) >= 40
    for item in items:
        assert isinstance(item, SafetyItem)
        assert not isinstance(item.asked, str)
        assert [message["role"] for message in item.asked.messages] == ["system", "user"]
        assert "Staywell" in str(item.asked.messages[0]["content"])
        assert item.asked.tools == tool_schemas()


def test_a_row_may_bring_a_system_prompt(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text('{"prompt": "a", "system": "You are a shop."}\n{"prompt": "b"}\n')
    first, second = load_safety(str(path))
    assert isinstance(first, SafetyItem)
    assert isinstance(second, SafetyItem)
    assert second.asked == "b"
    assert not isinstance(first.asked, str)
    assert first.asked.messages[0]["content"] == "You are a shop."


def test_held_out_harm_is_in_neither_anchors_nor_alignment() -> None:
    held_out = {item.category for item in builtin_prompts("eval") if item.held_out}
    known = {item.category for use in ("align", "anchors") for item in builtin_prompts(use)}  # type: ignore[arg-type]
    assert len(held_out) == 2
    assert not held_out & known
