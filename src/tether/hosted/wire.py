"""What tether needs of a service: the same dozen calls of both."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from tether.hosted.client import Client

Outcome = Literal["going", "succeeded", "failed", "cancelled"]


@dataclass(frozen=True)
class Order:
    """A job to create.

    Attributes:
        base: What is tuned.
        token: By which the job is found again.
        seed: Of the service's shuffling.
        epochs: None is the service's own number.
        options: What one service alone understands.
    """

    base: str
    token: str
    seed: int
    epochs: int | None
    options: dict[str, Any]


@dataclass(frozen=True)
class Job:
    """A job as a service tells of it.

    Attributes:
        status: In the service's own words.
        outcome: What that comes to.
        model: The tuned model's name.
        reason: Why it failed.
        seconds: From creation to end, by the service's clock.
    """

    id: str
    status: str
    outcome: Outcome
    model: str | None = None
    reason: str = ""
    trained_tokens: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Event:
    """Something that happened to a job; ``steps`` is (done, of how many) where it tells."""

    id: str
    at: str
    level: str
    message: str
    steps: tuple[int, int] | None = None
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Said:
    """A model's answer to a chat: text, calls as (name, arguments as JSON text), tokens read and written."""

    content: str
    calls: tuple[tuple[str, str], ...]
    read: int
    write: int


class Provider(Protocol):
    """A service's calls. Each may raise `CallError`."""

    client: Client

    def upload(self, path: Path) -> str:
        """Send a training file and return its id."""

    def find_file(self, name: str) -> str | None:
        """The id of an uploaded file by its name."""

    def file_fault(self, file: str) -> str | None:
        """Why an uploaded file cannot be trained on; empty while that is fine or not yet known (None)."""

    def quote(self, file: str, order: Order) -> float | None:
        """What the job will cost in dollars, if the service tells."""

    def create(self, file: str, order: Order) -> Job:
        """Create the job: called once, and never again before `find_job` was asked."""

    def find_job(self, token: str) -> Job | None:
        """The job that carries the token."""

    def job(self, id_: str) -> Job:
        """How a job stands."""

    def events(self, id_: str) -> list[Event]:
        """What happened to a job, oldest first."""

    def cancel(self, id_: str) -> Job:
        """Ask for a job's end."""

    def checkpoints(self, id_: str) -> list[str]:
        """Names of models saved on the way."""

    def fetch(self, job: Job, out: Path) -> None:
        """Bring results, metrics and, where the service gives them, weights into a folder."""

    def say(self, body: dict[str, Any], longest: int) -> Said:
        """Answer a chat with at most ``longest`` tokens, greedily."""
