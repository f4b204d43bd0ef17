"""A whole study on the tiny base: what it leaves, and that it goes on where it stopped."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import torch
from small_study import asked

from tether import study as story
from tether.axes.judges.fitting import train
from tether.axes.judges.labelled import Labelled
from tether.errors import UserError
from tether.results import StudyResults, read_items

if TYPE_CHECKING:
    from pathlib import Path

    from tether.anchors.anchors import AnchorSet
    from tether.bases import Base

pytestmark = pytest.mark.usefixtures("anchors")

AXES = {"proficiency", "safety", "knowledge"}
LABELLED = [
    Labelled(f"prompt {number}", answer, model, answer == "No.")
    for number in range(8)
    for model in ("a", "b")
    for answer in ("No.", "Yes, of course.")
]


@pytest.fixture(scope="module")
def run(base: Base, anchors: AnchorSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("study") / "run"
    story.compare(asked(base), out)
    return out


@pytest.fixture(scope="module")
def results(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "results.json").read_text(encoding="utf-8"))
    return found


def test_results_have_the_form_that_was_promised(results: dict[str, Any], base: Base) -> None:
    assert results["schema"] == 1
    assert list(results["methods"]) == ["lora", "everything", "tether"]
    for method in results["methods"].values():
        assert method["base"] == base.name
        assert list(method["seeds"]) == ["0"]
        seed = method["seeds"]["0"]
        assert seed["axes"].keys() == AXES
        assert all(part["n"] > 0 for axis in seed["axes"].values() for part in axis.values())
        assert seed["drift"].keys() == {"general", "safety", "text"}
        assert seed["train"].keys() == {
            "seconds",
            "tokens_per_second",
            "peak_memory_bytes",
            "trainable_parameters",
        }
        assert method["summary"].keys() >= AXES
        for cell in method["summary"].values():
            assert {"before", "after", "delta", "ci95", "p_value", "test", "n"} <= cell.keys()
    pairs = {(comparison["a"], comparison["b"]) for comparison in results["comparisons"]}
    assert pairs == {("tether", "lora"), ("tether", "everything")}
    assert {"a", "b", "axis", "metric", "delta", "ci95", "p_holm", "n"} <= results["comparisons"][0].keys()
    assert StudyResults.model_validate(results)


def test_the_axes_measured_what_was_asked(results: dict[str, Any], run: Path) -> None:
    axes = results["methods"]["lora"]["seeds"]["0"]["axes"]
    for axis in ("safety", "knowledge"):
        for part in axes[axis].values():
            items = read_items(run / part["items"])
            assert {(item.axis, item.source) for item in items} == {(axis, f"builtin:{axis}")}
            assert len(items) == 6 >= part["n"]
    metrics = {axis: cell["before"]["metrics"].keys() for axis, cell in axes.items()}
    assert metrics["safety"] >= {"refused", "complied", "over_refused", "degenerate"}
    assert metrics["proficiency"] >= {"step_accuracy", "call_accuracy", "slot_f1", "loss"}
    assert metrics["knowledge"] >= {"gain_bits_per_byte", "bits_per_byte", "accuracy", "token_f1", "rouge_l"}
    lora = results["methods"]["lora"]
    assert lora["secondary"].keys() == {"bits_per_byte", "token_f1", "rouge_l"}
    assert sum(part["summary"]["n"] for part in lora["knowledge"]) == 6
    assert lora["summary"]["knowledge"].keys() >= {"retained", "retained_ci95"}


def test_the_rate_with_the_least_loss_is_taken(results: dict[str, Any], run: Path) -> None:
    points = results["sweeps"]["lora"]
    assert [point["learning_rate"] for point in points] == [1e-3, 1e-2]
    (chosen,) = (point for point in points if point["chosen"])
    assert chosen["select_loss"] == min(point["select_loss"] for point in points)
    tuned = json.loads((run / "methods" / "lora" / "seed-0" / "tuned.json").read_text())
    assert tuned["learning_rate"] == chosen["learning_rate"]
    assert not list((run / "methods" / "lora" / "sweep").glob("*/*.safetensors"))

    variant = run / "methods" / "tether"
    assert (
        json.loads((variant / "seed-0" / "tuned.json").read_text())["learning_rate"]
        == chosen["learning_rate"]
    )
    assert not (variant / "sweep").exists(), "it takes lora's"


def test_every_model_carries_a_certificate_and_only_ours_a_budget(run: Path, anchors: AnchorSet) -> None:
    for method, budget in {"lora": {}, "tether": {"general": 0.02, "safety": 0.005, "text": 0.05}}.items():
        certificate = json.loads((run / "methods" / method / "seed-0" / "drift.json").read_text())
        assert certificate["budget"] == budget
        assert certificate["anchors_sha256"] == anchors.sha256
        assert 0 <= certificate["alpha"] <= 1


def test_a_model_certified_on_other_anchors_is_not_gone_on_with(
    run: Path, base: Base, tmp_path: Path
) -> None:
    old = shutil.copytree(run, tmp_path / "old")
    path = old / "methods" / "lora" / "seed-0" / "drift.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "anchors_sha256": "0"}))
    with pytest.raises(UserError, match="certified on other anchors") as caught:
        story.compare(asked(base), old)
    assert caught.value.where == str(path)


def test_the_report_tells_where_the_models_were_trained(results: dict[str, Any]) -> None:
    (machine,) = results["provenance"]["trained_on"]
    assert machine.endswith(f"torch {torch.__version__}")


def test_the_certificate_and_the_drift_axis_agree(results: dict[str, Any], run: Path) -> None:
    items = read_items(run / "methods" / "lora" / "seed-0" / "items" / "drift.jsonl")
    general = [item.score for item in items if item.group == "general"]
    told = results["methods"]["lora"]["seeds"]["0"]["drift"]["general"]
    assert len(general) == told["prompts"] == 5
    assert min(general) <= told["drift"] <= max(general)


def test_a_report_lies_beside_the_results(run: Path) -> None:
    page = (run / "report.html").read_text(encoding="utf-8")
    assert all(method in page for method in ("lora", "everything", "tether"))
    assert (run / "report.md").is_file()
    assert list((run / "figures").iterdir())


def test_the_record_says_what_was_used(
    results: dict[str, Any], run: Path, base: Base, anchors: AnchorSet
) -> None:
    provenance = results["provenance"]
    assert provenance["bases"][base.name]["revision"] == base.revision
    assert provenance["anchors"] == {base.name: anchors.sha256}
    assert provenance["measured"].keys() == {"builtin:hotels", "builtin:safety", "builtin:knowledge"}
    assert provenance["judge"] == "rules"
    assert results["environment"]["packages"]["torch"]
    assert results["study"]["training"]["max_steps"] == 2
    assert provenance["leaks"]["exact"] == "refuse"
    tuned = json.loads((run / "methods" / "lora" / "seed-0" / "tuned.json").read_text())
    assert tuned["data"] == {"source": "builtin:hotels", "dialogues": 12, "poison_ratio": 0.0}


def made(run: Path) -> dict[Path, float]:
    """What was trained and measured, with the time at which it was written."""
    kept = ("tuned.json", "drift.json", "*.jsonl", "*.safetensors")
    return {path: path.stat().st_mtime_ns for name in kept for path in run.rglob(name)}


def test_a_second_call_does_nothing_again(
    run: Path, base: Base, results: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = made(run)
    monkeypatch.delattr(story, "measure")
    again = story.compare(asked(base), run)
    assert made(run) == before
    methods = json.loads(json.dumps(again.model_dump(mode="json", by_alias=True)["methods"]))
    assert methods == results["methods"]


def test_what_is_missing_is_made_and_nothing_else(run: Path, base: Base) -> None:
    lost = run / "methods" / "everything" / "seed-0" / "items" / "safety.jsonl"
    text = lost.read_text()
    lost.unlink()
    before = made(run)
    story.compare(asked(base), run)
    assert {path for path, when in made(run).items() if before.get(path) != when} == {lost}
    assert lost.read_text() == text, "and it comes out the same"


def test_more_seeds_may_follow(run: Path, base: Base) -> None:
    before = made(run)
    results = story.compare(asked(base), run, methods=["lora"], seeds=[0, 1])
    assert list(results.methods["lora"].seeds) == ["0", "1"]
    assert results.methods["lora"].summary["safety"].seeds == 2
    new = {path for path in made(run) if path not in before}
    assert {path.relative_to(run).parts[:3] for path in new} == {("methods", "lora", "seed-1")}


def test_another_study_does_not_fit_in_the_folder(run: Path, base: Base, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds another study"):
        story.compare(asked(base, sweep_steps=2), run)
    (tmp_path / "letter.txt").write_text("Dear ...")
    with pytest.raises(UserError, match="not empty and holds no study"):
        story.compare(asked(base), tmp_path)


def test_a_run_from_before_there_was_a_choice_of_judge_goes_on(run: Path, base: Base) -> None:
    path = run / "study.json"
    text = path.read_text()
    held = json.loads(text)
    assert held.pop("judge") == "rules"
    path.write_text(json.dumps(held))
    before = made(run)
    story.compare(asked(base), run)
    assert made(run) == before
    path.write_text(text)


def test_another_judge_is_another_study(run: Path, base: Base, tmp_path: Path) -> None:
    train(tmp_path / "judge", LABELLED)
    with pytest.raises(UserError, match="holds another study"):
        story.compare(asked(base, judge=f"classifier:{tmp_path / 'judge'}"), run)
