"""The story of a job: check, agree, upload, create, follow, fetch. Whatever dies on the way, it goes on.

``hosted.json`` is written before and after every call that changes something at the service. A process that
dies between a call and its answer leaves the phase that it was in: a file is then looked for by its name and
a job by its token before either is made again.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from rich.markup import escape

from tether.errors import UserError
from tether.hosted.client import OPENAI_CLOSES, CallError, explained
from tether.hosted.price import agree, check_ceiling, dollars
from tether.hosted.rows import training_text, write_training_file
from tether.hosted.services import OPENAI, HostedName
from tether.hosted.state import Ledger, State, locked, new_token, read_state
from tether.hosted.terms import Terms, estimate
from tether.progress import say, task

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tether.chatdata.chats import Chat
    from tether.hosted.services import Service
    from tether.hosted.wire import Event, Job, Order, Provider

P = ParamSpec("P")
T = TypeVar("T")

TRIES = 6  # of a creation that is turned away for the moment
LOOKS = 3  # for a job whose creation was not answered, before it is held for not created
FILE_LOOKS = 360  # at the data, until the service has checked it
DEAF = 30  # looks at a job in a row that may fail
MOST_SECONDS = 60.0


def tune(provider: Provider, order: Order, chats: Sequence[Chat], out: Path, terms: Terms) -> State:
    """Have a model tuned, or go on with it.

    Args:
        provider: The service's calls.
        order: What is asked for; its token is replaced by the folder's own.
        chats: To learn from.
        out: Where the state and what comes of it are left.
        terms: What the user allows.

    Returns:
        The finished job's state.

    Raises:
        UserError: The data, the account or the job will not do; the message says what to do.
    """
    out.mkdir(parents=True, exist_ok=True)
    with locked(out):
        return _Tuning(provider, order, chats, out, terms).run()


class _Tuning:
    def __init__(
        self, provider: Provider, order: Order, chats: Sequence[Chat], out: Path, terms: Terms
    ) -> None:
        self.provider, self.out, self.terms = provider, out, terms
        self.service = provider.client.service
        self.name = HostedName(self.service, order.base)
        self.chats, self.text = chats, training_text(chats, self.service)
        self.ledger = Ledger(out, _state(out, self.service, order.base, self.text, len(chats)))
        self.order = replace(order, token=self.ledger.state.token)
        self.path = out / f"{self.ledger.state.token}.jsonl"

    @property
    def state(self) -> State:
        return self.ledger.state

    def run(self) -> State:
        """Every stage that is not done yet."""
        if self.state.phase == "done":
            return self.state
        if self.state.job is None:
            self._agree()
            # A process that died may have created the job; the data may be gone from the service since.
            if not (self.state.phase == "creating" and self._found()):
                self._upload()
                self._create()
        try:
            job = self._follow()
        except KeyboardInterrupt:
            say(
                escape(
                    f"The job goes on: the same command follows it again, `tether cancel {self.out}` ends it"
                )
            )
            raise
        self._fetch(job)
        return self.state

    def _agree(self) -> None:
        words, cost = estimate(self.name, self.chats, self.order.epochs)
        say(escape(f"{self.service.title}: {self.order.base}, {words}"))
        if self.service is OPENAI:  # Together tells its own price, against which the ceiling is held later
            check_ceiling(cost, self.terms.max_price)
        agree(f"{self.service.title} would tune {self.order.base} on {words}", self.terms.yes)
        self.ledger.note()  # the token stands on the disk before anything that carries it is sent
        write_training_file(self.path, self.text)

    def _upload(self) -> None:
        """Send the file, unless it is there, and wait until the service has looked at it."""
        if self.state.file is None:
            sent_before = self.state.phase == "uploading"
            self.ledger.note(phase="uploading")
            file = (
                self._call("look for the data", self.provider.find_file, self.path.name)
                if sent_before
                else None
            )
            self.ledger.note(
                phase="uploaded", file=file or self._call("take the data", self.provider.upload, self.path)
            )
        fault = self._wait_for_file()
        if fault:
            self.ledger.note(phase="prepared", file=None)
            raise UserError(
                f"{self.service.title} cannot train on the data: {fault}",
                where=str(self.path),
                fix="correct the data and begin in another folder",
            )

    def _wait_for_file(self) -> str:
        for _ in range(FILE_LOOKS):
            fault = self._call("tell of the data", self._file_fault)
            if fault is not None:
                return fault
            time.sleep(self.terms.poll_seconds)
        fix = "give the same command again later"
        raise UserError(f"{self.service.title} has not looked at the data yet", where=str(self.path), fix=fix)

    def _file_fault(self) -> str | None:
        try:
            return self.provider.file_fault(str(self.state.file))
        except CallError as error:
            if error.status != 404:
                raise
        say("The uploaded data is gone from the service; it is sent again")
        self.ledger.note(phase="uploading", file=None)
        self.ledger.note(phase="uploaded", file=self.provider.upload(self.path))
        return None

    def _found(self) -> bool:
        """Take the job that a process which died has created, if it has."""
        job = self._look()
        if job:
            self._take(job)
        return job is not None

    def _create(self) -> None:
        self._agree_to_quote()
        self.ledger.note(phase="creating")
        self._take(self._created())

    def _take(self, job: Job) -> None:
        self.ledger.note(phase="created", job=job.id, status=job.status)
        say(f"{self.service.title}: job {job.id}")

    def _agree_to_quote(self) -> None:
        """Some services know the price once they have the data."""
        if self.service is OPENAI:
            return
        price = self._call("tell the price", self.provider.quote, str(self.state.file), self.order)
        check_ceiling(price, self.terms.max_price)
        say(f"{self.service.title} puts the price at {dollars(price)}")
        agree(f"{self.service.title} would tune {self.order.base} for {dollars(price)}", self.terms.yes)
        self.ledger.note(price=price)

    def _created(self) -> Job:
        for number in range(TRIES):
            try:
                return self.provider.create(str(self.state.file), self.order)
            except CallError as error:
                if error.uncertain and (job := self._look()):
                    return job
                if not error.temporary or number + 1 == TRIES:
                    if not error.uncertain:  # it is sure that there is no job
                        self.ledger.note(phase="uploaded")
                    raise self._refused(error) from None
                _rest(error, number)
        raise AssertionError("unreachable")

    def _look(self) -> Job | None:
        """Look for our job more than once: a new one may take a moment to be listed."""
        for number in range(LOOKS):
            if number:
                time.sleep(self.terms.poll_seconds)
            if job := self._call("list its jobs", self.provider.find_job, self.state.token):
                return job
        return None

    def _refused(self, error: CallError) -> UserError:
        if self.service is not OPENAI or error.temporary or error.spent or error.status == 401:
            return explained(error, self.service, "create the job")
        return UserError(
            f"OpenAI did not create the job: {error.message} ({error.status}). {OPENAI_CLOSES}",
            where=self.service.server,
            fix="measure a model that is tuned already with `tether evaluate --base openai:ft:...`, or name "
            f"another server of the same shape in {OPENAI.address}",
        )

    def _follow(self) -> Job:
        """Look at the job until it has ended; tell what happens."""
        seen: set[str] = set()
        deaf = 0
        with task(f"{self.service.title} {self.state.job}", 100) as progress:
            while True:
                try:
                    job = self.provider.job(str(self.state.job))
                    events = self.provider.events(job.id)
                    deaf = 0
                except CallError as error:
                    deaf += 1
                    if not error.temporary or deaf == DEAF:
                        raise explained(error, self.service, "tell how the job stands") from None
                    _rest(error, 0)
                    continue
                _tell([event for event in events if event.id not in seen])
                seen |= {event.id for event in events}
                if job.status != self.state.status:
                    self.ledger.note(status=job.status)
                progress.advance(_percent(events, job) - progress.done, job.status)
                if job.outcome != "going":
                    return job
                time.sleep(self.terms.poll_seconds)

    def _fetch(self, job: Job) -> None:
        """Bring home what came of the job."""
        if job.outcome != "succeeded" or not job.model:
            what = f"{job.outcome}{f': {job.reason}' if job.reason else ''}"
            what = "ended without a model" if job.outcome == "succeeded" else what
            fix = "begin again in another folder once that is put right"
            raise UserError(f"{self.service.title}'s job {job.id} {what}", where=str(self.out), fix=fix)
        self.ledger.note(phase="fetching", model=job.model)
        self._call("give the results", self.provider.fetch, job, self.out)
        events = self._call("tell the events", self.provider.events, job.id)
        lines = [json.dumps(asdict(event), ensure_ascii=False) + "\n" for event in events]
        (self.out / "events.jsonl").write_text("".join(lines), encoding="utf-8")
        self.ledger.note(
            phase="done",
            trained_tokens=job.trained_tokens,
            seconds=job.seconds,
            checkpoints=self._call("list the checkpoints", self.provider.checkpoints, job.id),
        )

    def _call(self, doing: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except CallError as error:
            raise explained(error, self.service, doing) from None


def _state(out: Path, service: Service, base: str, text: str, rows: int) -> State:
    """The folder's state, new or as it was left.

    Raises:
        UserError: The folder holds the job of another base, data or server.
    """
    digest = hashlib.sha256(text.encode()).hexdigest()
    asked = {"provider": service.name, "server": service.server, "base": base, "data_sha256": digest}
    found = read_state(out)
    if found is None:
        return State.model_validate({**asked, "token": new_token(), "rows": rows})
    held = found.model_dump()
    if other := ", ".join(key for key, value in asked.items() if held[key] != value):
        raise UserError(
            f"the folder holds another job (other {other})", where=str(out), fix="name another folder"
        )
    return found


def _rest(error: CallError, tries: int) -> None:
    wait = error.pause if error.pause is not None else 0.5 * 2**tries
    time.sleep(min(MOST_SECONDS, wait))


def _tell(events: Sequence[Event]) -> None:
    for event in events:
        if not event.steps or event.level != "info":  # each step is the bar's to tell
            say(
                escape(f"  {event.level}: {event.message}" if event.level != "info" else f"  {event.message}")
            )


def _percent(events: Sequence[Event], job: Job) -> float:
    if job.outcome == "succeeded":
        return 100.0
    steps = [event.steps for event in events if event.steps]
    return max((100.0 * done / total for done, total in steps), default=0.0)
