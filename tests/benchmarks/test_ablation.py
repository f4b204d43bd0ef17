"""The ablation on the tiny base: every switch a row, none trained twice."""

from __future__ import annotations

import json
import runpy
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tether.bases import Base
    from tether.chatdata.chats import Chat

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "ablation" / "run.py"


@pytest.mark.usefixtures("anchors")
def test_every_switch_is_a_row_and_what_has_a_record_is_not_trained_again(
    base: Base,
    hotels: list[Chat],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = tmp_path / "chats.jsonl"
    rows = [{"messages": list(chat.messages), "tools": list(chat.tools)} for chat in hotels[:12]]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = ["--base", base.name, "--data", str(data), "--learning-rate", "2e-2", "--seeds", "0"]
    records, work = tmp_path / "records", tmp_path / "work"

    def run(*places: str, steps: int = 4) -> str:
        where = ["--work", str(work), "--records", str(records), "--steps", str(steps)]
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *places, *asked, *where])
        runpy.run_path(str(SCRIPT), run_name="__main__")
        return capsys.readouterr().out

    pulled, blind = "rank=8,alpha=8,pull=100,anchor_every=0", "blind_to=safety"
    printed = run("as-it-is", pulled, blind)
    rows = {
        place: json.loads((records / f"{place}-0.json").read_text()) for place in ("as-it-is", pulled, blind)
    }
    assert rows[pulled]["drift"]["general"]["drift"] < rows["as-it-is"]["drift"]["general"]["drift"]
    assert all(f"{row['loss']:.4f}" in printed for row in rows.values())
    certified = rows[blind]["certified"]["safety"]["drift"]
    assert f"safety {certified:.4f} (certify)" in printed, "what it was blind to is told too"
    shutil.rmtree(work)
    assert run("as-it-is").splitlines()[1] in printed, (
        "a record stands for a training, on another machine too"
    )
    assert not work.exists()
    with pytest.raises(SystemExit, match="another training"):
        run("as-it-is", steps=5)
