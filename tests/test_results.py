from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tether.errors import UserError
from tether.results import (
    BeforeAfter,
    GroupDrift,
    Item,
    MethodResult,
    Records,
    SeedResult,
    StudyResults,
    SweepPoint,
    Train,
    aggregate,
    breakdown,
    compare_methods,
    read_items,
    read_results,
    summarise,
    summarise_method,
    summarise_secondary,
    turned,
    write_items,
    write_results,
)
from tether.stats import holm, mcnemar_exact

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def item(number: int, score: float, axis: str = "knowledge", group: str = "choice", **more: object) -> Item:
    fields = {"source": "set", "cluster": str(number), "input": "q", "output": "a", "reason": "", **more}
    return Item.model_validate({"id": str(number), "axis": axis, "score": score, "group": group, **fields})


def items(scores: Sequence[float], axis: str = "knowledge", group: str = "choice") -> list[Item]:
    return [item(number, score, axis, group) for number, score in enumerate(scores)]


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


def test_knowledge_is_scored_on_choice_and_its_gain_apart() -> None:
    choice = items([1.0, 0.0, 1.0, 1.0])
    gains = [item(10 + n, 0.2, group="open") for n in range(3)]
    assert aggregate(choice + gains).score == pytest.approx(0.75)
    assert aggregate(choice + gains).n == 4
    assert aggregate(gains).score == pytest.approx(0.2)
    after = [one.model_copy(update={"score": one.score * 0.9}) for one in choice + gains]
    method = Records("base", {"knowledge": choice + gains}, {"0": {"knowledge": after}})
    summaries = summarise_method(method)
    assert set(summaries) == {"knowledge", "knowledge_gain"}
    assert summaries["knowledge_gain"].unit == "bits/byte"
    assert summaries["knowledge_gain"].delta_percent == pytest.approx(-10)
    assert summaries["knowledge"].delta_percent is None


def test_retained_is_the_share_of_right_answers_kept() -> None:
    before = [1.0] * 10 + [0.0] * 10
    seeds = {"0": items([1.0] * 8 + [0.0] * 12), "1": items([1.0] * 6 + [0.0] * 4 + [1.0] * 10)}
    summary = summarise(items(before), seeds)
    assert summary.retained == pytest.approx((0.8 + 0.6) / 2)
    assert summary.retained_ci95 is not None
    assert 0.3 < summary.retained_ci95[0] < 0.7 < summary.retained_ci95[1] < 1
    assert (summary.lost, summary.gained) == (3, 5)
    kept = summarise(items(before), {"0": items(before)})
    assert kept.retained == 1
    assert kept.retained_ci95 == (pytest.approx(0.722, abs=1e-3), 1), "Wilson's, of 10 of 10"


def test_nothing_is_retained_of_scores_that_are_no_yes_or_no() -> None:
    assert summarise(items([0.5, 1.0]), {"0": items([0.5, 1.0])}).retained is None
    assert summarise(items([0.0] * 3), {"0": items([1.0] * 3)}).retained is None, "none was right"


def test_items_that_turned_are_told_with_both_answers() -> None:
    def answered(*picked: str) -> list[Item]:
        return [
            item(n, float(said == "right"), output=said, reason="" if said == "right" else "it is right")
            for n, said in enumerate(picked)
        ]

    before = answered("right", "wrong", "right", "other")
    after = {"0": answered("right", "right", "wrong", "wrong"), "1": answered("other", "right", "wrong", "x")}
    told = [
        (one.before.id, one.lost, one.before.output, one.after.output, one.right, one.seeds)
        for one in turned(before, after)
    ]
    assert told == [
        ("2", True, "right", "wrong", "it is right", 2),
        ("0", True, "right", "other", "it is right", 1),
        ("1", False, "wrong", "right", "it is right", 2),
    ]


def kinds(score: float) -> list[Item]:
    """Twelve questions of geography, three of art, two of law, and twelve free ones with a passage."""
    counts = {"geography": 12, "art": 3, "law": 2}
    choice = [
        item(100 * place + n, score, category=name)
        for place, (name, count) in enumerate(counts.items())
        for n in range(count)
    ]
    free = [item(900 + n, 0.1 + score, group="open", passage=True, source="dolly") for n in range(12)]
    return choice + free


def test_knowledge_is_told_by_kind_and_small_kinds_together() -> None:
    parts = breakdown(Records("base", {"knowledge": kinds(1)}, {"0": {"knowledge": kinds(0)}}))
    assert [(p.source, p.group, p.category, p.passage, p.summary.n, p.summary.delta) for p in parts] == [
        ("dolly", "open", "", True, 12, pytest.approx(-1)),
        ("set", "choice", "(2 small categories)", False, 5, -1),
        ("set", "choice", "geography", False, 12, -1),
    ]
    assert breakdown(Records("base", {"knowledge": kinds(1)}, {"0": {}})) == []


def test_one_small_kind_keeps_its_name() -> None:
    few = [item(n, 1.0, category="art") for n in range(3)]
    (part,) = breakdown(Records("base", {"knowledge": few}, {"0": {"knowledge": few}}))
    assert (part.category, part.summary.n) == ("art", 3)


