"""The process is killed at every single request, before and after the service has done what was asked."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from servers.openai import OpenAIServer
from servers.standin import KEY, StandIn
from servers.together import TogetherServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tether.chatdata.chats import Chat

BASES = {"openai": "gpt-4o-mini-2024-07-18", "together": "tiny/local"}


class Forks:
    """Runs of a job, each in a process of its own."""

    def __init__(self) -> None:
        script = Path(__file__).with_name("forks.py")
        self.process = subprocess.Popen(
            [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, asked: dict[str, Any], server: StandIn, kill: tuple[int, bool] | None = None) -> int:
        """Run it, and kill it at a request; the exit code, or minus the signal."""
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None and stdout is not None
        print(json.dumps(asked), file=stdin, flush=True)
        child = int(stdout.readline())
        if kill:
            server.kill(child, *kill)
        print("go", file=stdin, flush=True)
        return int(stdout.readline())

    def close(self) -> None:
        self.process.communicate()


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    found = Forks()
    yield found
    found.close()


def server_of(service: str, archive: bytes) -> tuple[OpenAIServer | TogetherServer, dict[str, str]]:
    if service == "openai":
        server = OpenAIServer()
        return server, {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": server.base_url}
    other = TogetherServer(archive=archive)
    return other, {"TOGETHER_API_KEY": KEY, "TOGETHER_BASE_URL": other.address}


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("service", ["openai", "together"])
def test_killed_at_every_step_it_goes_on_and_makes_no_second_job(
    service: str, after: bool, forks: Forks, talks: list[Chat], packed_adapter: bytes, tmp_path: Path
) -> None:
    steps = 0
    while True:
        steps += 1
        out = tmp_path / str(steps)
        server, environment = server_of(service, packed_adapter)
        asked = {
            "service": service,
            "base": BASES[service],
            "out": str(out),
            "chats": [asdict(chat) for chat in talks],
            "environment": environment,
        }
        ended = forks.run(asked, server, (steps, after))
        if ended == -signal.SIGKILL:
            assert forks.run(asked, server) == 0, f"killed at request {steps}"
        state = json.loads((out / "hosted.json").read_text())
        assert state["phase"] == "done"
        assert len(server.jobs) == 1, f"killed at request {steps}: {server.requests[-1].path}"
        stored = [id_ for id_, content in server.contents.items() if b'"messages"' in content]
        assert len(stored) == 1, f"killed at request {steps}: data that arrived is not stored again"
        if service == "together":
            assert {"adapter_config.json", "adapter_model.safetensors"} <= {p.name for p in out.iterdir()}
        server.close()
        if ended == 0:
            break
    assert steps > 15, "every request of a job was reached"
