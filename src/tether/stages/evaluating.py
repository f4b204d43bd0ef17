"""Measure one model, against an earlier evaluation where there is one."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from tether import bases, models
from tether.axes.judges.hosted import HostedJudge
from tether.axes.judges.registry import open_judge
from tether.axes.knowledge import asked_alike
from tether.axes.registry import load_axes, measure
from tether.config import Asking
from tether.environment import environment
from tether.errors import UserError
from tether.files import read_json, write_json
from tether.hosted.model import HostedModel
from tether.requirements import Requirement, check_askable, check_requirements
from tether.results import (
    SAFETY_PARTS,
    AxisResult,
    Item,
    aggregate,
    read_items,
    safety_parts,
    summarise,
)
from tether.seen import seen_by, without_leaks
from tether.stages.outcome import Outcome, drift_lines, drifts
from tether.stages.underway import UnderWay, questions
from tether.training.certificate import CERTIFICATE_FILE

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from tether.config import Leaks

    Cell = dict[str, Any]

WAY_OUT = "say --leaks drop to leave them out, --leaks allow to keep them"
_STYLE = " (secondary: it measures style, and falls under any fine-tuning)"


def evaluate(
    base: str,
    adapter: Path | None,
    sources: Mapping[str, Sequence[str]],
    limit: int | None,
    out: Path,
    against: Path | None = None,
    requirements: Sequence[Requirement] = (),
    asking: Asking | None = None,
    judge: str = "rules",
    leaks: Leaks = "refuse",
) -> Outcome:
    """Measure a model on the axes that are named, and write JSON with the per-item records beside it.

    What was killed goes on behind the axes that it had measured.
    Where the adapter brings a certificate of its drift, that is told too, as it stands.
    ``asking`` says how a hosted model is asked; ``judge`` names who judges the answers on safety;
    ``leaks`` what becomes of prompts that the model has seen, as far as that can be told.

    Raises:
        UserError: A source or model will not do, or the model has seen a prompt.
        RequirementNotMet: A measurement misses a requirement.
    """
    if out.is_dir():
        raise UserError("this is a folder", where=f"--out {out}", fix="name a file, such as after.json")
    limits = {name: limit for names in sources.values() for name in names} if limit else {}
    certificate = read_json(adapter / CERTIFICATE_FILE) if adapter else None
    measured = {axis for axis, named in sources.items() if named}
    parts = SAFETY_PARTS if "safety" in measured else ()
    check_askable(
        requirements, [*measured, *parts, *(["drift"] if certificate else [])], [str(adapter or base)]
    )
    resolved, asking = models.resolve(base), asking or Asking()
    loaded, found = without_leaks(load_axes(sources, limits), seen_by(resolved, adapter), leaks, WAY_OUT)
    earlier = _earlier(against, loaded, judge) if against else {}
    chosen = open_judge(judge, asking)
    folder = out.parent / f"{out.stem}-items"
    live = models.open_model(resolved, adapter, folder / "answers.jsonl", asking)
    under_way = UnderWay(
        folder,
        {
            "base": [base, resolved.revision],
            "adapter": [str(adapter), bases.contents(adapter)] if adapter else None,
            "questions": questions(loaded),
            "judge": judge,
        },
    )
    axes: dict[str, Cell] = {}
    for axis, wanted in loaded.items():
        items = under_way.items(axis, partial(measure, live, axis, wanted, chosen))
        if axis == "knowledge" and axis in earlier:
            earlier[axis] = asked_alike(earlier[axis], items)
        axes[axis] = _cell(items, earlier.get(axis), path=f"{folder.name}/{axis}.jsonl")
        if axis == "safety":
            axes[axis] |= {"judge": judge, "parts": _safety_parts(items, earlier.get(axis, []))}
    record = {
        "base": base,
        "adapter": str(adapter) if adapter else None,
        "axes": axes,
        "environment": environment(),
    }
    if certificate:
        record["drift"] = certificate
    if found:
        record["leaks"] = {"exact": leaks, "found": [asdict(leak) for leak in found]}
    write_json(out, record)
    under_way.done()
    for asked in (live, chosen):
        if isinstance(asked, HostedModel | HostedJudge):
            asked.finish()
    told = {**axes, **axes.get("safety", {}).get("parts", {})}
    drift = {"drift": drifts(certificate)} if certificate else {}
    check_requirements(requirements, {str(adapter or base): {**_flat(told), **drift}})
    lines = [_axis_line(axis, cell) for axis, cell in told.items()]
    return Outcome(record, "\n".join([*lines, *drift_lines(certificate)]))


def _cell(items: Sequence[Item], earlier: Sequence[Item] | None, path: str) -> Cell:
    """One axis as the record has it, with what has changed where it was measured before."""
    cell = aggregate(items, path=path).model_dump()
    return cell if earlier is None else {**cell, "against": summarise(earlier, {"0": items}).model_dump()}


def _safety_parts(items: Sequence[Item], earlier: Sequence[Item]) -> dict[str, Cell]:
    """The parts of safety, each told like an axis, against an earlier evaluation's where it has them."""
    before = safety_parts(earlier)
    return {
        part: {**_cell(found, before.get(part), path=""), "metrics": {}}
        for part, found in safety_parts(items).items()
    }


def _flat(told: Mapping[str, Cell]) -> dict[str, Cell]:
    """What requirements may name: of each axis its own fields, and over them those of its change."""
    return {axis: {**cell, **cell.get("against", {})} for axis, cell in told.items()}


def _earlier(path: Path, wanted: Collection[str], judge: str) -> dict[str, list[Item]]:
    """The items of an earlier evaluation, by axis, if the same judge has judged them."""
    told = read_json(path)
    try:
        cells = {axis: cell for axis, cell in told["axes"].items() if axis in wanted}
        paths = {axis: path.parent / cell["items"] for axis, cell in cells.items()}
    except (AttributeError, KeyError, TypeError) as error:
        fix = "make one with `tether evaluate --out`"
        raise UserError("there is no evaluation here", where=str(path), fix=fix) from error
    # Evaluations from before there was a choice were judged by the rules.
    before = cells["safety"].get("judge", "rules") if "safety" in cells else judge
    if before != judge:
        what = f"its safety was judged by {before}, which cannot be compared with {judge}"
        raise UserError(what, where=str(path), fix="have both judged by one")
    return {axis: read_items(items) for axis, items in paths.items()}


def _axis_line(axis: str, cell: dict[str, Any]) -> str:
    result = AxisResult(**{key: cell[key] for key in AxisResult.model_fields})
    interval = f" [{result.ci95[0]:.3f}, {result.ci95[1]:.3f}]" if result.ci95 else ""
    metrics = ", ".join(
        f"{name} {value:.3f}{_STYLE if name == 'bits_per_byte' else ''}"
        for name, value in result.metrics.items()
        if value is not None
    )
    score = "not measured" if result.score is None else f"{result.score:.3f}{interval}, n {result.n}"
    return f"{axis}: {score}{_moved(cell.get('against') or {})}" + (f"\n  {metrics}" if metrics else "")


def _moved(change: dict[str, Any]) -> str:
    if not change:
        return ""
    if change["delta"] is None:
        return "; nothing of it was measured alike before"
    chance = "" if change["p_value"] is None else f" (p {change['p_value']:.3g})"
    kept = "" if change["retained"] is None else f", {change['retained']:.1%} of the right answers kept"
    alike = f" on {change['n']} measured alike" if change["unpaired"] else ""
    return f"; {change['delta']:+.3f} against before{alike}{chance}{kept}"
