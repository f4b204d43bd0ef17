"""Single stages of the story, for the command line: tune once, measure once, make anchors, preview data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from tether import bases, models
from tether.anchors.store import build
from tether.axes.judges.agreement import agreement, agreement_lines
from tether.axes.judges.fitting import train as train_classifier
from tether.axes.judges.hosted import HostedJudge
from tether.axes.judges.labelled import parse_labelled
from tether.axes.judges.registry import open_judge
from tether.axes.registry import load_axes, measure
from tether.chatdata.rendering import Renderer
from tether.config import Asking, Budget, Training, split_settings, with_defaults
from tether.environment import environment
from tether.errors import UserError
from tether.files import read_json, write_json
from tether.hosted.model import HostedModel
from tether.inspection.inspect import inspect as find_changes
from tether.inspection.tables import inspection_text
from tether.methods import find
from tether.methods.run import Run, read_record
from tether.methods.tether import budgets, hold
from tether.requirements import Requirement, check_requirements
from tether.results import AxisResult, Item, aggregate, read_items, safety_parts, summarise, write_items
from tether.seen import seen_by, without_leaks
from tether.sources import load_dialogues, load_training
from tether.sources.rows import read_rows
from tether.training.certificate import CERTIFICATE_FILE, Certifier
from tether.training.geometry import measure_geometry
from tether.training.rewind import Rewind, dialogue_loss, select_drift
from tether.training.update import AdapterUpdate

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from tether.anchors.build import AnchorSettings
    from tether.chatdata.chats import Chat
    from tether.config import Leaks

LEARNED, LEARNED_END = "\x1b[32m", "\x1b[0m"
WAY_OUT = "say --leaks drop to leave them out, --leaks allow to keep them"
_STYLE = " (secondary: it measures style, and falls under any fine-tuning)"


@dataclass(frozen=True)
class Outcome:
    """What a command did: a record for `--json`, and the text that says it."""

    record: dict[str, Any]
    text: str


def tune(
    base: str,
    data: str,
    method: str,
    out: Path,
    budget: Budget | None = None,
    anchors: Path | None = None,
    settings: Mapping[str, Any] | None = None,
    requirements: Sequence[Requirement] = (),
    yes: bool = False,
) -> Outcome:
    """Fine-tune a base on data by one method, or go on with it; ``yes`` agrees to what a service charges.

    Raises:
        UserError: The method, an option or the data will not do, or ``out`` holds another fine-tuning.
        RequirementNotMet: The certified drift misses a requirement.
    """
    training, seed, options = split_settings(settings or {})
    chosen = find(method)
    if chosen.service:
        models.refuse_untold(chosen.service, settings or {})
    if budget is not None:
        options["budget"] = budget
    if training.learning_rate is not None:
        options["learning_rate"] = training.learning_rate
    options = chosen.checked(options)
    if requirements and "budget" not in chosen.options:
        raise UserError(f"'{method}' certifies no drift, so nothing can be required of it", where="--require")
    asked = {
        "base": base,
        "data": data,
        "method": method,
        "options": options,
        "seed": seed,
        "training": training,
    }
    train, select = load_training(data, training)
    chosen.check_data(train)
    _claim(out, {**asked, "training": training.model_dump(mode="json"), "anchors": str(anchors or "")})
    if read_record(out) is None:
        run = Run(
            models.resolve_for(chosen, base), train, select, out, training, seed, anchors, yes, data=data
        )
        chosen(run, options)
    record = {"out": str(out), **(read_record(out) or {})}
    certificate = read_json(out / CERTIFICATE_FILE)
    if certificate:
        record["drift"] = certificate
        drifts = {name: group["drift"] for name, group in certificate["groups"].items()}
        check_requirements(requirements, {method: {"drift": drifts}})
    return Outcome(record, _told(out, record, certificate))


def _told(out: Path, record: dict[str, Any], certificate: dict[str, Any] | None) -> str:
    cost = record["cost"]
    if "service" in record:
        adapter = f"; the adapter is in {out}" if record["parametrisation"] == "lora" else ""
        return f"{out}: {record['service']} made {record['model']} (job {record['job']}){adapter}"
    lines = [
        f"{out}: {record['parametrisation']}, {cost['seconds']:.0f} s, "
        f"{cost['tokens_per_second']:.0f} tokens/s"
    ]
    return "\n".join([*lines, *_drift_lines(certificate or {"groups": {}})])


def _drift_lines(certificate: dict[str, Any]) -> list[str]:
    return [
        f"drift on {name}: {group['drift']:.4f} nats/token (upper 95% bound {group['upper95']:.4f}, "
        f"{_budget_told(group['budget'])}, {group['prompts']} prompts; 95th percentile of prompts "
        f"{group['prompt_p95']:.4f}, first five tokens {group['first5']:.4f})"
        for name, group in certificate["groups"].items()
    ]


def _budget_told(budget: float | None) -> str:
    return "no budget" if budget is None else f"budget {budget:g}"


def rewind(
    base: str,
    adapter: Path,
    data: str,
    out: Path,
    budget: Budget | None = None,
    anchors: Path | None = None,
    requirements: Sequence[Requirement] = (),
) -> Outcome:
    """Hold a LoRA that anything trained under a drift budget, without training: rewind it and certify it.

    Args:
        base: What the adapter was trained on.
        adapter: The LoRA's folder.
        data: What it was trained on; a tenth of it is kept aside, to judge by.
        out: Where the rewound adapter goes.
        budget: Drift allowed in nats per token, for all anchor groups or by group.
        anchors: The user's own anchors.
        requirements: Of the certified drift.

    Raises:
        UserError: The adapter is no LoRA or does not fit the base, or ``out`` is taken.
        RequirementNotMet: The certified drift misses a requirement.
    """
    if out.is_dir() and any(out.iterdir()):
        raise UserError("the folder is not empty", where=str(out), fix="name another folder")
    train, select = load_training(data, Training())
    run = Run(bases.resolve(base), train, select, out, Training(), anchors_folder=anchors, data=data)
    epsilons = budgets(budget, run.anchors.groups)
    model = run.load("lora")
    certifier = Certifier(model, run.anchors, run.tokenizer.pad_token_id, epsilons)
    geometry = measure_geometry(run.live(model), train, run.anchors)
    tuned = bases.put_lora(model, adapter)
    domain_loss = dialogue_loss(run.live(tuned), select)
    drift = partial(select_drift, tuned, run.anchors, epsilons, run.tokenizer.pad_token_id)
    found = Rewind(AdapterUpdate(tuned), domain_loss, drift, epsilons, geometry)
    held = hold(run, found, certifier, tuned)
    tuned.save_pretrained(out)
    record = {
        "base": run.base.name,
        "revision": run.base.revision,
        "adapter": str(adapter),
        **run.seen,
        **held,
    }
    write_json(out / bases.RECORD_FILE, record)
    certificate = read_json(out / CERTIFICATE_FILE) or {}
    drifts = {name: group["drift"] for name, group in certificate["groups"].items()}
    check_requirements(requirements, {"rewind": {"drift": drifts}})
    kept = f"{out}: {held['rewind']['alpha']:.0%} of the update, at a pull of {held['rewind']['pull']:.3g}"
    return Outcome(
        {"out": str(out), **record, "drift": certificate}, "\n".join([kept, *_drift_lines(certificate)])
    )


def inspect(base: str, tuned: Path, out: Path | None = None, anchors: Path | None = None) -> Outcome:
    """Tell where a fine-tuning changed its base: in which weights and blocks, and at which answer tokens.

    Args:
        base: What was tuned.
        tuned: Folder of a PEFT adapter or of a whole model of the base's shape.
        out: Where page, figure and `inspect.json` go; None writes nothing.
        anchors: The user's own anchors.

    Raises:
        UserError: The folder or the anchors do not belong to the base.
    """
    found = find_changes(bases.resolve(base), tuned, anchors)
    record = found.record()
    if out is None:
        return Outcome(record, inspection_text(found))
    from tether.inspection.page import write_page  # draws with matplotlib, which the tables do not need

    return Outcome(record, f"{inspection_text(found)}\n\nPage: {write_page(found, record, out)}")


def _claim(out: Path, asked: dict[str, Any]) -> None:
    """Take ``out`` for this fine-tuning, or find that it is this one's already."""
    path = out / "asked.json"
    held = read_json(path)
    if held is not None:
        held["training"] = with_defaults(held["training"])
    if held is not None and held != asked:
        differing = ", ".join(key for key in asked if held.get(key) != asked[key])
        raise UserError(
            f"the folder holds another fine-tuning (other {differing})",
            where=str(out),
            fix="name another folder",
        )
    if held is None and (out / bases.RECORD_FILE).is_file():
        raise UserError("the folder holds a tuned model already", where=str(out), fix="name another folder")
    out.mkdir(parents=True, exist_ok=True)
    write_json(path, asked)


