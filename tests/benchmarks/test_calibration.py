"""The benchmark of the budget's calibration, on the tiny base."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tether.bases import Base
    from tether.chatdata.chats import Chat

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "calibration" / "run.py"


@pytest.fixture(scope="module")
def data(hotels: list[Chat], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few dialogues."""
    file = tmp_path_factory.mktemp("data") / "chats.jsonl"
    rows = [{"messages": list(chat.messages), "tools": list(chat.tools)} for chat in hotels[:12]]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def run(
    base: Base, data: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, *more: str
) -> list[dict[str, Any]]:
    asked = ["--base", base.name, "--data", str(data), "--steps", "4", "--learning-rate", "2e-2"]
    budgets = ["--epsilons", "0.02", "9"]
    places = ["--work", str(folder / "work"), "--out", str(folder / "results.json")]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *asked, *budgets, *places, *more])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    rows: list[dict[str, Any]] = json.loads((folder / "results.json").read_text())["rows"]
    return rows


@pytest.mark.usefixtures("anchors")
def test_every_budget_is_a_row_and_measured_once(
    base: Base,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tight, wide = run(base, data, tmp_path, monkeypatch)
    assert (tight["epsilon"], wide["epsilon"]) == (0.02, 9)
    assert tight["pull"] > 0
    assert wide["binds"] is None and wide["pull"] == 0.0
    for name, group in tight["groups"].items():
        assert group["bound"] is None or group["bound"] <= 0.02
        assert group["certified"] < group["unconstrained"] == wide["groups"][name]["unconstrained"]
    kept = tmp_path / "work" / "seed-0" / "rewound-0.02.json"
    kept.write_text(json.dumps({**json.loads(kept.read_text()), "loss": 123.0}))
    assert run(base, data, tmp_path, monkeypatch)[0]["loss"] == 123.0, "what is there is not measured again"


@pytest.mark.usefixtures("anchors")
def test_an_adapter_may_be_given_and_tether_trained_as_well(
    base: Base, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(base, data, tmp_path, monkeypatch, "--epsilons", "9")
    adapter = tmp_path / "work" / "seed-0" / "lora"
    other = tmp_path / "other"
    other.mkdir()
    rows = run(base, data, other, monkeypatch, "--epsilons", "9", "--adapter", str(adapter), "--train")
    assert [one["way"] for one in rows] == ["rewound", "trained"]
    assert not (other / "work" / "seed-0" / "lora").exists()


WHOLE, HELD = (1.0, 0.0), (1.0, 2.0)


@pytest.mark.parametrize(
    ("kept", "certified", "binds", "calibrated"),
    [
        (HELD, 0.030, "general", True),
        (HELD, 0.010, "general", False),  # less than half of the budget
        (HELD, 0.049, "general", False),  # its upper bound is above it
        (WHOLE, 0.010, None, True),
    ],
)
def test_a_budget_that_binds_must_be_kept_and_used(
    kept: tuple[float, float], certified: float, binds: str | None, calibrated: bool
) -> None:
    script = runpy.run_path(str(SCRIPT))
    drifts = {WHOLE: 0.03 if kept == WHOLE else 0.2, HELD: 0.03}
    curve = [
        {
            "alpha": alpha,
            "pull": pull,
            "fits": drift < 0.05,
            "drift": {"general": figures(drift), "safety": figures(drift / 9)},
        }
        for (alpha, pull), drift in drifts.items()
    ]
    groups = {"general": certified, "safety": certified / 9}
    certificate = {"groups": {name: {**figures(drift), "budget": 0.05} for name, drift in groups.items()}}
    row = script["row"]({"alpha": kept[0], "pull": kept[1], "loss": 1.0, "curve": curve}, certificate)
    assert (row["binds"], script["calibrated"](row)) == (binds, calibrated)
    shown = {"way": "rewound", "seed": 0, "epsilon": 0.05, **row}
    assert f"general{'*' if binds else ''} {certified:.4f}" in script["table"]([shown])


def figures(drift: float) -> dict[str, float]:
    counts = {"tokens": 400, "prompts": 20}
    return {"drift": drift, "upper95": 1.2 * drift, "prompt_p95": 2 * drift, "first5": drift, **counts}
