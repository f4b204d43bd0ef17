"""``hosted.json``: where a job stands, written before and after each call that changes something."""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from tether.errors import UserError
from tether.files import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STATE_FILE = "hosted.json"
LOCK_FILE = ".hosted.lock"

Phase = Literal["prepared", "uploading", "uploaded", "creating", "created", "fetching", "done"]


class State(BaseModel):
    """Where a job stands.

    Attributes:
        provider: The service.
        server: Its address.
        base: What is tuned, by the service's name.
        token: Stands in the file's name, in the job's suffix and metadata: by it they are found again after a
            crash between a call and its answer.
        data_sha256: Of the training file.
        rows: Of the training file.
        phase: What was begun last; the ids say how far it came.
        file: The uploaded file's id.
        job: The job's id.
        status: The job's, as the service last told it.
        model: The tuned model's name at the service.
        trained_tokens: As the service counts them.
        seconds: From the job's creation to its end, by the service's clock.
        price: What the service said before that the job will cost, in dollars.
        checkpoints: Names of models saved on the way.
    """

    model_config = ConfigDict(extra="forbid")

    provider: str
    server: str
    base: str
    token: str
    data_sha256: str
    rows: int
    phase: Phase = "prepared"
    file: str | None = None
    job: str | None = None
    status: str | None = None
    model: str | None = None
    trained_tokens: int | None = None
    seconds: float | None = None
    price: float | None = None
    checkpoints: list[str] = []


class Ledger:
    """The state of one job in its folder."""

    def __init__(self, folder: Path, state: State) -> None:
        self.folder, self.state = folder, state

    def note(self, **changes: Any) -> None:
        """Change the state and write it, whole or not at all."""
        self.state = self.state.model_copy(update=changes)
        write_json(self.folder / STATE_FILE, self.state.model_dump())


def read_state(folder: Path) -> State | None:
    """The state of the job in ``folder``; None where there is none.

    Raises:
        UserError: The file is not one of ours.
    """
    found = read_json(folder / STATE_FILE)
    try:
        return None if found is None else State.model_validate(found)
    except ValidationError as error:
        raise UserError(
            f"this is no state of a hosted job ({error.errors()[0]['msg']})", where=str(folder / STATE_FILE)
        ) from error


def new_token() -> str:
    """A name that no other job has, short enough for every field that a service offers."""
    return f"tether-{secrets.token_hex(6)}"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder against a second process, which would create a second job.

    Raises:
        UserError: Another process holds it.
    """
    try:
        with FileLock(folder / LOCK_FILE, timeout=0):
            yield
    except Timeout:
        fix = "let it finish, or end it"
        raise UserError(
            "another process follows the job in this folder", where=str(folder), fix=fix
        ) from None
