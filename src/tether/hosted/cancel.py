"""End a job on request, from whatever folder and process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tether.errors import UserError
from tether.hosted.client import CallError, explained
from tether.hosted.providers import open_provider
from tether.hosted.services import SERVICES
from tether.hosted.state import STATE_FILE, State, read_state

if TYPE_CHECKING:
    from pathlib import Path

    from tether.hosted.wire import Job, Provider


def cancel(out: Path) -> Job:
    """Ask for the end of the job in ``out``. A process that follows it is told by the service.

    Raises:
        UserError: There is no job, or the service does not end it.
    """
    fix = "name the folder of a hosted fine-tuning"
    state = read_state(out)
    if state is None:
        raise UserError("there is no hosted job here", where=str(out / STATE_FILE), fix=fix)
    service = SERVICES[state.provider]
    provider = open_provider(service)
    try:
        id_ = state.job or _lost(provider, state)
        if not id_:
            raise UserError("no job was created here yet", where=str(out), fix=fix)
        return provider.cancel(id_)
    except CallError as error:
        raise explained(error, service, "cancel the job") from None


def _lost(provider: Provider, state: State) -> str | None:
    """The id of a job whose creation was never answered."""
    found = provider.find_job(state.token)
    return found.id if found else None
