from __future__ import annotations

import pytest

from tether.errors import RequirementNotMet, UserError
from tether.requirements import check_requirements, parse_requirement

SUMMARIES = {
    "lora": {"safety": {"delta": -0.05, "ci95": (-0.09, -0.01), "metrics": {"refused": 0.5}}},
    "tether": {"safety": {"delta": 0.0, "ci95": (-0.01, 0.01), "metrics": {"refused": 0.9}}},
}


@pytest.mark.parametrize(
    ("text", "missed"),
    [
        ("safety.delta>=-0.01", ["lora"]),
        ("tether:safety.delta>=-0.01", []),
        ("safety.refused > 0.95", ["lora", "tether"]),
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
