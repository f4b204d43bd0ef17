from __future__ import annotations

import io
import json
import sys
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from tether import cli
from tether.agent.terminal import talk

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from tether.agent.session import Session

SEARCH = {
    "name": "search_hotels",
    "arguments": {"city": "Porto", "check_in": "2026-03-09", "nights": 2, "guests": 2},
}


class Scripted:
    """Searches, then says so."""

    def replies(self, sessions: Sequence[Session]) -> list[str]:
        after_result = sessions[0].messages[-1]["role"] == "tool"
        return ["I found something." if after_result else f"<tool_call>{json.dumps(SEARCH)}</tool_call>"]


class Caller:
    """Calls without end."""

    def replies(self, sessions: Sequence[Session]) -> list[str]:
        return ["<tool_call>{</tool_call>"]


def shown(speaker: Scripted | Caller, lines: list[str]) -> tuple[str, Session]:
    out = io.StringIO()
    session = talk(speaker, lines, Console(file=out, width=40))
    return out.getvalue(), session


def test_words_calls_and_results_are_shown_as_plain_text_when_piped() -> None:
    text, session = shown(Scripted(), ["A room in Porto [bold]please[/]", "", "/quit", "never said"])
    assert "-> search_hotels(city=Porto, check_in=2026-03-09, nights=2, guests=2)\n" in text
    assert '<- {"hotels":[{"hotel":' in text
    assert text.endswith("Agent: I found something.\n")
    assert "\x1b" not in text
    assert [m["role"] for m in session.messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert session.messages[1]["content"] == "A room in Porto [bold]please[/]"


def test_an_agent_that_only_calls_gives_the_turn_back() -> None:
    text, session = shown(Caller(), ["Hello"])
    assert "not a word" in text
    assert len(session.made) == 8


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["tether", "chat", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_the_command_talks_to_a_server_and_can_leave_a_record(
    serving: Callable[..., AbstractContextManager[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = {"choices": [{"message": {"content": "Hello!"}}]}
    with serving(lambda asked: (200, told)) as url:
        for options in ([], ["--json"]):
            monkeypatch.setattr(sys, "stdin", io.StringIO("Hi there\n"))
            assert run(monkeypatch, "--server", url, *options) == 0
            out = capsys.readouterr().out
            if options:
                assert json.loads(out)["messages"][-1] == {"role": "assistant", "content": "Hello!"}
            else:
                assert out.endswith("You: Hi there\nAgent: Hello!\n")


def test_somebody_must_be_there_to_talk_to(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch) == 2
    assert "--base BASE or --server URL" in capsys.readouterr().err
