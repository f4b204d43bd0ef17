from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import tether
from tether import bases, cli
from tether.config import Asking
from tether.errors import RequirementNotMet, UserError
from tether.results import StudyResults

STUDY = "base: smollm2-135m\ndata: builtin:hotels\nmethods: {lora: , tether: {}}\n"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["tether", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


@pytest.fixture
def study_file(tmp_path: Path) -> Path:
    path = tmp_path / "study.yaml"
    path.write_text(STUDY)
    return path


@pytest.fixture
def story(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Stands in for the study room, so that nothing trains."""
    room = SimpleNamespace()
    for name in ("study", "stages", "checking"):
        monkeypatch.setattr(tether, name, room, raising=False)
    return room


def results(delta: float) -> StudyResults:
    summary = {"safety": {"before": 0.9, "after": 0.9 + delta, "delta": delta, "ci95": (-0.2, 0.2), "n": 9}}
    return StudyResults.model_validate({"methods": {"lora": {"base": "b", "summary": summary}}})


def test_help_answers_at_once() -> None:
    best = 9.0
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-m", "tether.cli", "--help"], capture_output=True, text=True)
        best = min(best, time.perf_counter() - start)
    assert done.returncode == 0
    for command in (
        "compare",
        "tune",
        "evaluate",
        "inspect",
        "anchors",
        "align",
        "report",
        "fetch",
        "methods",
        "doctor",
    ):
        assert f"  {command} " in done.stdout
    assert best < 0.5


@pytest.mark.parametrize("arguments", [["--bogus"], ["compare"], ["tune", "--preview", "few"], ["dance"]])
def test_what_the_parser_refuses_is_the_users_mistake(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    assert run(monkeypatch, *arguments) == 2


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("methods", "method"), "study.yaml:3: there is no key 'method' here; did you mean 'methods'"),
        (("base: smollm2-135m\n", ""), "the key 'base' is missing"),
        ((STUDY, "{"), "not YAML"),
        ((STUDY, ""), "a study is a mapping"),
    ],
)
def test_a_mistake_in_a_study_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    study_file: Path,
    change: tuple[str, str],
    says: str,
) -> None:
    study_file.write_text(STUDY.replace(*change))
    assert run(monkeypatch, "compare", study_file, "--dry-run") == 2
    captured = capsys.readouterr()
    assert says in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["compare", "none.yaml"], "no such file"),
        (["compare", "{study}"], "--out"),
        (["compare", "{study}", "--out", "x", "--seeds", "one"], "--seeds"),
        (["compare", "{study}", "--out", "x", "--require", "safety>=0"], "--require"),
        (["tune", "--base", "b", "--data", "d"], "--out"),
        (["tune", "--base", "b", "--data", "d", "--out", "x", "--set", "rank"], "key=value"),
        (["tune", "--base", "b", "--data", "d", "--out", "x", "--budget", "low"], "--budget"),
        (["evaluate", "--base", "b", "--out", "x.json"], "no axis is named"),
        (["judge", "f.jsonl", "--fit-on", "gpt4"], "--train"),
        (["judge", "f.jsonl", "--train", "x", "--judge", "local:y"], "the judge is the one that is fitted"),
        (["fetch", "smollm3"], "did you mean 'smollm2-135m"),
    ],
)
def test_mistakes_on_the_command_line_end_with_two(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    study_file: Path,
    story: SimpleNamespace,
    arguments: list[str],
    says: str,
) -> None:
    assert run(monkeypatch, *(argument.format(study=study_file) for argument in arguments)) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (UserError("no agent turn", where="d.jsonl:3", fix="add one"), 2, "d.jsonl:3: no agent turn."),
        (RequirementNotMet("drift is 0.3"), 3, "drift is 0.3"),
        (OSError(errno.ENOSPC, "No space left on device", "x/y"), 2, "x/y: the disk is full"),
        (PermissionError(errno.EACCES, "Permission denied", "x"), 2, "x will not do: permission is denied"),
        (FileExistsError(errno.EEXIST, "File exists", "x"), 2, "x will not do: it is a file"),
        (RuntimeError("io: No space left on device (os error 28)"), 2, "the disk is full"),
        (KeyError("oops"), 1, "Traceback"),
    ],
)
def test_exit_codes_tell_whose_fault_it_was(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    study_file: Path,
    story: SimpleNamespace,
    error: Exception,
    code: int,
    says: str,
) -> None:
    def check(study: Any, methods: Any, seeds: Any) -> list[str]:
        raise error

    story.check = check
    assert run(monkeypatch, "compare", study_file, "--dry-run") == code
    captured = capsys.readouterr().err
    assert says in captured
    assert ("Traceback" in captured) == (code == 1)


def test_a_dry_run_prints_what_was_checked(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    study_file: Path,
    story: SimpleNamespace,
) -> None:
    story.check = lambda study, methods, seeds: [f"{name}, {seeds}: ok" for name in methods]
    chosen = ("--methods", "lora,tether", "--seeds", "1,2")
    assert run(monkeypatch, "compare", study_file, "--dry-run", *chosen, "--json") == 0
    assert json.loads(capsys.readouterr().out)["checks"] == ["lora, [1, 2]: ok", "tether, [1, 2]: ok"]


def test_a_study_ends_with_the_table_the_sentence_and_the_page(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    study_file: Path,
    story: SimpleNamespace,
    tmp_path: Path,
) -> None:
    asked = []

    def compare(*arguments: Any) -> StudyResults:
        asked.append(arguments[1:])
        return results(-0.3)

    story.compare = compare
    wanted = ["--methods", "lora", "--seeds", "0,1"]
    assert run(monkeypatch, "compare", study_file, "--out", tmp_path / "run", *wanted) == 0
    assert asked == [(tmp_path / "run", ["lora"], [0, 1], study_file, False)]
    out = capsys.readouterr().out
    assert "Plain LoRA: safety" in out
    assert out.rstrip().endswith(f"Report: {tmp_path / 'run' / 'report.html'}")


@pytest.mark.parametrize(("delta", "code"), [(0.0, 0), (-0.3, 3)])
def test_a_requirement_gates_a_study_and_the_results_are_printed_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    study_file: Path,
    story: SimpleNamespace,
    delta: float,
    code: int,
) -> None:
    story.compare = lambda *arguments: results(delta)
    wanted = ["--json", "--require", "safety.delta>=-0.1"]
    assert run(monkeypatch, "compare", study_file, "--out", "run", *wanted) == code
    captured = capsys.readouterr()
    assert json.loads(captured.out)["schema"] == 1
    assert ("lora: safety.delta is -0.3" in captured.err) == (code == 3)


def test_the_doctor_sees_the_machine(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "advbench.jsonl").touch()
    monkeypatch.setenv("TETHER_DATA", str(tmp_path))
    monkeypatch.setenv("TETHER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert run(monkeypatch, "doctor", "--json") == 0
    found = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
    assert found["python"]["value"].startswith(f"{sys.version_info.major}.")
    assert found["TETHER_DATA"]["value"] == f"{tmp_path}: advbench"
    assert "does not answer" in found["hub"]["value"]
    assert found["smollm2-135m"]["fix"] == "tether fetch smollm2-135m"
    assert found["computes in"]["value"].startswith(bases.precision_name())
    assert int(found["cores"]["value"]) <= (os.cpu_count() or 0)


TUNE = ("tune", "--base", "b", "--data", "d")


def test_tuning_passes_on_what_was_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], story: SimpleNamespace
) -> None:
    asked: list[Any] = []

    def tune(*arguments: Any) -> SimpleNamespace:
        asked.extend(arguments)
        return SimpleNamespace(record={"out": "o"}, text="o: lora")

    story.tune = tune
    wanted = ["--budget", "safety=0.01", "--set", "rank=4", "--set", "learning_rate=1e-3"]
    assert run(monkeypatch, *TUNE, "--out", "o", *wanted) == 0
    assert asked[:5] == ["b", "d", "tether", Path("o"), {"safety": 0.01}]
    assert asked[6:] == [{"rank": 4, "learning_rate": 1e-3}, [], False]
    assert capsys.readouterr().out == "o: lora\n"


def test_an_inspection_takes_a_base_and_what_was_made_of_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], story: SimpleNamespace
) -> None:
    asked: list[Any] = []

    def inspect(*arguments: Any) -> SimpleNamespace:
        asked.extend(arguments)
        return SimpleNamespace(record={"base": "b"}, text="tables")

    story.inspect = inspect
    assert run(monkeypatch, "inspect", "b", "lora", "--out", "o", "--anchors", "own", "--json") == 0
    assert asked == ["b", Path("lora"), Path("o"), Path("own")]
    assert json.loads(capsys.readouterr().out) == {"base": "b"}


def test_a_preview_needs_no_folder(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], story: SimpleNamespace
) -> None:
    story.preview = lambda base, data, count: SimpleNamespace(record={"examples": [count]}, text="")
    assert run(monkeypatch, *TUNE, "--preview", "3", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"examples": [3]}


def test_measuring_takes_several_sources_of_an_axis(
    monkeypatch: pytest.MonkeyPatch, story: SimpleNamespace
) -> None:
    asked: list[Any] = []

    def evaluate(*arguments: Any) -> SimpleNamespace:
        asked.extend(arguments)
        return SimpleNamespace(record={}, text="")

    story.evaluate = evaluate
    wanted = ["--safety", "xstest", "--safety", "own.csv", "--limit", "5", "--against", "before.json"]
    assert run(monkeypatch, "evaluate", "--base", "b", "--out", "x.json", *wanted) == 0
    assert asked[2] == {"proficiency": [], "safety": ["xstest", "own.csv"], "knowledge": []}
    assert asked[3:6] == [5, Path("x.json"), Path("before.json")]
    assert asked[8] == "rules"


@pytest.mark.parametrize(
    ("wanted", "passed"),
    [
        ([], ("rules", Asking(), None, [])),
        (["--judge", "openai:m", "--max-price", "2"], ("openai:m", Asking(max_price=2), None, [])),
        (["--train", "o", "--fit-on", "a,b"], ("rules", Asking(), Path("o"), ["a", "b"])),
    ],
)
def test_judging_passes_on_what_was_asked(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    story: SimpleNamespace,
    wanted: list[str],
    passed: tuple[Any, ...],
) -> None:
    asked: list[Any] = []

    def judge(*arguments: Any) -> SimpleNamespace:
        asked.extend(arguments)
        return SimpleNamespace(record={"n": 2}, text="all n 2")

    story.judge = judge
    assert run(monkeypatch, "judge", "f.jsonl", *wanted, "--json") == 0
    assert tuple(asked) == (Path("f.jsonl"), *passed)
    assert json.loads(capsys.readouterr().out) == {"n": 2}
