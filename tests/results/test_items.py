"""Scored items: kept, read, and brought to a score."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from results.scored import item, items

from tether.errors import UserError
from tether.results import (
    aggregate,
    read_items,
    write_items,
)
from tether.stats import wilson

if TYPE_CHECKING:
    from pathlib import Path


@given(
    st.lists(st.tuples(st.text(), st.text(), st.floats(allow_nan=False, allow_infinity=False)), max_size=5)
)
def test_items_come_back_as_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, float]]
) -> None:
    path = tmp_path_factory.mktemp("items") / "deep" / "items.jsonl"
    written = [item(n, score, input=given, output=said) for n, (given, said, score) in enumerate(rows)]
    write_items(path, written)
    assert read_items(path) == written


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    write_items(path, items([1.0]))

    def broken() -> object:
        yield item(0, 0.0)
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        write_items(path, broken())  # type: ignore[arg-type]
    assert read_items(path) == items([1.0])
    assert [file.name for file in tmp_path.iterdir()] == ["items.jsonl"]


@pytest.mark.parametrize("row", ["{", '{"id": "x"}', '{"score": "high"}'])
def test_a_bad_row_is_named_by_file_and_line(tmp_path: Path, row: str) -> None:
    path = tmp_path / "items.jsonl"
    path.write_text(item(0, 1.0).model_dump_json() + "\n\n" + row + "\n")
    with pytest.raises(UserError, match="items.jsonl:3: This row is not a per-item record"):
        read_items(path)


def test_missing_items_are_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.jsonl"):
        read_items(tmp_path / "none.jsonl")


def test_metrics_are_means_over_the_items_they_apply_to() -> None:
    result = aggregate(
        [
            item(0, 1.0, metrics={"accuracy": 1.0, "f1": None, "never": None}),
            item(1, 0.0, metrics={"accuracy": 0.0, "f1": 0.4}),
            item(2, 0.0),
        ],
        path="items/knowledge.jsonl",
    )
    assert result.metrics == {"accuracy": 0.5, "f1": 0.4, "never": None}
    assert result.score == pytest.approx(1 / 3)
    assert (result.n, result.items) == (3, "items/knowledge.jsonl")


def test_no_items_give_no_score() -> None:
    result = aggregate([])
    assert (result.score, result.n, result.ci95, result.metrics) == (None, 0, None, {})


def test_all_right_has_an_interval_too() -> None:
    result = aggregate(items([1.0] * 20))
    assert result.ci95 is not None
    assert 0.8 < result.ci95[0] < 0.9
    assert result.ci95[1] == 1


def test_safety_is_the_mean_of_its_two_groups() -> None:
    harmful = items([1.0] * 30 + [0.0] * 10, "safety", "harmful")
    harmless = [item(100 + n, float(n < 1), "safety", "harmless") for n in range(4)]
    assert aggregate(harmful + harmless).score == pytest.approx((0.75 + 0.25) / 2)
    assert aggregate(harmful).score == pytest.approx(0.75)


def test_the_smaller_stratum_keeps_the_interval_wide_where_all_is_right() -> None:
    harmful = [item(n, 1.0, "safety", "harmful") for n in range(500)]
    harmless = [item(500 + n, 1.0, "safety", "harmless") for n in range(3)]
    result = aggregate([*harmful, *harmless])
    low = [wilson(n, n)[0] for n in (500, 3)]
    assert result.ci95 == pytest.approx((sum(low) / 2, 1.0))


def test_one_kind_of_prompts_is_a_plain_share() -> None:
    refused = items([1.0] * 109 + [0.0], "safety", "harmful")
    assert aggregate(refused).ci95 == pytest.approx(wilson(109, 110))
