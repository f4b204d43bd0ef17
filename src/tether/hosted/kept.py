"""Answers that were paid for, kept until a measurement is whole: a killed one does not pay for them again."""

from __future__ import annotations

import hashlib
import json
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


class Kept:
    """Answers by request, in a JSONL file that grows while they come in.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._lock = path, threading.Lock()
        self._answers: dict[str, str] = {}
        for line in path.read_text(encoding="utf-8").split("\n") if path.is_file() else ():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:  # the line at which the process died
                continue
            self._answers[row["request"]] = row["answer"]

    def get(self, request: dict[str, Any]) -> str | None:
        """The answer to a request, if it is here."""
        return self._answers.get(_key(request))

    def add(self, request: dict[str, Any], answer: str) -> None:
        """Keep an answer."""
        with self._lock:
            self._answers[_key(request)] = answer
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                # Begun with a line break, so that a line torn by a crash spoils only itself.
                file.write("\n" + json.dumps({"request": _key(request), "answer": answer}) + "\n")

    def clear(self) -> None:
        """Let them go: the measurement is whole, and the next one is to ask anew."""
        self._answers.clear()
        self.path.unlink(missing_ok=True)


def _key(request: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
