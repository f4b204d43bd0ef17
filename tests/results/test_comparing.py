"""Methods against each other, and a study's results as they are kept."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from results.scored import items

from tether.errors import UserError
from tether.results import (
    BeforeAfter,
    GroupDrift,
    MethodResult,
    Records,
    SeedResult,
    StudyResults,
    SweepPoint,
    Train,
    aggregate,
    compare_methods,
    read_results,
    summarise_method,
    write_results,
)
from tether.stats import holm, wilson

if TYPE_CHECKING:
    from pathlib import Path


def test_a_method_is_compared_by_its_change_from_its_own_base() -> None:
    weak, strong = items([0.0] * 20 + [1.0] * 20), items([1.0] * 40)
    records = {
        "tether": Records("weak", {"knowledge": weak}, {"0": {"knowledge": weak}}),
        "hosted": Records("strong", {"knowledge": strong}, {"0": {"knowledge": strong}}),
        "lora": Records("weak", {"knowledge": weak}, {"0": {"knowledge": items([0.0] * 30 + [1.0] * 10)}}),
    }
    rows = {row.b: row for row in compare_methods(records, reference="tether")}
    assert set(rows) == {"hosted", "lora"}
    assert rows["hosted"].delta == 0
    assert not rows["hosted"].same_base
    assert rows["lora"].delta == pytest.approx(0.25)
    assert rows["lora"].same_base
    assert rows["lora"].p_value is not None
    assert [rows["hosted"].p_holm, rows["lora"].p_holm] == holm([1.0, rows["lora"].p_value])


def test_every_two_methods_are_compared_without_a_reference() -> None:
    methods = {
        name: Records(
            "b",
            {"safety": items([1.0] * 4, "safety", "harmful")},
            {"0": {axis: items([1.0] * 4, axis, "harmful")}},
        )
        for name, axis in (("a", "safety"), ("b", "safety"), ("c", "proficiency"))
    }
    assert [(row.a, row.b, row.axis) for row in compare_methods(methods)] == [("a", "b", "safety")]


def test_drift_starts_at_zero_and_has_no_p_value() -> None:
    drifted = items([0.01, 0.03], "drift", "general")
    summary = summarise_method(Records("base", {}, {"0": {"drift": drifted}}))["drift"]
    assert (summary.before, summary.p_value, summary.unit) == (0, None, "nats/token")
    assert summary.after == pytest.approx(0.02)


def test_results_come_back_as_written(tmp_path: Path) -> None:
    before, after = items([1.0, 0.0, 1.0]), items([1.0, 0.0, 0.0])
    seed = SeedResult(
        axes={"knowledge": BeforeAfter(before=aggregate(before), after=aggregate(after))},
        drift={"general": GroupDrift(drift=0.01, upper95=0.02, budget=0.02, tokens=5, prompts=2)},
        train=Train(seconds=2.5, tokens_per_second=10.0, trainable_parameters=7),
    )
    records = Records("b", {"knowledge": before}, {"0": {"knowledge": after}})
    results = StudyResults(
        study={"base": "b"},
        methods={"lora": MethodResult(base="b", seeds={"0": seed}, summary=summarise_method(records))},
        sweeps={"lora": [SweepPoint(learning_rate=1e-4, select_loss=0.5, chosen=True)]},
    )
    path = tmp_path / "results.json"
    write_results(path, results)
    assert read_results(path) == results
    plain = json.loads(path.read_text())
    assert plain["schema"] == 1
    summary = plain["methods"]["lora"]["summary"]["knowledge"]
    assert {"before", "after", "delta", "ci95", "p_value", "test", "n"} <= set(summary)
    assert set(plain["methods"]["lora"]["seeds"]["0"]) == {"axes", "drift", "train"}


@pytest.mark.parametrize("text", ["{}x", '{"schema": 2}', '{"schema": 1, "method": {}}'])
def test_what_is_not_a_study_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(UserError, match="Not a study's results"):
        read_results(tmp_path / "results.json")


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no results\.json"):
        read_results(tmp_path / "results.json")


def test_two_methods_that_turned_alike_are_not_surely_the_same() -> None:
    before, after = items([1.0] * 20), items([1.0] * 15 + [0.0] * 5)
    records = {name: Records("b", {"knowledge": before}, {"0": {"knowledge": after}}) for name in "ab"}
    (row,) = compare_methods(records)
    unseen = wilson(0, 20)[1]
    assert (row.delta, row.ci95, row.p_value) == (0.0, pytest.approx((-unseen, unseen)), 1.0)


def test_an_association_gain_that_is_all_of_knowledge_is_tested_once() -> None:
    before, after = items([0.5] * 9 + [0.4], group="open"), items([0.6, 0.1] * 5, group="open")
    records = {
        "a": Records("b", {"knowledge": before}, {"0": {"knowledge": after}}),
        "c": Records("b", {"knowledge": before}, {"0": {"knowledge": before}}),
    }
    assert [row.axis for row in compare_methods(records)] == ["knowledge"]
