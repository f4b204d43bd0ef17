from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from tether import progress

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """The time that tasks read, in seconds."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    yield now


def test_a_log_gets_a_line_now_and_then(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with progress.task("Steps", 100) as bar:
        for clock[0] in (10.0, 20.0, 30.0):
            bar.advance(10, "loss 0.9")
    assert capsys.readouterr().err == "Steps loss 0.9: 20/100, 0:01:20 left\n"


def test_what_an_earlier_run_did_says_nothing_about_the_time_left(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with progress.task("Steps", 100) as bar:
        bar.go_on(50)
        clock[0] = 30.0
        bar.advance(10)
    assert capsys.readouterr().err == "Steps: 60/100, 0:02:00 left\n"


def test_a_bar_goes_on_too(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=shown, force_terminal=True, width=120))
    with progress.task("Steps", 100) as bar:
        bar.go_on(50)
        bar.advance(10)
    assert "60/100" in shown.getvalue()
