"""A user's own prompts become groups that are held and certified like tether's own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tether.anchors import store
from tether.anchors.build import AnchorSettings
from tether.errors import UserError
from tether.methods.holding import BUDGET, budgets

if TYPE_CHECKING:
    from pathlib import Path

    from tether.bases import Base

FEW = {"train": 2, "select": 2, "certify": 2}


def few(answer_tokens: int) -> AnchorSettings:
    return AnchorSettings(general=FEW, safety=FEW, lookalikes=FEW, text=FEW, answer_tokens=answer_tokens)


def written(file: Path, prompts: list[str]) -> Path:
    file.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts), encoding="utf-8")
    return file


def test_a_file_of_prompts_becomes_a_group(base: Base, tmp_path: Path) -> None:
    prompts = [f"How is room {number}?" for number in range(300)]
    file = written(tmp_path / "rooms.jsonl", [*prompts, prompts[0].upper()])
    made = store.build(base, tmp_path / "anchors", few(32), [file])
    assert made.groups == ["general", "safety", "rooms", "text"]
    counts = made.counts()["rooms"]
    assert {split: cell["prompts"] for split, cell in counts.items()} == {
        "certify": 120,
        "select": 90,
        "train": 90,
    }
    asked = [anchor.prompt for anchor in made.anchors if anchor.group == "rooms"]
    assert len(asked) == len(set(asked)) == 300, "near-copies are asked once"
    assert budgets(None, made.groups)["rooms"] == BUDGET
    assert store.anchors_for(base, tmp_path / "anchors").sha256 == made.sha256


@pytest.mark.parametrize(
    ("name", "count", "said"),
    [
        ("rooms.jsonl", 249, "249 different prompts here, too few"),
        ("general.jsonl", 300, "called 'general' already"),
    ],
)
def test_prompts_that_certify_nothing_are_told_of_before_anything_is_made(
    base: Base, tmp_path: Path, name: str, count: int, said: str
) -> None:
    file = written(tmp_path / name, [f"How is room {number}?" for number in range(count)])
    with pytest.raises(UserError, match=said) as caught:
        store.build(base, tmp_path / "anchors", few(32), [file])
    assert caught.value.where == str(file)


def test_answers_that_are_too_short_to_certify_are_told_of(base: Base, tmp_path: Path) -> None:
    file = written(tmp_path / "rooms.jsonl", [f"How is room {number}?" for number in range(250)])
    with pytest.raises(UserError, match="tokens together, too few to certify"):
        store.build(base, tmp_path / "anchors", few(8), [file])
    assert not (tmp_path / "anchors").exists()