def preview(base: str, data: str, count: int) -> Outcome:
    """The first dialogues as the model reads them, what it learns in green (or between marks in JSON)."""
    tokenizer = bases.load_tokenizer(bases.resolve(base))
    chats = load_dialogues(data, split="train")
    shown = [_marked(Renderer(tokenizer), chat) for chat in chats[:count]]
    return Outcome({"examples": shown}, "\n\n".join(text for example in shown for text in _coloured(example)))


def _marked(renderer: Renderer, chat: Chat) -> dict[str, Any]:
    """One dialogue in pieces of text, each learned or not."""
    encoded = renderer.encode(chat)
    pieces: list[tuple[list[int], bool]] = []
    for token, learned in zip(encoded.input_ids, encoded.learned, strict=True):
        if not pieces or pieces[-1][1] != learned:
            pieces.append(([], learned))
        pieces[-1][0].append(token)
    return {
        "source": chat.source,
        "tokens": len(encoded.input_ids),
        "learned_tokens": sum(encoded.learned),
        "pieces": [{"text": renderer.tokenizer.decode(ids), "learned": learned} for ids, learned in pieces],
    }


def _coloured(example: dict[str, Any]) -> tuple[str, str]:
    head = f"--- {example['source']}: {example['tokens']} tokens, {example['learned_tokens']} learned (green)"
    parts = (f"{LEARNED}{p['text']}{LEARNED_END}" if p["learned"] else p["text"] for p in example["pieces"])
    return head, "".join(parts)


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

    Where the adapter brings a certificate of its drift, that is told too, as it stands.
    ``asking`` says how a hosted model is asked; ``judge`` names who judges the answers on safety;
    ``leaks`` what becomes of prompts that the model has seen, as far as that can be told.

    Raises:
        UserError: A source or model will not do, or the model has seen a prompt.
        RequirementNotMet: A measurement misses a requirement.
    """
    loaded = load_axes(
        sources, {name: limit for names in sources.values() for name in names} if limit else {}
    )
    resolved = models.resolve(base)
    loaded, found = without_leaks(loaded, seen_by(resolved, adapter), leaks, WAY_OUT)
    earlier = _earlier(against, loaded, judge) if against else {}
    chosen = open_judge(judge, asking or Asking())
    folder = out.parent / f"{out.stem}-items"
    live = models.open_model(resolved, adapter, folder / "answers.jsonl", asking or Asking())
    axes: dict[str, dict[str, Any]] = {}
    for axis in loaded:
        items = measure(live, axis, loaded[axis], chosen)
        path = folder / f"{axis}.jsonl"
        write_items(path, items)
        axes[axis] = aggregate(items, path=str(path.relative_to(out.parent))).model_dump()
        if axis == "safety":
            axes[axis]["judge"] = judge
        if axis in earlier:
            axes[axis]["against"] = summarise(earlier[axis], {"0": items}).model_dump()
        if axis == "safety":
            axes[axis]["parts"] = _safety_parts(items, earlier.get(axis, []))
    record = {
        "base": base,
        "adapter": str(adapter) if adapter else None,
        "axes": axes,
        "environment": environment(),
    }
    certificate = read_json(adapter / CERTIFICATE_FILE) if adapter else None
    if certificate:
        record["drift"] = certificate
    if found:
        record["leaks"] = {"exact": leaks, "found": [asdict(leak) for leak in found]}
    write_json(out, record)
    for asked in (live, chosen):
        if isinstance(asked, HostedModel | HostedJudge):
            asked.finish()
    told = {**axes, **axes.get("safety", {}).get("parts", {})}
    flat = {axis: {**cell, **cell.get("against", {})} for axis, cell in told.items()}
    lines = [_axis_line(axis, cell) for axis, cell in told.items()]
    outcome = Outcome(record, "\n".join([*lines, *_drift_lines(certificate or {"groups": {}})]))
    check_requirements(requirements, {str(adapter or base): flat})
    return outcome


def _safety_parts(items: Sequence[Item], earlier: Sequence[Item]) -> dict[str, dict[str, Any]]:
    """The parts of safety, each told like an axis, against an earlier evaluation's where it has them."""
    before = safety_parts(earlier)
    cells = {}
    for part, found in safety_parts(items).items():
        cells[part] = aggregate(found).model_copy(update={"metrics": {}}).model_dump()
        if part in before:
            cells[part]["against"] = summarise(before[part], {"0": found}).model_dump()
    return cells


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
    if change.get("delta") is None:
        return ""
    chance = "" if change["p_value"] is None else f" (p {change['p_value']:.3g})"
    kept = "" if change["retained"] is None else f", {change['retained']:.1%} of the right answers kept"
    return f"; {change['delta']:+.3f} against before{chance}{kept}"


