"""What of a change is told apart: gains, kinds, secondary measures, what turned."""

from __future__ import annotations

import pytest
from results.scored import item, items

from tether.results import (
    Item,
    Records,
    aggregate,
    breakdown,
    compare_methods,
    summarise_method,
    summarise_secondary,
    turned,
)


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
