"""OpenAI's calls, and those of any server of the same shape that ``OPENAI_BASE_URL`` names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tether.hosted.client import CallError, Client, connect
from tether.hosted.services import OPENAI
from tether.hosted.wire import Event, Job, Order, Outcome, Said

if TYPE_CHECKING:
    from pathlib import Path

ENDS: dict[str, Outcome] = {"succeeded": "succeeded", "failed": "failed", "cancelled": "cancelled"}
METADATA = "tether"


class OpenAIProvider:
    """The calls of `tether.hosted.wire.Provider`."""

    def __init__(self) -> None:
        self.client: Client = connect(OPENAI)
        self._jobs = self.client.api.fine_tuning.jobs

    def upload(self, path: Path) -> str:
        """Send a training file and return its id."""
        with self.client.calls(), path.open("rb") as file:
            return str(self.client.api.files.create(file=(path.name, file), purpose="fine-tune").id)

    def find_file(self, name: str) -> str | None:
        """The id of an uploaded file by its name."""
        with self.client.calls():
            files = self.client.api.files.list(purpose="fine-tune")
            return next((str(file.id) for file in files if file.filename == name), None)

    def file_fault(self, file: str) -> str | None:
        """Why an uploaded file cannot be trained on; empty if it can, None while it is looked at."""
        with self.client.calls():
            found = self.client.api.files.retrieve(file)
        if found.status in ("error", "deleted"):
            return self.client.clean(str(found.status_details or found.status))
        return "" if found.status == "processed" else None

    def quote(self, file: str, order: Order) -> float | None:
        """OpenAI tells no price before."""
        return None

    def create(self, file: str, order: Order) -> Job:
        """Create the job, in a single try: the SDK's own would create it twice after a lost answer."""
        chosen = {"n_epochs": order.epochs, **order.options}
        parameters = {key: value for key, value in chosen.items() if value is not None}
        with self.client.calls():
            created = self.client.api.with_options(max_retries=0).fine_tuning.jobs.create(
                model=order.base,
                training_file=file,
                method={"type": "supervised", "supervised": {"hyperparameters": parameters}},
                seed=order.seed,
                suffix=order.token,
                metadata={METADATA: order.token},
            )
        return self._read(created)

    def find_job(self, token: str) -> Job | None:
        """The job that carries the token in its metadata; servers that do not filter are read through."""
        with self.client.calls():
            for job in self._jobs.list(metadata={METADATA: token}, limit=100):
                if (job.metadata or {}).get(METADATA) == token:
                    return self._read(job)
        return None

    def job(self, id_: str) -> Job:
        """How a job stands."""
        with self.client.calls():
            return self._read(self._jobs.retrieve(id_))

    def events(self, id_: str) -> list[Event]:
        """What happened to a job, oldest first."""
        with self.client.calls():
            found = [self._event(event) for event in self._jobs.list_events(id_, limit=100)]
        return sorted(found, key=lambda event: (event.at, event.id))

    def cancel(self, id_: str) -> Job:
        """Ask for a job's end."""
        with self.client.calls():
            return self._read(self._jobs.cancel(id_))

    def checkpoints(self, id_: str) -> list[str]:
        """Names of models saved on the way, in the order of their steps."""
        with self.client.calls():
            found = list(self._jobs.checkpoints.list(id_, limit=100))
        ordered = sorted(found, key=lambda checkpoint: int(checkpoint.step_number))
        return [str(checkpoint.fine_tuned_model_checkpoint) for checkpoint in ordered]

    def fetch(self, job: Job, out: Path) -> None:
        """Bring the metrics of each step."""
        with self.client.calls():
            for number, id_ in enumerate(self._jobs.retrieve(job.id).result_files or ()):
                path = out / f"metrics{f'-{number}' if number else ''}.csv"
                path.write_bytes(self.client.api.files.content(id_).read())

    def say(self, body: dict[str, Any], longest: int) -> Said:
        """Answer a chat; retried by the caller, which shares out what the server bears."""
        with self.client.calls():
            answer = self.client.api.with_options(max_retries=0).chat.completions.create(
                **body, temperature=0, seed=0, max_completion_tokens=longest
            )
        return read_answer(answer, answer.choices[0].message.refusal if answer.choices else None)

    def _read(self, job: Any) -> Job:
        seconds = job.finished_at - job.created_at if job.finished_at and job.created_at else None
        fault = job.error.message if job.error and job.error.message else ""
        code = f" ({job.error.code})" if fault and job.error.code else ""
        return Job(
            id=str(job.id),
            status=str(job.status),
            outcome=ENDS.get(job.status, "going"),
            model=job.fine_tuned_model,
            reason=self.client.clean(fault) + code,
            trained_tokens=job.trained_tokens,
            # Two times of one clock; ours has no say, whatever it shows.
            seconds=float(seconds) if seconds is not None and seconds >= 0 else None,
        )

    def _event(self, event: Any) -> Event:
        data = event.data if isinstance(event.data, dict) else {}
        step, total = data.get("step"), data.get("total_steps")
        steps = (step, total) if isinstance(step, int) and isinstance(total, int) and total > 0 else None
        at = f"{event.created_at:012d}" if isinstance(event.created_at, int) else str(event.created_at)
        message = self.client.clean(event.message or "")
        return Event(str(event.id), at, str(event.level), message, steps, data)


def read_answer(answer: Any, refusal: str | None) -> Said:
    """A chat completion of either SDK.

    Args:
        answer: What the SDK gave.
        refusal: A refusal that stands beside the text, as OpenAI gives it.

    Raises:
        CallError: It holds no answer at all.
    """
    if not answer.choices:
        raise CallError(None, "", "the completion holds no choices")
    message, usage = answer.choices[0].message, answer.usage
    calls = tuple(
        (str(call.function.name), str(call.function.arguments)) for call in message.tool_calls or ()
    )
    read, write = (usage.prompt_tokens, usage.completion_tokens) if usage else (0, 0)
    return Said(str(message.content or refusal or ""), calls, int(read), int(write))
