"""The story: a base, its anchors, methods that fine-tune it, three axes before and after, a report.

`compare` reads from top to bottom in that order. Every stage leaves its result in the run's folder and is
passed over when it is there already, so that a study that was killed goes on where it stopped:

    RUN/study.json                       what was asked
    RUN/base/items/AXIS.jsonl            the base's answers (RUN/bases/NAME/ for a method's own base)
    RUN/methods/NAME/sweep/RATE/         learning rates tried
    RUN/methods/NAME/seed-N/             the tuned model, its record, drift.json and its answers
    RUN/results.json, report.html, report.md, figures/
"""

from __future__ import annotations

import gc
import re
from functools import cache, partial
from typing import TYPE_CHECKING

from rich.markup import escape

from tether import bases, models, sweeps
from tether.anchors.reference import Reference
from tether.anchors.store import anchors_for, base_states
from tether.axes.drift import drift_items
from tether.axes.judges.hosted import HostedJudge
from tether.axes.judges.registry import open_judge
from tether.axes.registry import Loaded, measure
from tether.checking import WAY_OUT, check_certified, checked_axes, claim, planned
from tether.environment import now
from tether.errors import Diverged, UserError
from tether.gathering import gather
from tether.hosted.model import HostedModel
from tether.hosted.price import agree
from tether.hosted.services import hosted_name
from tether.inference import LocalModel
from tether.methods import find
from tether.methods.place import ALONE
from tether.methods.run import Run
from tether.methods.tuned import read_record
from tether.progress import say
from tether.report import write_report
from tether.results import Item, StudyResults, write_items, write_results
from tether.seen import anchors_seen, without_leaks
from tether.sources import load_training
from tether.training.certificate import CERTIFICATE_FILE, Certificate

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tether.anchors.anchors import AnchorSet
    from tether.chatdata.leaks import Leak
    from tether.config import Plan, Study
    from tether.methods.place import Place
    from tether.results import SweepPoint


def compare(
    study: Study,
    out: Path,
    methods: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    study_path: Path | None = None,
    yes: bool = False,
) -> StudyResults:
    """Run a study, or go on with it.

    Args:
        study: What to compare.
        out: The run's folder.
        methods: Only these of the study's methods.
        seeds: Other seeds than the study's.
        study_path: Where the study was read from, for messages.
        yes: Whether the user has agreed to what services will charge.

    Raises:
        UserError: The study cannot be run as it is, or ``out`` holds another study.
    """
    plans = planned(study, methods or study.methods)
    here = [plan for plan in plans if models.service_of(plan) is None]
    story = Story(study, out, list(seeds or study.seeds), *checked_axes(study, plans))
    hosted = story.callable_now([plan for plan in plans if plan not in here], yes)
    story.remaining(plans)
    claim(out, study, study_path)
    for base in dict.fromkeys(plan.base for plan in here):
        story.look_through_anchors(base)
    for base in dict.fromkeys(plan.base for plan in here):
        story.measure_base(base)
    for name in dict.fromkeys(plan.sweep for plan in here):
        story.sweep(study.plan(name))
    for seed in story.seeds:  # seed by seed, so that a study cut short has all methods to compare
        for plan in here:
            story.tune(plan, seed)
            story.measure_tuned(plan, seed)
    for plan in hosted:
        story.have_tuned(plan)
    results = gather(story, story.remaining(plans))
    write_results(out / "results.json", results)
    write_report(out)
    return results


