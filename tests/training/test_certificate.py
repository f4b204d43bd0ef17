from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch

from tether.training.certificate import CERTIFICATE_FILE, Certificate

if TYPE_CHECKING:
    from pathlib import Path

    from tether.bases import Base

DRIFTS = {"general": [torch.tensor([0.01, 0.03])] * 4, "safety": [torch.tensor([0.01, 0.01])] * 4}


def test_a_group_within_its_budget_or_without_one_is_not_above() -> None:
    assert Certificate.of(DRIFTS, "abc", {"general": 0.03}).above == []
    assert Certificate.of(DRIFTS, "abc", {"general": 0.03, "safety": 0.005}).above == ["safety"]


def test_the_file_says_what_was_promised(
    base: Base, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    budget = {"general": 0.03, "safety": 1e-6}
    Certificate.of(DRIFTS, "abc", budget, alpha=0.7, pull=2.0).write(tmp_path, base)
    told: dict[str, Any] = json.loads((tmp_path / CERTIFICATE_FILE).read_text())
    assert {"budget", "alpha", "base", "revision", "anchors_sha256", "groups"} <= told.keys()
    assert (told["alpha"], told["pull"], told["anchors_sha256"]) == (0.7, 2.0, "abc")
    assert (told["base"], told["revision"]) == (base.name, base.revision)
    assert told["budget"] == budget
    assert told["within_budget"] is False
    keys = {"drift", "upper95", "prompt_p95", "first5", "budget", "tokens", "prompts"}
    assert all(group.keys() == keys for group in told["groups"].values())
    assert told["groups"]["general"]["drift"] == pytest.approx(0.02)
    assert "ABOVE BUDGET" in capsys.readouterr().err
