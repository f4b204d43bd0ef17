from __future__ import annotations

import pytest

from tether.report import headline
from tether.report.headline import above_budget, warnings
from tether.report.words import change, interval, large, number, p_value
from tether.results import Comparison, GroupDrift, MethodResult, SeedResult, StudyResults, Summary


def summary(delta: float, half: float = 0.02, **more: object) -> Summary:
    fields = {
        "before": 0.5,
        "after": 0.5 + delta,
        "delta": delta,
        "ci95": (delta - half, delta + half),
        "n": 100,
    }
    return Summary.model_validate({**fields, **more})


def study(lora: float, tether: float, p_holm: float, **names: str) -> StudyResults:
    methods = {
        names.get("plain", "lora"): MethodResult(base="b", summary={"safety": summary(lora)}),
        "tether": MethodResult(base="b", summary={"safety": summary(tether)}),
    }
    row = Comparison(
        a="tether", b=names.get("plain", "lora"), axis="safety", delta=tether - lora, p_holm=p_holm, n=100
    )
    return StudyResults(methods=methods, comparisons=[row])


def test_the_headline_tells_what_was_lost_and_kept() -> None:
    text = headline(study(-0.2, -0.01, 0.001))
    assert "Plain LoRA: safety −20.0 points [−22.0 to −18.0]" in text
    assert "tether: safety −1.0 points [−3.0 to +1.0], within noise." in text
    assert "Against plain LoRA, tether did better on safety (+19.0 points, p = 0.001)." in text


def test_the_headline_admits_a_loss() -> None:
    assert "tether did WORSE on safety (−19.0 points" in headline(study(-0.01, -0.2, 0.001))


def test_the_headline_does_not_sell_noise() -> None:
    text = headline(study(-0.03, -0.01, 0.4))
    assert "The difference is within noise on safety (+2.0 points, p = 0.400)." in text
    assert "better" not in text


def test_the_headline_turns_a_comparison_the_other_way_round() -> None:
    results = study(-0.2, -0.01, 0.001)
    row = results.comparisons[0]
    turned = Comparison(a="lora", b="tether", axis="safety", delta=-(row.delta or 0), p_holm=0.001, n=100)
    flipped = results.model_copy(update={"comparisons": [turned]})
    assert headline(flipped) == headline(results)


def test_other_names_serve_too() -> None:
    assert "Against dora, tether did better" in headline(study(-0.2, -0.01, 0.001, plain="dora"))


def test_an_association_gain_is_told_in_percent_of_the_base() -> None:
    gain = summary(-0.01, 0.005, unit="bits/byte", delta_percent=-2.0)
    results = StudyResults(methods={"lora": MethodResult(base="b", summary={"knowledge_gain": gain})})
    assert "association gain −2.0% [−3.0 to −1.0]" in headline(results)


@pytest.mark.parametrize(
    ("drift", "upper", "budget", "above"),
    [(0.01, 0.03, 0.02, True), (0.01, 0.02, 0.02, False), (0.03, None, 0.02, True), (9.0, 9.0, None, False)],
)
def test_a_budget_is_held_against_the_upper_bound(
    drift: float, upper: float | None, budget: float | None, above: bool
) -> None:
    group = GroupDrift(drift=drift, upper95=upper, budget=budget)
    assert above_budget(group) is above
    results = StudyResults(methods={"m": MethodResult(base="b", seeds={"0": SeedResult(drift={"g": group})})})
    assert any("ABOVE" in warning for warning in warnings(results)) is above


def test_left_out_items_and_other_bases_are_told() -> None:
    results = StudyResults(
        methods={
            "a": MethodResult(base="x", summary={"safety": summary(0.0, unpaired=3)}),
            "b": MethodResult(base="y"),
        }
    )
    text = " ".join(warnings(results))
    assert "a: 3 items of safety lack an answer" in text
    assert "different bases (x, y)" in text


@pytest.mark.parametrize(
    ("value", "digits", "signed", "shown"),
    [(-0.0001, 2, True, "0.00"), (1.25, 1, True, "+1.2"), (-3.0, 1, False, "−3.0"), (None, 1, True, "–")],
)
def test_numbers(value: float | None, digits: int, signed: bool, shown: str) -> None:
    assert number(value, digits, signed=signed) == shown


def test_units_and_small_words() -> None:
    assert change(-0.0123, "share") == "−1.2"
    assert change(0.0123, "bits/byte") == "+0.0123"
    assert interval((-0.01, 0.02), "share") == "−1.0 to +2.0"
    assert interval(None, "share") == "–"
    assert [p_value(p) for p in (0.0001, 0.0312, None)] == ["<0.001", "0.031", "–"]
    assert [large(n) for n in (4_884_480, 512, None)] == ["4.88 M", "512", "–"]


def test_what_has_no_percentage_is_told_in_its_units_digits() -> None:
    text = summary(0.03, 0.004, unit="bits/byte")
    results = StudyResults(methods={"lora": MethodResult(base="b", summary={"knowledge": text})})
    assert "knowledge +0.0300 bits/byte [+0.0260 to +0.0340]" in headline(results)
