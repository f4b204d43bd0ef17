"""A stand-in for OpenAI: files, fine-tuning jobs, chat completions."""

from __future__ import annotations

import email
import email.policy
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from servers.rows import fault_of_file
from servers.standin import Refusal, Reply, Request, StandIn, only, route, want

if TYPE_CHECKING:
    from servers.speaker import Speaker

BASES = ("gpt-4o-mini-2024-07-18", "gpt-3.5-turbo-0125", "gpt-4.1-nano-2025-04-14")
COURSE = ("validating_files", "queued", "running", "running", "succeeded")
FEWEST = 10
CSV = b"step,train_loss,train_accuracy\n1,2.5,0.4\n2,1.5,0.6\n"


@dataclass
class Job:
    id: str
    body: dict[str, Any]
    looks: int = 0
    end: str | None = None
    error: dict[str, Any] | None = None
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def status(self) -> str:
        return self.end or COURSE[min(self.looks, len(COURSE) - 1)]

    @property
    def model(self) -> str | None:
        name = f"ft:{self.body['model']}:org:{self.body.get('suffix', '')}:{self.id[-4:]}"
        return name if self.status == "succeeded" else None


class OpenAIServer(StandIn):
    """The routes under ``/v1``.

    Attributes:
        closed: Whether new jobs are refused, as OpenAI does to more and more accounts.
        fails: Code and message with which the next job fails.
        now: The server's clock.
    """

    def __init__(self, speaker: Speaker | None = None) -> None:
        super().__init__()
        self.speaker, self.closed, self.fails, self.now = speaker, False, None, 1_700_000_000
        self.files: dict[str, dict[str, Any]] = {}
        self.contents: dict[str, bytes] = {}
        self.jobs: dict[str, Job] = {}

    @property
    def base_url(self) -> str:
        return f"{self.address}/v1"

    def refusal(self, refusal: Refusal) -> Any:
        kind = "invalid_request_error" if refusal.status < 500 else "server_error"
        return {"error": {"message": refusal.message, "type": kind, "param": None, "code": refusal.code}}

    @route("POST", "/v1/files")
    def upload(self, request: Request) -> Any:
        head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
        message = email.message_from_bytes(head + request.body, policy=email.policy.HTTP)
        parts = {part.get_param("name", header="content-disposition"): part for part in message.iter_parts()}
        want(set(parts) == {"purpose", "file"}, f"unexpected form fields {sorted(map(str, parts))}")
        want(parts["purpose"].get_content().strip() == "fine-tune", "purpose must be fine-tune")
        name, content = parts["file"].get_filename(), parts["file"].get_payload(decode=True)
        want(bool(name) and name.endswith(".jsonl"), "Invalid file format. Must be .jsonl")
        return self._keep(name, content, "fine-tune")

    def _keep(self, name: str, content: bytes, purpose: str) -> dict[str, Any]:
        id_ = f"file-{len(self.files) + 1:04d}"
        self.contents[id_] = content
        self.files[id_] = {
            "id": id_,
            "object": "file",
            "bytes": len(content),
            "created_at": self.now,
            "filename": name,
            "purpose": purpose,
            "status": "uploaded",
        }
        return self.files[id_]

    def _file(self, id_: str) -> dict[str, Any]:
        if id_ not in self.files:
            raise Refusal(404, f"No such File object: {id_}", "not_found")
        return self.files[id_]

    @route("GET", "/v1/files")
    def list_files(self, request: Request) -> Any:
        found = [
            file
            for file in self.files.values()
            if file["purpose"] == request.query.get("purpose", file["purpose"])
        ]
        return _page(found, request)

    @route("GET", "/v1/files/([^/]+)")
    def retrieve_file(self, request: Request, id_: str) -> Any:
        file = dict(self._file(id_))
        self.files[id_]["status"] = "processed"  # at the next look
        return file

    @route("GET", "/v1/files/([^/]+)/content")
    def content(self, request: Request, id_: str) -> Any:
        self._file(id_)
        return Reply(self.contents[id_])

    @route("POST", "/v1/fine_tuning/jobs")
    def create(self, request: Request) -> Any:
        body = request.json()
        only(body, {"model", "training_file"}, {"validation_file", "suffix", "seed", "metadata", "method"})
        if self.closed:
            raise Refusal(
                403, "Fine-tuning is not available to this organization.", "fine_tuning_unavailable"
            )
        want(
            body["model"] in BASES,
            f"Model {body['model']} is not available for fine-tuning",
            "model_not_available",
        )
        want(self._file(body["training_file"])["purpose"] == "fine-tune", "wrong purpose")
        want(
            re.fullmatch(r"[\w-]{1,64}", body.get("suffix", "a")) is not None,
            "suffix is at most 64 characters",
        )
        want(isinstance(body.get("seed", 0), int), "seed must be an integer")
        metadata = body.get("metadata", {})
        want(
            len(metadata) <= 16 and all(isinstance(value, str) for value in metadata.values()), "bad metadata"
        )
        self._check_method(body.get("method", {"type": "supervised"}))
        job = Job(f"ftjob-{len(self.jobs) + 1:04d}", body)
        if fault := fault_of_file(self.contents[body["training_file"]], FEWEST):
            job.error = {"code": "invalid_training_file", "message": fault, "param": "training_file"}
        elif self.fails:
            job.error = {"code": self.fails[0], "message": self.fails[1], "param": None}
        self._event(job, "Created fine-tuning job")
        self.jobs[job.id] = job
        return self._shown(job)

    def _check_method(self, method: dict[str, Any]) -> None:
        only(method, {"type"}, {"supervised"})
        want(method["type"] == "supervised", "only supervised here")
        only(method.get("supervised", {}), set(), {"hyperparameters"})
        chosen = method.get("supervised", {}).get("hyperparameters", {})
        only(chosen, set(), {"n_epochs", "batch_size", "learning_rate_multiplier"})
        for name, value in chosen.items():
            good = isinstance(value, (int, float) if name == "learning_rate_multiplier" else int)
            want((value == "auto" or good) and value is not True, f"{name} must be a number or 'auto'")

    @route("GET", "/v1/fine_tuning/jobs")
    def list_jobs(self, request: Request) -> Any:
        wanted = {
            m[1]: v for name, v in request.query.items() if (m := re.fullmatch(r"metadata\[(.+)\]", name))
        }
        found = [
            self._shown(job)
            for job in reversed(self.jobs.values())
            if wanted.items() <= job.body.get("metadata", {}).items()
        ]
        return _page(found, request)

    def _job(self, id_: str) -> Job:
        if id_ not in self.jobs:
            raise Refusal(404, f"Could not find fine tune: {id_}", "fine_tune_not_found")
        return self.jobs[id_]

    @route("GET", "/v1/fine_tuning/jobs/([^/]+)")
    def retrieve_job(self, request: Request, id_: str) -> Any:
        job = self._job(id_)
        shown = self._shown(job)
        self._go_on(job)
        return shown

    def _go_on(self, job: Job) -> None:
        """To where the job stands at the next look."""
        if job.end:
            return
        job.looks += 1
        if job.error and job.looks > 1:
            job.end = "failed"
            self._event(job, "The job failed", level="error")
        elif job.status == "running":
            data = {"step": job.looks - 1, "total_steps": 2, "train_loss": 3.0 - job.looks}
            self._event(job, f"Step {job.looks - 1}/2", kind="metrics", data=data)
        elif job.status == "succeeded":
            job.end = "succeeded"
            self._event(job, "The job has successfully completed [/]")

    def _event(
        self, job: Job, message: str, level: str = "info", kind: str = "message", data: Any = None
    ) -> None:
        event = {
            "id": f"ftevent-{len(job.events):03d}",
            "object": "fine_tuning.job.event",
            "created_at": self.now,
        }
        job.events.append({**event, "level": level, "message": message, "type": kind, "data": data or {}})

    @route("POST", "/v1/fine_tuning/jobs/([^/]+)/cancel")
    def cancel(self, request: Request, id_: str) -> Any:
        job = self._job(id_)
        want(job.end is None, f"Job has already ended: {job.end}", "invalid_state")
        job.end = "cancelled"
        self._event(job, "The job was cancelled")
        return self._shown(job)

    @route("GET", "/v1/fine_tuning/jobs/([^/]+)/events")
    def events(self, request: Request, id_: str) -> Any:
        return _page(list(reversed(self._job(id_).events)), request, most=2)

    @route("GET", "/v1/fine_tuning/jobs/([^/]+)/checkpoints")
    def checkpoints(self, request: Request, id_: str) -> Any:
        job = self._job(id_)
        saved = [
            {
                "id": f"ftckpt-{step}",
                "object": "fine_tuning.job.checkpoint",
                "created_at": self.now,
                "fine_tuned_model_checkpoint": f"{job.model}:ckpt-step-{step}",
                "fine_tuning_job_id": id_,
                "step_number": step,
                "metrics": {"step": step, "train_loss": 1.0},
            }
            for step in (2, 1)
        ]
        return _page(saved, request)

    def _shown(self, job: Job) -> dict[str, Any]:
        over = job.end is not None or job.status == "succeeded"
        results = [self._results(job)] if job.status == "succeeded" else []
        return {
            "id": job.id,
            "object": "fine_tuning.job",
            "created_at": self.now,
            "model": job.body["model"],
            "status": job.status,
            "training_file": job.body["training_file"],
            "validation_file": None,
            "organization_id": "org-1",
            "result_files": results,
            "seed": job.body.get("seed", 0),
            "hyperparameters": {"n_epochs": 3},
            "error": job.error if job.end == "failed" else None,
            "fine_tuned_model": job.model,
            "finished_at": self.now + 600 if over else None,
            "trained_tokens": 12_345 if job.status == "succeeded" else None,
            "metadata": job.body.get("metadata"),
            "method": job.body.get("method"),
        }

    def _results(self, job: Job) -> str:
        name = f"results-{job.id}.csv"
        known = next((id_ for id_, file in self.files.items() if file["filename"] == name), None)
        return known or str(self._keep(name, CSV, "fine-tune-results")["id"])

    @route("POST", "/v1/chat/completions")
    def complete(self, request: Request) -> Any:
        assert self.speaker is not None
        body = request.json()
        tuned = any(job.model == body.get("model") for job in self.jobs.values())
        if not tuned and body.get("model") not in BASES:
            raise Refusal(404, f"The model `{body.get('model')}` does not exist", "model_not_found")
        return self.speaker.completion(body, "max_completion_tokens", tuned)


def _page(rows: list[dict[str, Any]], request: Request, most: int = 20) -> dict[str, Any]:
    """A page of a list; ``most`` is small so that clients that read one page alone are found out."""
    after = request.query.get("after")
    start = next((n + 1 for n, row in enumerate(rows) if row["id"] == after), 0) if after else 0
    size = min(most, int(request.query.get("limit", most)))
    part = rows[start : start + size]
    more = start + size < len(rows)
    return {
        "object": "list",
        "data": part,
        "has_more": more,
        "first_id": part[0]["id"] if part else None,
        "last_id": part[-1]["id"] if part else None,
    }