class Story:
    """A study under way in its folder."""

    def __init__(
        self, study: Study, out: Path, seeds: list[int], axes: Loaded, leaks: Sequence[Leak]
    ) -> None:
        self.study, self.out, self.seeds, self.axes, self.leaks = study, out, seeds, axes, list(leaks)
        self.dialogues = cache(partial(load_training, study.data))
        self.started = now()
        self.base = cache(models.resolve)
        self.anchors = cache(self._anchors)
        self.reference = cache(self._reference)
        self.left_out: dict[str, str] = {}
        """Hosted methods that could not be had, and why."""

    def _anchors(self, base: str) -> AnchorSet:
        return anchors_for(self.base(base))

    def look_through_anchors(self, name: str) -> None:
        """Look for measured prompts among a base's anchors, which it may have to make first.

        Raises:
            UserError: One stands there, and the study refuses such.
        """
        seen = anchors_seen(self.anchors(name))
        self.axes, found = without_leaks(self.axes, seen, self.study.leaks, WAY_OUT)
        self.leaks = sorted([*self.leaks, *found], key=lambda leak: leak.kind)

    def callable_now(self, plans: Sequence[Plan], yes: bool) -> list[Plan]:
        """The hosted plans that can be had: without a key they are left out; the cost is agreed to, once."""
        wanted = {plan.name: models.service_of(plan) for plan in plans}
        for name, service in wanted.items():
            if service and service.missing:
                self._leave_out(name, f"{service.title} cannot be called: {service.missing}")
        found = [plan for plan in plans if plan.name not in self.left_out]
        new = [p for p in found if any(read_record(self.folder(p, seed)) is None for seed in self.seeds)]
        if new:
            lines = "; ".join(models.job_line(plan, self.dialogues(plan.training)[0]) for plan in new)
            agree(f"The study has models tuned for pay, {len(self.seeds)} seed(s) each: {lines}", yes)
        return found

    def have_tuned(self, plan: Plan) -> None:
        """A hosted method, every seed; what keeps it from being had costs the study this method alone."""
        try:
            if base := models.measured_on(plan):
                self.measure_base(base)
            for seed in self.seeds:
                self.tune(plan, seed)
                self.measure_tuned(plan, seed)
        except UserError as error:
            self._leave_out(plan.name, str(error))

    def _leave_out(self, name: str, why: str) -> None:
        self.left_out[name] = why
        say(f"[bold]{name} is left out[/]: {escape(why)}")

    def remaining(self, plans: Sequence[Plan]) -> list[Plan]:
        """The plans that are not left out.

        Raises:
            UserError: There are none.
        """
        found = [plan for plan in plans if plan.name not in self.left_out]
        if not found:
            raise UserError(f"No method can be had: {'; '.join(self.left_out.values())}")
        return found

    def measure_base(self, name: str) -> None:
        """The base's answers on every axis."""
        self._measure(self.base_folder(name), name, None)

    def sweep(self, plan: Plan) -> None:
        """Try each learning rate for a few steps and keep its loss on what is kept aside."""
        if len(plan.learning_rates) < 2 or plan.sweep != plan.name:
            return
        for rate in plan.learning_rates:
            self.try_rate(plan, rate)

    def try_rate(self, plan: Plan, rate: float) -> None:
        """One learning rate of a sweep."""
        folder = sweeps.trial_folder(self._sweep_folder(plan), rate)
        if sweeps.is_judged(folder):
            return
        say(f"Trying {plan.name} at a learning rate of {rate:g}")
        settings = plan.training.model_copy(update={"max_steps": self.study.sweep_steps, "epochs": None})
        options, method = {**plan.options, "learning_rate": rate}, find(plan.method)
        run = Run(
            self.base(plan.base), *self.dialogues(plan.training), folder, settings, data=self.study.data
        )
        try:
            method(run, options)
            sweeps.judge_trial(run, method, options)
        except Diverged:
            sweeps.give_up_trial(folder)

    def tune(self, plan: Plan, seed: int) -> None:
        """One method with one seed."""
        folder = self.folder(plan, seed)
        if read_record(folder):
            return
        say(f"[bold]{plan.name}[/], seed {seed}")
        options = dict(plan.options)
        if plan.learning_rates:
            options["learning_rate"] = self.chosen_rate(plan)
        # Of a hosted method, the cost of the whole study was agreed to before it began.
        run = Run(
            self.base(plan.base),
            *self.dialogues(plan.training),
            folder,
            plan.training,
            seed,
            yes=True,
            place=self.place(plan, seed),
            data=self.study.data,
            reference=partial(self.reference, plan.base),
        )
        find(plan.method)(run, options)
        gc.collect()

    def place(self, plan: Plan, seed: int) -> Place:
        """Where in a sequence of domains the fine-tuning stands."""
        return ALONE

    def chosen_rate(self, plan: Plan) -> float:
        """The only learning rate, or the one with the least loss on what is kept aside."""
        if len(plan.learning_rates) == 1:
            return plan.learning_rates[0]
        return next(point.learning_rate for point in self.swept(plan) if point.chosen)

    def swept(self, plan: Plan) -> list[SweepPoint]:
        """Every learning rate tried, with its loss."""
        return sweeps.points(self._sweep_folder(plan), plan.learning_rates)

    def _sweep_folder(self, plan: Plan) -> Path:
        """The folder of the method whose rates are tried; of a sequence, once for all of its stages."""
        return self.out / "methods" / plan.sweep

    def measure_tuned(self, plan: Plan, seed: int) -> None:
        """The tuned model's answers on every axis, and its drift."""
        if base := models.measured_on(plan):
            self._measure(self.folder(plan, seed), base, self.folder(plan, seed))

    def _measure(self, folder: Path, base: str, tuned: Path | None) -> None:
        drifts = tuned is not None and not hosted_name(base)
        if drifts:
            check_certified(folder, self.anchors(base))
        wanted = [*self.axes, *(["drift"] if drifts else [])]
        missing = [axis for axis in wanted if not (folder / "items" / f"{axis}.jsonl").is_file()]
        if not missing:
            return
        say(f"Measuring {folder.relative_to(self.out)}: {', '.join(missing)}")
        resolved = self.base(base)
        live = models.open_model(resolved, tuned, folder / "answers.jsonl", self.study.asking)
        judge = open_judge(self.study.judge, self.study.asking)
        for axis in missing:
            items = (
                self._drift(live, folder, resolved)
                if axis == "drift" and isinstance(live, LocalModel)
                else measure(live, axis, self.axes[axis], judge)
            )
            write_items(folder / "items" / f"{axis}.jsonl", items)
        for asked in (live, judge):
            if isinstance(asked, HostedModel | HostedJudge):
                asked.finish()
        gc.collect()

    def _drift(self, live: LocalModel, folder: Path, base: bases.Base) -> list[Item]:
        """Drift per prompt; a method that leaves no certificate of its own gets one without a budget."""
        anchors, drifts = self.anchors(base.name), self.reference(base.name).drifts(live.model)
        if not (folder / CERTIFICATE_FILE).is_file():
            Certificate.of(drifts, anchors.sha256).write(folder, base)
        return drift_items(anchors, drifts)

    def _reference(self, name: str) -> Reference:
        """What the base thinks; kept, for every tuned model is compared with it."""
        base, anchors = self.base(name), self.anchors(name)
        return Reference(anchors).ask(bases.load_model(base), ("certify",), folder=base_states(base, anchors))

    def base_folder(self, name: str) -> Path:
        """Where the answers of a base lie."""
        return (
            self.out / "base" if name == self.study.base else self.out / "bases" / re.sub("[/:]", "--", name)
        )

    def _method(self, plan: Plan) -> Path:
        return self.out / "methods" / plan.name

    def folder(self, plan: Plan, seed: int) -> Path:
        """Where a method's model lies."""
        return self._method(plan) / f"seed-{seed}"
