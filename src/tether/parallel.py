"""A study's models side by side, each in a process of its own: one small model leaves most of a GPU idle.

What a job does, `compare` would do in turn, into the same folder, and then it is passed over there. So a job
that fails costs its time alone: `compare` does it again, and says what is wrong. Jobs write to `RUN/logs`.

On an NVIDIA GPU the processes' kernels run in turn, and at the same time under its multi-process service
(`nvidia-cuda-mps-control -d`).
"""

from __future__ import annotations

import multiprocessing
import os
import re
import sys
from dataclasses import dataclass
from multiprocessing.connection import wait
from threading import Thread
from typing import TYPE_CHECKING

from rich.markup import escape

from tether import models
from tether.checking import checked_axes, claim, planned
from tether.errors import UserError
from tether.progress import say, task
from tether.study import Story

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.context import ForkServerProcess
    from pathlib import Path

    from tether.config import Plan, Study

# Imported once, in the server that all jobs are forked from; none of them touches a GPU by being imported.
PRELOADED = ["tether.study", "tether.training.loop", "transformers.models.auto.modeling_auto"]


@dataclass(frozen=True)
class Job:
    """A base to be measured, a learning rate to be tried, or a method to be tuned with a seed and measured.

    Attributes:
        of: The base or the method.
        rate: The learning rate, or None.
        seed: The seed, or None.
        needs: Jobs that must have ended, however they did: what a failed one has left out is done here.
    """

    of: str
    rate: float | None = None
    seed: int | None = None
    needs: frozenset[Job] = frozenset()

    @property
    def name(self) -> str:
        """What progress and log call it."""
        if self.rate is not None:
            return f"{self.of} at {self.rate:g}"
        return f"{self.of}, seed {self.seed}" if self.seed is not None else self.of

    def do(self, story: Story) -> None:
        """The work itself."""
        if self.rate is not None:
            story.try_rate(story.study.plan(self.of), self.rate)
        elif self.seed is not None:
            story.tune(story.study.plan(self.of), self.seed)
            story.measure_tuned(story.study.plan(self.of), self.seed)
        else:
            story.measure_base(self.of)


def side_by_side(
    study: Study,
    out: Path,
    jobs: int,
    methods: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    study_path: Path | None = None,
    yes: bool = False,
) -> None:
    """Make and measure a study's local models, so many at a time.

    Args:
        study: What to compare.
        out: The run's folder.
        jobs: Processes at a time, each with a model of its own in memory.
        methods: Only these of the study's methods.
        seeds: Other seeds than the study's.
        study_path: Where the study was read from.
        yes: Whether the user has agreed to what services will charge, of which they are asked here.

    Raises:
        UserError: The study cannot be run as it is, ``out`` holds another, or it is a sequence of domains.
    """
    if study.then:
        raise UserError(
            "the domains of a sequence are learned one after the other", where="--jobs", fix="leave it out"
        )
    names, numbers = list(methods or study.methods), list(seeds or study.seeds)
    everyone = planned(study, names)
    plans = [plan for plan in everyone if models.service_of(plan) is None]
    story = Story(study, out, numbers, *checked_axes(study, everyone))
    story.callable_now([plan for plan in everyone if plan not in plans], yes)
    claim(out, study, study_path)
    for base in dict.fromkeys(plan.base for plan in plans):
        story.look_through_anchors(base)  # made here once, if they must be
    _run_all(study, out, jobs, [plan.name for plan in plans], jobs_of(study, plans, numbers))


def jobs_of(study: Study, plans: Sequence[Plan], seeds: Sequence[int]) -> list[Job]:
    """All jobs of a study in the order in which they are begun."""
    rates = {
        name: frozenset(Job(name, rate=rate) for rate in study.plan(name).learning_rates)
        for name in dict.fromkeys(plan.sweep for plan in plans)
        if len(study.plan(name).learning_rates) > 1
    }
    bases = [Job(base) for base in dict.fromkeys(plan.base for plan in plans)]
    tuned = [
        Job(plan.name, seed=seed, needs=rates.get(plan.sweep, frozenset()))
        for seed in seeds
        for plan in plans
    ]
    swept = sorted((job for jobs in rates.values() for job in jobs), key=lambda job: job.name)
    return [*swept, *bases, *tuned]


def _run_all(study: Study, out: Path, most: int, methods: list[str], jobs: Sequence[Job]) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    (out / "logs").mkdir(exist_ok=True)
    threads = max(1, (os.cpu_count() or 1) // most)
    waiting, running, ended = list(jobs), dict[int, tuple[Job, "ForkServerProcess"]](), set[Job]()
    with task("Models side by side", len(jobs)) as progress:
        try:
            while waiting or running:
                for job in _ready(waiting, ended)[: most - len(running)]:
                    waiting.remove(job)
                    process = context.Process(target=_work, args=(study, out, methods, job, threads))
                    process.start()
                    running[process.sentinel] = job, process
                for sentinel in wait(list(running)):
                    assert isinstance(sentinel, int)
                    job, process = running.pop(sentinel)
                    ended.add(job)
                    _tell(job, process, out)
                    progress.advance(note=", ".join(job.name for job, _ in running.values()))
        finally:
            for _, process in running.values():
                process.terminate()


def _ready(waiting: Sequence[Job], ended: set[Job]) -> list[Job]:
    return [job for job in waiting if job.needs <= ended]


def _tell(job: Job, process: ForkServerProcess, out: Path) -> None:
    process.join()
    if process.exitcode:
        say(f"[bold]{escape(job.name)} failed[/] and is tried again at the end: see {_log(out, job)}")


def _log(out: Path, job: Job) -> Path:
    return out / "logs" / f"{re.sub('[^A-Za-z0-9.]+', '-', job.name)}.log"


def _work(study: Study, out: Path, methods: list[str], job: Job, threads: int) -> None:
    """One job, in a process of its own."""
    import torch

    Thread(target=_end_with_parent, daemon=True).start()
    with _log(out, job).open("a", encoding="utf-8") as log:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(log.fileno(), stream.fileno())
        torch.set_num_threads(threads)
        plans = planned(study, methods)
        story = Story(study, out, list(study.seeds), *checked_axes(study, plans))
        for base in dict.fromkeys(plan.base for plan in plans):
            story.look_through_anchors(base)
        job.do(story)


def _end_with_parent() -> None:
    """A study that is killed leaves nobody who writes into its folder."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