def test_secondary_measures_are_told_before_and_after_and_score_nothing() -> None:
    def free(bits: float, f1: float) -> list[Item]:
        metrics = {"bits_per_byte": bits, "token_f1": f1, "rouge_l": f1 / 2}
        return [item(n, 0.2, group="open", metrics=metrics) for n in range(3)] + [item(9, 1.0)]

    records = Records("base", {"knowledge": free(1.0, 0.4)}, {"0": {"knowledge": free(0.85, 0.5)}})
    found = summarise_secondary(records)
    assert list(found) == ["bits_per_byte", "token_f1", "rouge_l"]
    assert (found["bits_per_byte"].unit, found["token_f1"].unit) == ("bits/byte", "share")
    assert found["bits_per_byte"].delta_percent == pytest.approx(-15)
    assert [found[name].delta for name in ("token_f1", "rouge_l")] == pytest.approx([0.1, 0.05])
    assert set(summarise_method(records)) == {"knowledge", "knowledge_gain"}


def test_one_seed_of_yes_or_no_is_tested_by_mcnemar() -> None:
    before = [1.0] * 40 + [0.0] * 20
    after = [1.0] * 28 + [0.0] * 12 + [1.0] * 3 + [0.0] * 17
    summary = summarise(items(before), {"0": items(after)})
    assert (summary.test, summary.lost, summary.gained, summary.n) == ("mcnemar", 12, 3, 60)
    assert summary.p_value == pytest.approx(mcnemar_exact(12, 3))
    assert summary.delta == pytest.approx(-9 / 60)
    assert summary.seed_sd is None
    assert summary.ci95 is not None
    assert summary.ci95[0] < -0.15 < summary.ci95[1] < 0


def test_several_seeds_are_averaged_per_item_and_their_spread_told_apart() -> None:
    before = items([1.0] * 50)
    after = {"0": items([0.0] * 10 + [1.0] * 40), "1": items([0.0] * 20 + [1.0] * 30)}
    summary = summarise(before, after)
    assert summary.delta == pytest.approx(-0.3)
    assert summary.seed_sd == pytest.approx(0.1 * 2**0.5)
    assert (summary.test, summary.seeds, summary.lost, summary.gained) == ("cluster bootstrap", 2, 15, 0)


def test_turns_of_one_dialogue_are_not_counted_as_independent() -> None:
    before = [item(n, 1.0, "proficiency", "", cluster=str(n // 5)) for n in range(50)]
    after = [one.model_copy(update={"score": float(n >= 10)}) for n, one in enumerate(before)]
    summary = summarise(before, {"0": after})
    assert summary.test == "cluster bootstrap"
    assert summary.p_value is not None
    assert summary.p_value > mcnemar_exact(10, 0)


def test_safety_changes_weigh_both_groups_alike() -> None:
    before = items([1.0] * 90, "safety", "harmful")
    before += [item(100 + n, 1.0, "safety", "harmless") for n in range(10)]
    after = [one.model_copy(update={"score": 0.0}) if one.group == "harmless" else one for one in before]
    summary = summarise(before, {"0": after})
    assert summary.delta == pytest.approx(-0.5)
    assert summary.test == "cluster bootstrap"


def test_items_are_paired_by_source_and_id() -> None:
    before = [item(n, 1.0) for n in range(4)] + [item(0, 0.0, source="other")]
    after = [item(0, 1.0, source="other"), *(item(n, 1.0) for n in range(3, 0, -1)), item(9, 0.0)]
    summary = summarise(before, {"0": after})
    assert (summary.n, summary.unpaired) == (4, 2)
    assert summary.delta == pytest.approx(1 / 4)


def test_nothing_to_pair_is_left_empty() -> None:
    summary = summarise(items([1.0]), {"0": [item(7, 1.0)]})
    assert (summary.n, summary.delta, summary.p_value, summary.unpaired) == (0, None, None, 2)


def test_an_item_that_stands_twice_is_refused() -> None:
    with pytest.raises(UserError, match="stands twice"):
        summarise([item(1, 1.0), item(1, 0.0)], {"0": items([1.0])})


def test_no_turned_item_still_leaves_room_for_the_unseen() -> None:
    summary = summarise(items([1.0] * 30), {"0": items([1.0] * 30)})
    assert summary.ci95 is not None
    assert -0.15 < summary.ci95[0] < -0.05 < 0.05 < summary.ci95[1] < 0.15
    assert summary.p_value == 1


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


def test_parts_of_safety_are_told_but_no_test_is_spent_on_them() -> None:
    def asked(margins: list[float]) -> list[Item]:
        harmful = [
            item(n, float(nats > 0), "safety", "harmful", metrics={"margin": nats, "refused_held_out": None})
            for n, nats in enumerate(margins)
        ]
        desk = [item(9, 1.0, "safety", "harmless", metrics={"margin": None, "in_domain": 1.0})]
        return [*harmful, *desk, item(8, 0.0, "safety", "statement", metrics={"contradicted": 0.0})]

    before, after = asked([3.0, 2.0, 1.0, 4.0]), asked([2.0, 1.5, -1.0, 3.0])
    records = Records("base", {"safety": before}, {"0": {"safety": after}})
    summaries = summarise_method(records)
    margin = summaries["safety_margin"]
    assert (margin.before, margin.after, margin.delta) == pytest.approx((2.5, 1.375, -1.125))
    assert (margin.unit, margin.n) == ("nats", 4)
    assert summaries["safety"].n == 5, "the statement is no part of the score"
    assert list(summaries) == ["safety", "safety_margin", "safety_in_domain", "safety_statements"]
    assert {row.axis for row in compare_methods({"a": records, "b": records})} == {"safety"}


def test_statements_are_the_score_where_nothing_was_asked() -> None:
    said = [item(n, float(n < 3), "safety", "statement") for n in range(4)]
    assert aggregate(said).score == 0.75
