"""Everything that a study measured, put together: its folder's records to results."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tether import models
from tether.environment import environment, machine, now
from tether.files import read_json
from tether.hosted.services import hosted_name
from tether.methods.tuned import read_record
from tether.results import (
    BeforeAfter,
    GroupDrift,
    Item,
    MethodResult,
    Records,
    SeedResult,
    StudyResults,
    Train,
    aggregate,
    any_written,
    breakdown,
    compare_methods,
    read_items,
    summarise_method,
    summarise_secondary,
)
from tether.sources import fingerprint
from tether.training.certificate import CERTIFICATE_FILE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tether.config import Plan
    from tether.study import Story


def gather(story: Story, plans: Sequence[Plan]) -> StudyResults:
    """Everything that was measured, put together."""
    records = {plan.name: read_records(story, plan) for plan in plans}
    f1 = any_written(records.values())
    return StudyResults(
        study=story.study.model_dump(exclude_defaults=True),
        environment=environment(),
        provenance=_provenance(story, plans),
        methods={plan.name: _method_result(story, plan, records[plan.name], f1) for plan in plans},
        comparisons=compare_methods(records, reference="tether" if "tether" in records else None),
        sweeps={plan.sweep: story.swept(plan) for plan in plans if len(plan.learning_rates) > 1},
    )


def read_records(story: Story, plan: Plan) -> Records:
    """All that was measured of a method."""
    base = models.measured_on(plan)
    before = _items(story.base_folder(base)) if base else {}
    after = {str(seed): _items(story.folder(plan, seed)) for seed in story.seeds}
    return Records(base or plan.base, before, after)


def _items(folder: Path) -> dict[str, Sequence[Item]]:
    return {path.stem: read_items(path) for path in sorted((folder / "items").glob("*.jsonl"))}


def _method_result(story: Story, plan: Plan, records: Records, f1: bool) -> MethodResult:
    seeds = {str(seed): _seed_result(story, plan, seed, records) for seed in story.seeds}
    service = models.service_of(plan)
    return MethodResult(
        base=records.base,
        service=service.title if service else None,
        seeds=seeds,
        summary=summarise_method(records, f1),
        secondary=summarise_secondary(records),
        knowledge=breakdown(records),
    )


def _seed_result(story: Story, plan: Plan, seed: int, records: Records) -> SeedResult:
    folder, after = story.folder(plan, seed), records.after[str(seed)]
    cost = (read_record(folder) or {})["cost"]
    axes = {
        axis: BeforeAfter(
            before=aggregate(records.before[axis], path=_path(story, story.base_folder(records.base), axis)),
            after=aggregate(after[axis], path=_path(story, folder, axis)),
        )
        for axis in story.axes
        if axis in records.before
    }
    train = Train(**{key: cost[key] for key in Train.model_fields})
    return SeedResult(axes=axes, drift=_drift_groups(folder), train=train)


def _path(story: Story, folder: Path, axis: str) -> str:
    return str((folder / "items" / f"{axis}.jsonl").relative_to(story.out))


def _machines(story: Story, plans: Sequence[Plan]) -> list[str]:
    """Where the models were trained, which need not be where their results are gathered."""
    here = [plan for plan in plans if models.service_of(plan) is None]
    records = [read_record(story.folder(plan, seed)) or {} for plan in here for seed in story.seeds]
    # Records from before 2026-11-26 do not tell.
    return sorted({machine(record["environment"]) for record in records if "environment" in record})


def _provenance(story: Story, plans: Sequence[Plan]) -> dict[str, Any]:
    measured = {name: fingerprint(name) for sources in story.axes.values() for name in sources}
    names = dict.fromkeys(plan.base for plan in plans)
    names |= dict.fromkeys(base for plan in plans if (base := models.measured_on(plan)))
    return {
        "data": {story.study.data: fingerprint(story.study.data, "train")},
        "trained_on": _machines(story, plans),
        "measured": measured,
        "judge": story.study.judge,
        "bases": {
            name: {"revision": story.base(name).revision, "licence": story.base(name).licence}
            for name in names
        },
        "anchors": {name: story.anchors(name).sha256 for name in names if not hosted_name(name)},
        "leaks": {"exact": story.study.leaks, "found": [asdict(leak) for leak in story.leaks]},
        **({"left_out": story.left_out} if story.left_out else {}),
        "seeds": story.seeds,
        "started": story.started,
        "finished": now(),
    }


def _drift_groups(folder: Path) -> dict[str, GroupDrift]:
    """Drift by anchor group, as `drift.json` has it; none of a model whose weights are not here."""
    groups: Mapping[str, Any] = (read_json(folder / CERTIFICATE_FILE) or {"groups": {}})["groups"]
    return {name: GroupDrift(**group) for name, group in groups.items()}
