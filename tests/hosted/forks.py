"""Run a job in a process of its own, again and again: everything is imported once, and each run is a fork.

Reads a JSON line for each run, answers with the fork's process id, lets it begin at the next line, and tells
how it ended.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy  # noqa: F401  imported once, for all forks
import openai
import safetensors.numpy  # noqa: F401
import together

from tether.chatdata.chats import Chat
from tether.errors import UserError
from tether.hosted.providers import open_provider
from tether.hosted.services import SERVICES
from tether.hosted.terms import Terms
from tether.hosted.tuning import tune
from tether.hosted.wire import Order


def run(asked: dict[str, Any]) -> int:
    os.environ.update(asked["environment"])
    chats = [Chat(c["id"], tuple(c["messages"]), tuple(c["tools"]), c["source"]) for c in asked["chats"]]
    try:
        tune(
            open_provider(SERVICES[asked["service"]]),
            Order(asked["base"], "", 0, 1, {}),
            chats,
            Path(asked["out"]),
            Terms(yes=True, max_price=None, poll_seconds=0.0),
        )
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def main() -> None:
    gpt, llama = openai.OpenAI(api_key="none"), together.Together(api_key="none")
    assert all((gpt.files, gpt.fine_tuning.jobs.checkpoints, llama.files, llama.fine_tuning))
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            os.read(0, 3)
            os._exit(run(json.loads(line)))
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
