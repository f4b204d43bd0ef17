"""A stand-in for Together AI: the three-step upload, fine-tuning jobs, the adapter's archive."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from servers.rows import fault_of_file, fault_of_order
from servers.standin import Refusal, Reply, Request, StandIn, only, route, want

if TYPE_CHECKING:
    from servers.speaker import Speaker

BASES = ("meta-llama/Llama-2-7b-chat-hf", "tiny/local")
COURSE = ("pending", "queued", "running", "running", "compressing", "uploading", "completed")
NEEDED = {
    "training_file",
    "validation_file",
    "packing",
    "model",
    "n_epochs",
    "learning_rate",
    "lr_scheduler",
    "warmup_ratio",
    "max_grad_norm",
    "weight_decay",
    "n_checkpoints",
    "n_evals",
    "batch_size",
    "training_type",
    "training_method",
}


@dataclass
class Job:
    id: str
    body: dict[str, Any]
    looks: int = 0
    end: str | None = None
    reason: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def status(self) -> str:
        return self.end or COURSE[min(self.looks, len(COURSE) - 1)]


class TogetherServer(StandIn):
    """The routes under the root.

    Attributes:
        archive: What a finished job's adapter comes as.
        cuts: Bytes after which the next downloads break off.
        fails: A word on why the next job fails.
        price: Dollars of any job; None where no estimate is to be had.
        bad_file: What the asynchronous check finds wrong with any file.
    """

    def __init__(self, speaker: Speaker | None = None, archive: bytes = b"") -> None:
        super().__init__()
        self.speaker, self.archive = speaker, archive
        self.cuts: list[int] = []
        self.fails, self.price, self.bad_file = "", 4.2, ""
        self.files: dict[str, dict[str, Any]] = {}
        self.contents: dict[str, bytes] = {}
        self.jobs: dict[str, Job] = {}

    def refusal(self, refusal: Refusal) -> Any:
        if refusal.code == "exists":
            return {"file_id": refusal.message}
        return {"error": {"message": refusal.message, "type": "invalid_request_error", "code": refusal.code}}

    def open_to_all(self, request: Request) -> bool:
        return request.path.startswith("/storage/")

    @route("POST", "/v1/files")
    def upload(self, request: Request) -> Any:
        want(request.headers["content-type"].startswith("multipart/form-data"), "the form must be multipart")
        text = request.body.decode()
        form = dict(re.findall(r'name="(\w+)"\r\n(?:[^\r\n]+\r\n)*\r\n([^\r\n]*)\r\n', text))
        want(set(form) == {"purpose", "file_name", "file_type", "checksum"}, f"form fields {sorted(form)}")
        want(form["purpose"] == "fine-tune" and form["file_type"] == "jsonl", "wrong purpose or type")
        for id_, file in self.files.items():
            if file["checksum"] == form["checksum"] and id_ in self.contents:
                raise Refusal(409, id_, "exists", x_should_retry="false")
        id_ = f"file-{len(self.files) + 1:04d}"
        self.files[id_] = {"name": form["file_name"], "checksum": form["checksum"], "status": "PENDING"}
        place = f"{self.address}/storage/put/{id_}?signature=secret"
        return Reply({}, 302, {"Location": place, "X-Together-File-Id": id_})

    @route("PUT", "/storage/put/([^/]+)")
    def put(self, request: Request, id_: str) -> Any:
        want(request.query.get("signature") == "secret", "bad signature")
        want("authorization" not in request.headers, "the key has no business at the storage")
        want(hashlib.sha256(request.body).hexdigest() == self.files[id_]["checksum"], "bad checksum")
        self.contents[id_] = request.body
        return {}

    @route("POST", "/v1/files/([^/]+)/preprocess")
    def preprocess(self, request: Request, id_: str) -> Any:
        want(id_ in self.contents, "nothing was put")
        self.files[id_]["status"] = "QUEUED"
        return self._file(id_)

    @route("GET", "/v1/files/([^/]+)")
    def retrieve_file(self, request: Request, id_: str) -> Any:
        if id_ not in self.files:
            raise Refusal(404, f"File not found: {id_}", "not_found")
        shown = self._file(id_)
        if self.files[id_]["status"] == "QUEUED":  # what was put but never handed in stays pending
            self.files[id_]["status"] = "INVALID_FORMAT" if self._file_fault(id_) else "COMPLETED"
        return shown

    def _file_fault(self, id_: str) -> str | None:
        content = self.contents[id_]
        return self.bad_file or fault_of_file(content, 1) or fault_of_order(content)

    def _file(self, id_: str) -> dict[str, Any]:
        file = self.files[id_]
        shown: dict[str, Any] = {
            "id": id_,
            "object": "file",
            "bytes": len(self.contents.get(id_, b"")),
            "created_at": 1_700_000_000,
            "filename": file["name"],
            "purpose": "fine-tune",
            "FileType": "jsonl",
            "processing_status": file["status"],
        }
        if file["status"] == "INVALID_FORMAT":
            report = {"valid": False, "error": self._file_fault(id_), "error_type": "INVALID_FORMAT"}
            shown["validation_report"] = report
        return shown

    @route("GET", "/v1/fine-tunes/models/limits")
    def limits(self, request: Request) -> Any:
        want(request.query.get("model_name") in BASES, "Model is not available for fine-tuning")
        return {
            "model_name": request.query["model_name"],
            "default_gradient_accumulation_steps": 1,
            "lora_training": {
                "default_rank": 8,
                "max_batch_size": 64,
                "max_batch_size_dpo": 32,
                "max_rank": 64,
                "min_batch_size": 8,
                "target_modules": ["q_proj", "v_proj"],
            },
            "full_training": None,
            "max_learning_rate": 1.0,
            "min_learning_rate": 0.0,
            "max_num_checkpoints": 10,
            "max_num_epochs": 20,
            "max_num_evals": 10,
            "max_seq_length_sft": 4096,
            "max_seq_length_dpo": 4096,
            "min_max_seq_length": 128,
            "merge_output_lora": False,
            "supports_full_training": False,
            "supports_reasoning": False,
            "supports_tools": True,
            "supports_vision": False,
        }

    @route("POST", "/v1/fine-tunes/estimate-price")
    def estimate(self, request: Request) -> Any:
        body = request.json()
        allowed = {
            "model",
            "n_epochs",
            "n_evals",
            "training_method",
            "training_type",
            "validation_file",
            "from_checkpoint",
        }
        only(body, {"training_file"}, allowed)
        if self.price is None:
            return {"estimation_available": False, "unavailable_reason": "train_file_not_validated"}
        return {
            "estimation_available": True,
            "allowed_to_proceed": True,
            "estimated_total_price": self.price,
            "estimated_train_token_count": 1000,
            "estimated_eval_token_count": 0,
            "user_limit": 100.0,
        }

    @route("POST", "/v1/fine-tunes")
    def create(self, request: Request) -> Any:
        body = request.json()
        only(
            body,
            NEEDED,
            {"suffix", "random_seed", "early_stopping_enabled", "lora", "train_vision", "multimodal_params"},
        )
        want(body["model"] in BASES, f"Model {body['model']} is not available for fine-tuning")
        want(body["training_file"] in self.contents, "no such training file")
        want(self.files[body["training_file"]]["status"] == "COMPLETED", "the file is not validated")
        want(body["training_type"]["type"] == "Lora", "the test wants adapters")
        want(
            body["training_method"] == {"method": "sft", "train_on_inputs": False}, "the agent's turns alone"
        )
        want(len(body.get("suffix", "")) <= 40, "suffix is at most 40 characters")
        want(isinstance(body["n_epochs"], int) and 1 <= body["n_epochs"] <= 20, "n_epochs is from 1 to 20")
        job = Job(f"ft-{len(self.jobs) + 1:04d}", body, reason=self.fails)
        self._tell(job, "job_pending", "Fine tune request created")
        self.jobs[job.id] = job
        return self._shown(job)

    def _tell(self, job: Job, kind: str, message: str, level: str = "info", **more: Any) -> None:
        at = f"2026-11-23T00:00:{len(job.events):02d}Z"
        event = {
            "object": "fine-tune-event",
            "created_at": at,
            "level": level,
            "message": message,
            "type": kind,
        }
        job.events.append({**event, **more})

    @route("GET", "/v1/fine-tunes")
    def list_jobs(self, request: Request) -> Any:
        return {"data": [self._shown(job) for job in reversed(self.jobs.values())]}

    def _job(self, id_: str) -> Job:
        if id_ not in self.jobs:
            raise Refusal(404, f"No such fine-tune: {id_}", "not_found")
        return self.jobs[id_]

    @route("GET", "/v1/fine-tunes/([^/]+)")
    def retrieve(self, request: Request, id_: str) -> Any:
        job = self._job(id_)
        shown = self._shown(job)
        if not job.end:
            job.looks += 1
            if job.reason and job.looks > 2:
                job.end = "error"
                self._tell(job, "job_error", job.reason, level="error")
            elif job.status == "running":
                self._tell(job, "epoch_complete", "Epoch complete", step=job.looks - 1, total_steps=2)
            elif job.status == "completed":
                job.end = "completed"
                self._tell(job, "job_complete", "Job finished")
        return shown

    def _shown(self, job: Job) -> dict[str, Any]:
        body = job.body
        name = f"account/{body['model'].rpartition('/')[2]}:{body.get('suffix', '')}:{job.id}"
        return {
            "id": job.id,
            "created_at": "2026-11-23T00:00:00Z",
            "updated_at": "2026-11-23T00:05:00Z",
            "started_at": None,
            "status": job.status,
            "user_id": "user-1",
            "model": body["model"],
            "training_file": body["training_file"],
            "suffix": body.get("suffix"),
            "model_output_name": name,
            "adapter_output_name": None,
            "n_epochs": body["n_epochs"],
            "batch_size": 8,
            "learning_rate": body["learning_rate"],
            "training_type": body["training_type"],
            "training_method": body["training_method"],
            "token_count": 54_321 if job.status == "completed" else None,
            "total_price": None,
            "events": [],
        }

    @route("GET", "/v1/fine-tunes/([^/]+)/events")
    def events(self, request: Request, id_: str) -> Any:
        return {"data": list(reversed(self._job(id_).events))}

    @route("GET", "/v1/fine-tunes/([^/]+)/checkpoints")
    def checkpoints(self, request: Request, id_: str) -> Any:
        self._job(id_)
        saved = {
            "checkpoint_type": "final",
            "created_at": "2026-11-23T00:04:00Z",
            "path": "s3://x/2",
            "step": 2,
        }
        return {"data": [{**saved, "checkpoint": "adapter"}]}

    @route("GET", "/v1/fine-tunes/([^/]+)/metrics")
    def metrics(self, request: Request, id_: str) -> Any:
        self._job(id_)
        return {"metrics": [{"step": 1.0, "train_loss": 2.0}, {"step": 2.0, "train_loss": 1.0}]}

    @route("POST", "/v1/fine-tunes/([^/]+)/cancel")
    def cancel(self, request: Request, id_: str) -> Any:
        job = self._job(id_)
        want(job.end is None, "the job has ended already")
        job.end = "cancelled"
        return self._shown(job)

    @route("GET", "/v1/finetune/download")
    def download(self, request: Request) -> Any:
        only(request.query, {"ft_id", "checkpoint"}, set())
        job = self._job(request.query["ft_id"])
        want(
            job.status == "completed" and request.query["checkpoint"] == "adapter", "there is no such adapter"
        )
        asked = re.fullmatch(r"bytes=(\d+)-", request.headers.get("range", ""))
        start = int(asked[1]) if asked else 0
        if asked and start >= len(self.archive):
            raise Refusal(416, "Range not satisfiable")
        cut = self.cuts.pop(0) if self.cuts else None
        headers = (
            {"Content-Range": f"bytes {start}-{len(self.archive) - 1}/{len(self.archive)}"} if asked else {}
        )
        return Reply(self.archive[start:], 206 if asked else 200, headers, cut)

    @route("POST", "/v1/chat/completions")
    def complete(self, request: Request) -> Any:
        assert self.speaker is not None
        body = json.loads(request.body)
        if body.get("model") not in BASES:
            raise Refusal(404, f"Unable to access model {body.get('model')}", "model_not_available")
        return self.speaker.completion(body, "max_tokens", tuned=False)
