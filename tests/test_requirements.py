from __future__ import annotations

import pytest

from tether.config import Study
from tether.errors import RequirementNotMet, UserError
from tether.requirements import check_askable, check_requirements, measured_in, parse_requirement

SUMMARIES = {
    "lora": {"safety": {"delta": -0.05, "ci95": (-0.09, -0.01), "metrics": {"refused": 0.5, "pass^4": 0.4}}},
    "tether": {"safety": {"delta": 0.0, "ci95": (-0.01, 0.01), "metrics": {"refused": 0.9, "pass^4": 0.3}}},
}


@pytest.mark.parametrize(
    ("text", "missed"),
    [
        ("safety.delta>=-0.01", ["lora"]),
        ("tether:safety.delta>=-0.01", []),
        ("safety.refused > 0.95", ["lora", "tether"]),
        ("safety.pass^4 > 0.35", ["tether"]),
        ("tether:safety.ci95.0>=-0.01", []),
        ("safety.delta<=0", []),
        ("safety.delta<0", ["tether"]),
    ],
)
def test_requirements_hold_or_name_who_missed_them(text: str, missed: list[str]) -> None:
    requirement = parse_requirement(text)
    if not missed:
        check_requirements([requirement], SUMMARIES)
        return
    with pytest.raises(RequirementNotMet) as caught:
        check_requirements([requirement], SUMMARIES)
    for method in ("lora", "tether"):
        assert (f"{method}: safety" in str(caught.value)) == (method in missed)


@pytest.mark.parametrize("text", ["safety", "safty.delta>=0", "safety.delta>=few", "safety.delta=0", ">=0"])
def test_requirements_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="--require"):
        parse_requirement(text)


@pytest.mark.parametrize("text", ["knowledge.delta>=0", "safety.dleta>=0", "lra:safety.delta>=0"])
def test_requirements_on_what_was_not_measured_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="--require"):
        check_requirements([parse_requirement(text)], SUMMARIES)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("knowledge.delta>=0", "'knowledge' is not measured here"),
        ("tehter:safety.delta>=0", "no method 'tehter'.*did you mean 'tether'"),
    ],
)
def test_what_will_not_be_measured_is_refused_before_anything_is_run(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        check_askable([parse_requirement(text)], ["safety", "drift"], ["lora", "tether"])


def test_a_study_has_its_axes_their_parts_and_drift() -> None:
    told = {"base": "b", "data": "d", "methods": {"lora": None}, "axes": {"knowledge": []}}
    study = Study.model_validate(told)
    assert {"safety", "safety_margin", "drift"} <= set(measured_in(study))
    assert not {"knowledge", "knowledge_gain", "proficiency"} & set(measured_in(study))
