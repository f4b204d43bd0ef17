"""Together AI's calls; what it trains is brought home as a plain adapter."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tether.files import write_json
from tether.hosted.archive import open_archive
from tether.hosted.client import CallError, Client, connect
from tether.hosted.download import download
from tether.hosted.openai import read_answer
from tether.hosted.services import TOGETHER
from tether.hosted.wire import Event, Job, Order, Outcome, Said

if TYPE_CHECKING:
    from pathlib import Path

ENDS: dict[str, Outcome] = {
    "completed": "succeeded",
    "error": "failed",
    "user_error": "failed",
    "cancelled": "cancelled",
}
BAD_FILE = ("FAILED", "INVALID_FORMAT")


class TogetherProvider:
    """The calls of `tether.hosted.wire.Provider`."""

    def __init__(self) -> None:
        self.client: Client = connect(TOGETHER)
        self._jobs = self.client.api.fine_tuning

    def upload(self, path: Path) -> str:
        """Send a training file and return its id; one that is there already keeps its id."""
        files = self.client.api.files
        known = import_module("together.lib.resources.files").FileAlreadyExistsError
        with self.client.calls():
            try:
                sent = files.upload(path, purpose="fine-tune", check=False, raise_if_already_exists=True)
            except known as error:
                sent = files.retrieve(error.file_id)
                if str(sent.processing_status).upper() == "PENDING":  # put, but not handed in before a crash
                    self.client.api.post(f"/v1/files/{sent.id}/preprocess", cast_to=object)
            return str(sent.id)

    def find_file(self, name: str) -> str | None:
        """Together finds a file again by its checksum when it is sent again."""
        return None

    def file_fault(self, file: str) -> str | None:
        """Why an uploaded file cannot be trained on; empty if it can, None while it is looked at."""
        with self.client.calls():
            found = self.client.api.files.retrieve(file)
        status = str(found.processing_status or "").upper()
        if status in BAD_FILE:
            report = found.validation_report
            return self.client.clean(str((report and report.error) or status))
        return "" if status == "COMPLETED" else None

    def quote(self, file: str, order: Order) -> float | None:
        """The price that Together itself estimates."""
        with self.client.calls():
            told = self._jobs.estimate_price(
                training_file=file,
                model=order.base,
                n_epochs=order.epochs or 1,
                training_method={"method": "sft", "train_on_inputs": False},
            )
        if not told.estimation_available:
            return None
        if told.allowed_to_proceed is False:
            raise CallError(402, "insufficient_funds", "the account's credit does not cover the job")
        return None if told.estimated_total_price is None else float(told.estimated_total_price)

    def create(self, file: str, order: Order) -> Job:
        """Create the job, in a single try: the SDK's own would create it twice after a lost answer."""
        chosen = {key: value for key, value in order.options.items() if value is not None}
        if order.epochs:
            chosen["n_epochs"] = order.epochs
        try:
            with self.client.calls():
                created = self.client.api.with_options(max_retries=0).fine_tuning.create(
                    model=order.base,
                    training_file=file,
                    lora=True,  # left out, the service decides, and whole weights cannot be put on a base
                    train_on_inputs=False,
                    random_seed=order.seed,
                    suffix=order.token,
                    **chosen,
                )
        except ValueError as error:  # the SDK holds options against the model's limits itself
            raise CallError(400, "", self.client.clean(str(error))) from None
        return Job(str(created.id), _status(created.status), ENDS.get(_status(created.status), "going"))

    def find_job(self, token: str) -> Job | None:
        """The job whose suffix, and so whose output, carries the token."""
        with self.client.calls():
            found = self._jobs.list().data or ()
        for job in found:
            if token in str(job.suffix) or token in str(job.x_model_output_name):
                return self.job(str(job.id))
        return None

    def job(self, id_: str) -> Job:
        """How a job stands."""
        with self.client.calls():
            return self._read(self._jobs.retrieve(id_))

    def events(self, id_: str) -> list[Event]:
        """What happened to a job, oldest first."""
        with self.client.calls():
            found = self._jobs.list_events(id_).data or ()
        events = [self._event(event) for event in found]
        return sorted(events, key=lambda event: event.at)

    def cancel(self, id_: str) -> Job:
        """Ask for a job's end."""
        with self.client.calls():
            self._jobs.cancel(id_)
        return self.job(id_)

    def checkpoints(self, id_: str) -> list[str]:
        """Places of what was saved on the way."""
        with self.client.calls():
            return [str(saved.path) for saved in self._jobs.list_checkpoints(id_).data or ()]

    def fetch(self, job: Job, out: Path) -> None:
        """Bring the metrics of each step and the adapter."""
        with self.client.calls():
            metrics = self._jobs.list_metrics(job.id).metrics or []
        write_json(out / "metrics.json", metrics)
        archive = out / "adapter.archive"
        download(self.client, job.id, archive)
        open_archive(archive, out)
        archive.unlink()

    def say(self, body: dict[str, Any], longest: int) -> Said:
        """Answer a chat; retried by the caller, which shares out what the server bears."""
        with self.client.calls():
            answer = self.client.api.with_options(max_retries=0).chat.completions.create(
                **body, temperature=0, seed=0, max_tokens=longest
            )
        return read_answer(answer, None)

    def _read(self, job: Any) -> Job:
        status = _status(job.status)
        outcome = ENDS.get(status, "going")
        last = (
            [event for event in self.events(str(job.id)) if event.level == "error"]
            if outcome == "failed"
            else []
        )
        seconds = (
            (job.updated_at - job.created_at).total_seconds() if job.updated_at and job.created_at else -1.0
        )
        return Job(
            id=str(job.id),
            status=status,
            outcome=outcome,
            model=job.x_model_output_name,
            reason=last[-1].message if last else "",
            trained_tokens=job.token_count,
            # Two times of one clock; ours has no say, whatever it shows.
            seconds=seconds if outcome != "going" and seconds >= 0 else None,
        )

    def _event(self, event: Any) -> Event:
        known = event.step is not None and event.total_steps
        told = str(event.level)  # also "legacy_error" and "legacy_iwarning"
        level = next((known for known in ("error", "warning") if told.endswith(known)), "info")
        at, kind = str(event.created_at), str(event.type).lower()
        message = self.client.clean(event.message or "")
        steps = (int(event.step), int(event.total_steps)) if known else None
        return Event(f"{at} {kind} {message}", at, level, message, steps, {"type": kind})


def _status(status: Any) -> str:
    """A status in lower case; the SDK gives it as text or as an enumeration."""
    return str(getattr(status, "value", status)).lower()
