"""A study with local and hosted methods side by side, end to end, and the commands on their own."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from servers.openai import OpenAIServer
from servers.speaker import Speaker
from servers.standin import KEY
from servers.together import TogetherServer

from tether import bases, checking, stages
from tether import study as story
from tether.config import Study
from tether.errors import UserError
from tether.inference import LocalModel
from tether.results import read_items, read_results

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tether.anchors.anchors import AnchorSet
    from tether.bases import Base

GPT = "gpt-4o-mini-2024-07-18"
pytestmark = pytest.mark.usefixtures("anchors")


@pytest.fixture(scope="module")
def services(
    base: Base, adapter: Path, packed_adapter: bytes
) -> Iterator[tuple[OpenAIServer, TogetherServer]]:
    """Both services, the tiny base and the adapter speaking for their models."""
    tokenizer = bases.load_tokenizer(base)
    models = (LocalModel(bases.load_tuned(base, tuned), tokenizer) for tuned in (None, adapter))
    speaker = Speaker(*models)
    gpt, llama = OpenAIServer(speaker), TogetherServer(speaker, packed_adapter)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", KEY)
        patch.setenv("OPENAI_BASE_URL", gpt.base_url)
        patch.setenv("TOGETHER_API_KEY", KEY)
        patch.setenv("TOGETHER_BASE_URL", llama.address)
        yield gpt, llama
    gpt.close()
    llama.close()


def asked(base: Base, **changes: Any) -> Study:
    """Four methods side by side, as the seed had them."""
    said: dict[str, Any] = {
        "base": base.name,
        "data": "builtin:hotels",
        "methods": {
            "openai": {"base": GPT, "epochs": 3, "poll_seconds": 0},
            "together": {"base": "tiny/local", "local_base": base.name, "epochs": 1, "poll_seconds": 0},
            "lora": {"rank": 4, "learning_rate": 1e-3},
            "tether": {"rank": 4, "learning_rate": 1e-3},
        },
        "training": {"max_steps": 2, "batch_tokens": 2048, "dialogues": 14},
        "limits": {"builtin:hotels": 1, "builtin:safety": 6, "builtin:knowledge": 24},
        "asking": {"requests_per_minute": 100_000},
    }
    return Study.model_validate({**said, **changes})


@pytest.fixture(scope="module")
def run(
    services: tuple[OpenAIServer, TogetherServer],
    base: Base,
    anchors: AnchorSet,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    out = tmp_path_factory.mktemp("hosted") / "run"
    story.compare(asked(base), out, yes=True)
    return out


@pytest.fixture
def with_keys(
    services: tuple[OpenAIServer, TogetherServer], monkeypatch: pytest.MonkeyPatch
) -> tuple[OpenAIServer, TogetherServer]:
    """The environment again, which every test in this room begins without."""
    gpt, llama = services
    for name, value in {
        "OPENAI_API_KEY": KEY,
        "OPENAI_BASE_URL": gpt.base_url,
        "TOGETHER_API_KEY": KEY,
        "TOGETHER_BASE_URL": llama.address,
    }.items():
        monkeypatch.setenv(name, value)
    return services


def test_the_four_columns_stand_side_by_side(run: Path, base: Base) -> None:
    methods = read_results(run / "results.json").methods
    assert list(methods) == ["openai", "together", "lora", "tether"]
    told = {name: (method.base, method.service) for name, method in methods.items()}
    assert told["openai"] == (f"openai:{GPT}", "OpenAI")
    assert told["together"] == (base.name, "Together AI"), "its adapter is measured here, on the same weights"
    assert told["lora"] == told["tether"] == (base.name, None)
    for method in methods.values():
        assert {"proficiency", "safety", "knowledge_f1"} <= method.summary.keys()
        assert method.summary["safety"].n == 6


def test_what_a_service_cannot_give_is_a_gap(run: Path) -> None:
    results = read_results(run / "results.json")
    summary = results.methods["openai"].summary
    assert (summary["knowledge"].delta, summary["knowledge"].n) == (None, 0)
    assert not {"knowledge_gain", "drift"} & summary.keys()
    assert results.methods["openai"].seeds["0"].drift == {}
    assert results.methods["openai"].seeds["0"].train.tokens_per_second is None  # type: ignore[union-attr]
    here = results.methods["together"]
    assert {"knowledge", "knowledge_gain", "drift"} <= here.summary.keys(), "likelihoods and all"
    assert here.seeds["0"].drift.keys() == {"general", "safety", "text"}
    pairs = {(row.a, row.b, row.axis) for row in results.comparisons}
    assert ("tether", "openai", "knowledge_f1") in pairs
    assert ("tether", "openai", "knowledge") not in pairs, "accuracy is not compared with token F1"
    assert ("tether", "together", "knowledge") in pairs


def test_the_hosted_models_were_asked_the_same(run: Path, base: Base) -> None:
    here = read_items(run / "base" / "items" / "safety.jsonl")
    there = read_items(run / "bases" / f"openai--{GPT}" / "items" / "safety.jsonl")
    assert [(item.id, item.input) for item in here] == [(item.id, item.input) for item in there]
    # Alone and in a batch, a tie in bfloat16 may turn some way into an answer.
    begun = [[item.output.strip()[:24] for item in items] for items in (here, there)]
    assert begun[0] == begun[1], "one model speaks for both"
    tuned = read_items(run / "methods" / "openai" / "seed-0" / "items" / "safety.jsonl")
    assert [item.output for item in tuned] != [item.output for item in there]
    assert not list(run.rglob("answers.jsonl")), "kept answers go when the measurement is whole"


def test_togethers_data_has_the_form_it_is_measured_in(
    services: tuple[OpenAIServer, TogetherServer], run: Path
) -> None:
    content = services[1].contents["file-0001"].decode()
    row = json.loads(content.split("\n")[0])
    assert set(row) == {"messages"}, "the tiny template drops tools, so they stand in the text"
    assert "To use a tool" in row["messages"][0]["content"]
    assert "<tool_call>" in content


def test_the_report_groups_the_bases_and_says_so(run: Path) -> None:
    page = (run / "report.html").read_text(encoding="utf-8")
    text = (run / "report.md").read_text(encoding="utf-8")
    assert f"openai (OpenAI, from {GPT})" in page and f"openai (OpenAI, from {GPT})" in text
    first, *_, last = text.split("At a glance")[1].splitlines()[6:10]
    assert first.startswith("| together (Together AI, measured here)")
    assert last.startswith("| openai"), "those of another base stand apart"
    assert "tuned by their services" in text
    assert "openai: knowledge" in text.split("Not measured:")[1]


def test_no_key_is_left_anywhere(run: Path) -> None:
    for path in run.rglob("*"):
        if path.is_file():
            assert KEY.encode() not in path.read_bytes(), path


def test_a_second_call_asks_and_pays_for_nothing(
    with_keys: tuple[OpenAIServer, TogetherServer], run: Path, base: Base
) -> None:
    before = [len(server.requests) for server in with_keys]
    story.compare(asked(base), run)  # without --yes: there is nothing to agree to
    assert [len(server.requests) for server in with_keys] == before


def test_without_a_key_only_the_hosted_columns_are_lost(
    base: Base, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    methods = {"openai": {"base": GPT}, "lora": {"rank": 4, "learning_rate": 1e-3}}
    results = story.compare(asked(base, methods=methods), tmp_path / "run")
    assert list(results.methods) == ["lora"]
    assert "openai is left out: OpenAI cannot be called: OPENAI_API_KEY is not set" in capsys.readouterr().err
    assert "openai is left out" in (tmp_path / "run" / "report.md").read_text()
    with pytest.raises(UserError, match="No method can be had.*OPENAI_API_KEY"):
        story.compare(asked(base, methods=methods), tmp_path / "other", ["openai"])
    assert not (tmp_path / "other").exists()


def test_a_refused_job_costs_the_study_its_column_alone(
    with_keys: tuple[OpenAIServer, TogetherServer], base: Base, tmp_path: Path
) -> None:
    gpt, _ = with_keys
    methods = {"openai": {"base": GPT, "poll_seconds": 0}, "lora": {"rank": 4, "learning_rate": 1e-3}}
    gpt.closed = True
    try:
        results = story.compare(asked(base, methods=methods), tmp_path / "run", yes=True)
    finally:
        gpt.closed = False
    assert list(results.methods) == ["lora"]
    assert "2027-01-06" in results.provenance["left_out"]["openai"]


def test_nothing_is_trained_before_the_cost_is_agreed_to(
    with_keys: tuple[OpenAIServer, TogetherServer], base: Base, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"tuned for pay.*openai on openai:gpt.*\$.*add --yes"):
        story.compare(asked(base), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({}, "give it one of OpenAI's models"),
        ({"base": GPT, "epochs": 1.5}, "whole epochs"),
        ({"base": GPT, "learning_rate": [1e-4, 1e-3]}, "a job to pay for"),
        ({"base": GPT, "rank": 4}, "no option 'rank'"),
        ({"base": "together:x/y"}, "no model of OpenAI"),
    ],
)
def test_what_a_service_does_not_do_is_found_at_once(base: Base, entry: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        checking.check(asked(base, methods={"openai": entry}))


def test_a_dry_run_needs_no_key_and_tells_the_cost(base: Base) -> None:
    lines = "\n".join(checking.check(asked(base)))
    assert f"method openai on openai:{GPT}: hosted, 13 chats" in lines
    assert "left out as long as OPENAI_API_KEY is not set" in lines
    assert "at a price that it tells once it has the data" in lines


def test_or_an_sdk(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("openai", "together"):
        monkeypatch.setitem(sys.modules, name, None)
    assert "SDK is not installed: pip install openai" in "\n".join(checking.check(asked(base)))


def test_a_model_that_exists_is_measured_by_its_name(
    with_keys: tuple[OpenAIServer, TogetherServer], run: Path, tmp_path: Path
) -> None:
    model = json.loads((run / "methods" / "openai" / "seed-0" / "hosted.json").read_text())["model"]
    sources = {"safety": ["builtin:safety"], "knowledge": ["builtin:knowledge"]}
    first = stages.evaluate(f"openai:{model}", None, sources, 6, tmp_path / "a.json")
    assert first.record["base"] == f"openai:{model}"
    assert first.record["axes"]["knowledge"]["score"] is None
    again = stages.evaluate(
        f"openai:{GPT}",
        run / "methods" / "openai" / "seed-0",
        sources,
        6,
        tmp_path / "b.json",
        tmp_path / "a.json",
    )
    assert again.record["axes"]["safety"]["against"]["delta"] == 0, "the folder names the same model"
    with pytest.raises(UserError, match="no finished job of OpenAI"):
        stages.evaluate(f"openai:{GPT}", tmp_path, sources, 6, tmp_path / "c.json")


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tether.cli", *arguments],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )


def test_the_commands(with_keys: tuple[OpenAIServer, TogetherServer], tmp_path: Path) -> None:
    out = tmp_path / "tuned"
    tune = ["tune", "--method", "openai", "--base", GPT, "--data", "builtin:hotels", "--out", str(out)]
    tune += ["--set", "dialogues=14", "--set", "epochs=2", "--set", "poll_seconds=0.01"]
    done = command(*tune, "--yes", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["model"].startswith(f"ft:{GPT}")
    assert KEY not in done.stdout + done.stderr
    ended = command("cancel", str(out))
    assert (ended.returncode, "already ended" in ended.stderr) == (2, True)
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("method", "name", "settings", "message"),
    [
        ("openai", GPT, {"max_steps": 5}, "cannot be told max_steps"),
        ("openai", GPT, {"learning_rate": 1e-4}, "no option 'learning_rate'.*learning_rate_multiplier"),
        ("lora", f"openai:{GPT}", {}, "trains here and cannot tune openai"),
    ],
)
def test_what_a_service_cannot_be_told_is_refused(
    method: str, name: str, settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        stages.tune(name, "builtin:hotels", method, tmp_path / "out", settings=settings)
