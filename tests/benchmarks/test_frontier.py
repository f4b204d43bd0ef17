"""The benchmark of what is learned for how much drift, on the tiny base."""

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

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "frontier" / "run.py"


@pytest.mark.usefixtures("anchors")
def test_every_place_is_a_row_and_trained_once(
    base: Base,
    hotels: list[Chat],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = tmp_path / "chats.jsonl"
    rows = [{"messages": list(chat.messages), "tools": list(chat.tools)} for chat in hotels[:12]]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = ["--base", base.name, "--data", str(data), "--steps", "4", "--learning-rate", "2e-2"]
    where = ["--work", str(tmp_path / "work"), "--out", str(tmp_path / "results.json")]

    def run(*places: str) -> list[dict[str, Any]]:
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *places, *asked, *where])
        runpy.run_path(str(SCRIPT), run_name="__main__")
        found: list[dict[str, Any]] = json.loads((tmp_path / "results.json").read_text())["rows"]
        return found

    whole, pulled = run("as-it-is", "rank=8,alpha=8,pull=100,anchor_every=0")
    assert [one["place"] for one in (whole, pulled)] == ["as-it-is", "rank=8,alpha=8,pull=100,anchor_every=0"]
    assert pulled["drift"]["general"]["drift"] < whole["drift"]["general"]["drift"]
    assert f"{whole['loss']:.4f}" in capsys.readouterr().out
    record = tmp_path / "work" / "as-it-is-0" / "tuned.json"
    before = record.stat().st_mtime_ns
    assert run("as-it-is") == [whole]
    assert record.stat().st_mtime_ns == before, "what is there is not trained again"
