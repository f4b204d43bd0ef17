"""A sequence of domains: each is learned from what the one before left, and everything is measured each time.

A study with ``then`` is such a sequence. Every domain of it is a stage, a study of its own (``study.py``) but
for two things: where its methods start, and what they may look back on.

* A method starts from its own model of the stage before. A LoRA is merged into the base, a new one is trained
  on top, and what leaves are both in one file (``training/stack.py``): a plain LoRA of the base, whose rank
  grows with each domain. To go on training the same LoRA would keep the rank, but then the way back, on which
  the rewind looks for a place that fits the budget, would lead past the stage before to the base, and give up
  the earlier domains too. Of all weights, training goes on.
* `tether` is held to the base's answers as ever, and on each earlier domain to the answers of its own model
  that learned it (``anchors/learned.py``): one more anchor group with a budget of its own, named after the
  domain. Budgets are for the whole sequence; a stage may use up its share (``methods/place.py``).
  `replay-self` replays the same anchors; `lora` and `full` look back on nothing.

Learning rates are swept on the first domain alone. After each stage all domains and axes are measured against
the base, also those still to come. The folder is a study's, with the stages' models in it:

    RUN/stages/2-restaurants/METHOD/seed-N/           the tuned model, its record, drift.json and its answers
    RUN/stages/2-restaurants/METHOD/seed-N/anchors/   what it says on restaurants, once a later stage asks
    RUN/results.json                                  the last stage's, and under "stages" all of them

A killed sequence goes on where it stopped: what stands in the folder is passed over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tether import study
from tether.anchors.learned import Learned
from tether.checking import checked_axes, claim, planned
from tether.gathering import gather, read_records
from tether.methods.place import Place
from tether.names import domain_name
from tether.progress import say
from tether.report import write_report
from tether.results import StudyResults, any_written, stage_result, write_results
from tether.sources import fingerprint

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tether.axes.registry import Loaded
    from tether.chatdata.leaks import Leak
    from tether.config import Plan, Study


def compare(
    asked: Study,
    out: Path,
    methods: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    study_path: Path | None = None,
    yes: bool = False,
) -> StudyResults:
    """Run a sequence, or go on with it; the arguments are those of a study's.

    Raises:
        UserError: The sequence cannot be run as it is, or ``out`` holds another study.
    """
    plans = planned(asked, methods or asked.methods)
    stages = _stages(asked, out, list(seeds or asked.seeds), *checked_axes(asked, plans))
    claim(out, asked, study_path)
    first = stages[0]
    for base in dict.fromkeys(plan.base for plan in plans):
        first.look_through_anchors(base)
    for stage in stages[1:]:
        stage.axes, stage.leaks = first.axes, first.leaks
    for base in dict.fromkeys(plan.base for plan in plans):
        first.measure_base(base)
    for name in dict.fromkeys(plan.sweep for plan in plans):
        first.sweep(asked.plan(name))
    for seed in first.seeds:  # seed by seed, and domain by domain, so that all methods get equally far
        for stage in stages:
            say(f"Domain {stage.number} of {len(stages)}: {stage.study.data}")
            for plan in plans:
                stage.tune(plan, seed)
                stage.measure_tuned(plan, seed)
    results = _results(asked, stages, plans)
    write_results(out / "results.json", results)
    write_report(out)
    return results


class Stage(study.Story):
    """One domain of a sequence, after others.

    Args:
        asked: The whole sequence.
        earlier: The stages before.
        out: The run's folder.
        seeds: Of each method.
        axes: What is measured after every stage.
        leaks: What of it was seen.
    """

    def __init__(
        self,
        asked: Study,
        earlier: Sequence[Stage],
        out: Path,
        seeds: list[int],
        axes: Loaded,
        leaks: Sequence[Leak],
    ) -> None:
        super().__init__(asked.stage(asked.domains[len(earlier)]), out, seeds, axes, leaks)
        self.earlier, self.number = earlier, len(earlier) + 1
        self.domains = [domain_name(domain) for domain in asked.domains]
        self.name = domain_name(self.study.data)
        for before in earlier[:1]:  # the base and what it thinks are the same at every stage
            self.base, self.anchors, self.reference = before.base, before.anchors, before.reference

    def place(self, plan: Plan, seed: int) -> Place:
        """After the earlier stages' models of the same method and seed."""
        learned = [
            Learned(stage.name, stage.folder(plan, seed), stage.dialogues(plan.training)[0])
            for stage in self.earlier
        ]
        return Place(learned, self.domains)

    def _method(self, plan: Plan) -> Path:
        return self.out / "stages" / f"{self.number}-{self.name}" / plan.name


def _stages(asked: Study, out: Path, seeds: list[int], axes: Loaded, leaks: Sequence[Leak]) -> list[Stage]:
    stages: list[Stage] = []
    for _ in asked.domains:
        stages.append(Stage(asked, list(stages), out, seeds, axes, leaks))
    return stages


def _results(asked: Study, stages: Sequence[Stage], plans: Sequence[Plan]) -> StudyResults:
    """The last stage's results, with the matrix of all stages."""
    records = [{plan.name: read_records(stage, plan) for plan in plans} for stage in stages]
    f1 = any_written(records[-1].values())
    last = gather(stages[-1], plans)
    data = {domain: fingerprint(domain, "train") for domain in asked.domains}
    return last.model_copy(
        update={
            "study": asked.model_dump(exclude_defaults=True),
            "provenance": {**last.provenance, "data": data},
            "stages": [
                stage_result(stage.study.data, found, f1)
                for stage, found in zip(stages, records, strict=True)
            ],
        }
    )