def judge(
    file: Path,
    name: str,
    asking: Asking | None = None,
    train: Path | None = None,
    fit_on: Sequence[str] = (),
) -> Outcome:
    """Compare a judge's verdicts with the labels in ``file``.

    Args:
        file: Labelled answers.
        name: Of the judge.
        asking: How a judge at a service is asked.
        train: Folder to fit a classifier into, which is then the judge.
        fit_on: Models whose answers it is fitted on; the others' are judged.

    Raises:
        UserError: The file or the judge will not do.
    """
    answers = parse_labelled(read_rows(file))
    if train:
        record = train_classifier(train, answers, fit_on)
    else:
        chosen = open_judge(name, asking or Asking())
        record = agreement(chosen, answers)
        if isinstance(chosen, HostedJudge):
            chosen.finish()
    return Outcome(record, "\n".join(agreement_lines(record)))


def anchors(base: str, out: Path, settings: AnchorSettings | None = None) -> Outcome:
    """Make a base's anchors in ``out``."""
    if out.is_dir() and any(out.iterdir()):
        raise UserError("the folder is not empty", where=str(out), fix="name another folder")
    made = build(bases.resolve(base), out, settings)
    record = {"out": str(out), "sha256": made.sha256, "counts": made.counts()}
    return Outcome(record, f"Anchors of {base}: {out}")
