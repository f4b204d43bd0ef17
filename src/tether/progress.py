"""One way to show that something long is under way: a bar with time left, or a line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

T = TypeVar("T")

SECONDS_BETWEEN_LINES = 20.0

# Progress goes to stderr, so that `--json` leaves stdout to the result.
console = Console(stderr=True)


class Task:
    """A running total that can be advanced by any amount."""

    def __init__(self, label: str, total: float) -> None:
        self.label, self.total, self.done = label, total, 0.0
        self._started = self._last_line = time.monotonic()
        self._before = 0.0

    def go_on(self, done: float) -> None:
        """Begin at what an earlier run has ``done``, which says nothing about this one's speed."""
        self.done = self._before = done

    def advance(self, amount: float = 1.0, note: str = "") -> None:
        """Count ``amount`` more as done; ``note`` is shown behind the label."""
        self.done += amount
        self._show(note)

    def _show(self, note: str) -> None:
        now = time.monotonic()
        if now - self._last_line < SECONDS_BETWEEN_LINES or self.done <= self._before:
            return
        self._last_line = now
        left = (now - self._started) * (self.total - self.done) / (self.done - self._before)
        text = f"{self.label} {note}".rstrip()
        print(
            f"{text}: {self.done:.0f}/{self.total:.0f}, {timedelta(seconds=round(left))} left",
            file=sys.stderr,
            flush=True,
        )


class _BarTask(Task):
    def __init__(self, label: str, total: float, progress: Progress) -> None:
        super().__init__(label, total)
        self._progress = progress
        self._id = progress.add_task(label, total=total)

    def go_on(self, done: float) -> None:
        super().go_on(done)
        self._progress.reset(self._id, completed=int(done))

    def _show(self, note: str) -> None:
        self._progress.update(self._id, completed=self.done, description=f"{self.label} {note}".rstrip())


@contextmanager
def task(label: str, total: float) -> Iterator[Task]:
    """Show progress towards ``total``: a bar on a terminal, else a line every 20 seconds."""
    if not console.is_terminal:
        yield Task(label, total)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield _BarTask(label, total, progress)


def track(items: Iterable[T], label: str, total: float | None = None) -> Iterator[T]:
    """Iterate over ``items`` and show how many are done and how long the rest will take."""
    count = total if total is not None else float(len(items)) if isinstance(items, Sized) else 0.0
    with task(label, count) as progress:
        for item in items:
            yield item
            progress.advance()


def say(text: str) -> None:
    """One line about what happens now, on stderr."""
    console.print(text, highlight=False, soft_wrap=True)
