"""A study's models side by side: the same folder, sooner; and nothing lost where a process dies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tether import study as story
from tether.config import Study
from tether.errors import UserError
from tether.parallel import Job, jobs_of, side_by_side

if TYPE_CHECKING:
    from pathlib import Path

    from tether.bases import Base

pytestmark = pytest.mark.usefixtures("anchors")


def asked(base: str, **changes: Any) -> Study:
    """Two methods of one sweep and one without."""
    said: dict[str, Any] = {
        "base": base,
        "data": "builtin:hotels",
        "methods": {
            "lora": {"learning_rate": [1e-3, 1e-2], "rank": 4},
            "everything": {"method": "full"},
            "tether": {"rank": 4, "learning_rate_of": "lora"},
        },
        "seeds": [0],
        "training": {"max_steps": 1, "batch_tokens": 1024, "dialogues": 12},
        "axes": {"proficiency": "builtin:hotels", "safety": "builtin:safety", "knowledge": []},
        "limits": {"builtin:hotels": 1, "builtin:safety": 4},
        "sweep_steps": 1,
    }
    return Study.model_validate({**said, **changes})


def test_a_model_waits_for_the_sweep_that_gives_its_rate() -> None:
    study = asked("smollm2-135m")
    jobs = jobs_of(study, [study.plan(name) for name in study.methods], [0, 1])
    sweep = frozenset({Job("lora", rate=1e-3), Job("lora", rate=1e-2)})
    assert {job.name for job in jobs} == {
        "lora at 0.001",
        "lora at 0.01",
        "smollm2-135m",
        *(f"{name}, seed {seed}" for name in study.methods for seed in (0, 1)),
    }
    needs = {job.of: job.needs for job in jobs if job.seed == 0}
    assert needs == {"lora": sweep, "everything": frozenset(), "tether": sweep}


def test_what_is_made_side_by_side_is_passed_over_by_the_study(base: Base, tmp_path: Path) -> None:
    side_by_side(asked(base.name), tmp_path / "run", 3)
    records = sorted((tmp_path / "run" / "methods").rglob("tuned.json"))
    made = {path: path.stat().st_mtime_ns for path in records}
    assert len(made) == 5, "two rates and three models"
    results = story.compare(asked(base.name), tmp_path / "run")
    assert {path: path.stat().st_mtime_ns for path in records} == made
    assert results.methods.keys() == {"lora", "everything", "tether"}
    logs = {path.stem for path in (tmp_path / "run" / "logs").iterdir()}
    assert {"lora-at-0.001", "lora-seed-0", "everything-seed-0", "tether-seed-0"} <= logs


def test_a_job_that_fails_is_named_with_its_log_and_the_others_go_on(
    base: Base, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    side_by_side(asked(base.name), run, 3, methods=["lora"])
    (run / "methods" / "everything").write_text("a file where a folder is wanted")
    side_by_side(asked(base.name), run, 3)
    said = " ".join(capfd.readouterr().err.split())
    assert "everything, seed 0 failed" in said
    assert "everything-seed-0.log" in said.replace(" ", "")
    assert "methods/everything" in (run / "logs" / "everything-seed-0.log").read_text()
    assert (run / "methods" / "tether" / "seed-0" / "drift.json").is_file()
    (run / "methods" / "everything").unlink()
    assert story.compare(asked(base.name), run).methods.keys() == {"lora", "everything", "tether"}


def test_a_sequence_is_run_in_turn(base: Base, tmp_path: Path) -> None:
    study = asked(base.name, then=["builtin:flights"])
    with pytest.raises(UserError, match="one after the other") as caught:
        side_by_side(study, tmp_path / "run", 2)
    assert caught.value.where == "--jobs"
