"""Tune once: one base, one method, one folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tether import bases, models
from tether.checking import check_defaults, defaults
from tether.config import Budget, Training, with_defaults
from tether.errors import UserError
from tether.files import read_json, write_json
from tether.methods import find
from tether.methods.run import Run
from tether.methods.tuned import read_record
from tether.requirements import Requirement, check_askable, check_requirements
from tether.settings import split_settings
from tether.sources import load_training
from tether.stages.outcome import Outcome, drift_lines, drifts
from tether.training.certificate import CERTIFICATE_FILE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tether.methods import Method


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
    chosen = find(method)
    training, seed, options = _chosen_settings(chosen, budget, settings or {})
    check_askable(requirements, ["drift"], [method])
    if requirements and "budget" not in chosen.options:
        raise UserError(f"'{method}' certifies no drift, so nothing can be required of it", where="--require")
    train, select = load_training(data, training)
    chosen.check_data(train)
    asked = {
        "base": base,
        "data": data,
        "method": method,
        "options": options,
        "seed": seed,
        "training": training.model_dump(mode="json"),
        "anchors": str(anchors or ""),
        "defaults": {method: defaults(chosen, options)},
    }
    _claim(out, asked)
    if read_record(out) is None:
        run = Run(
            models.resolve_for(chosen, base), train, select, out, training, seed, anchors, yes, data=data
        )
        chosen(run, options)
    record = {"out": str(out), **(read_record(out) or {})}
    certificate = read_json(out / CERTIFICATE_FILE)
    if certificate:
        record["drift"] = certificate
        check_requirements(requirements, {method: {"drift": drifts(certificate)}})
    return Outcome(record, _told(out, record, certificate))


def _chosen_settings(
    method: Method, budget: Budget | None, settings: Mapping[str, Any]
) -> tuple[Training, int, dict[str, Any]]:
    """What ``--set`` and ``--budget`` say: how to train, the seed, and the method's own options, checked."""
    training, seed, options = split_settings(settings)
    if method.service:
        models.refuse_untold(method.service, settings)
    if budget is not None:
        options["budget"] = budget
    if training.learning_rate is not None:
        options["learning_rate"] = training.learning_rate
    return training, seed, method.checked(options)


def _claim(out: Path, asked: dict[str, Any]) -> None:
    """Take ``out`` for this fine-tuning, or find that it is this one's already."""
    path = out / "asked.json"
    held = read_json(path)
    if held is not None:
        check_defaults(held.get("defaults", {}), asked["defaults"], out)
        held |= {"defaults": asked["defaults"], "training": with_defaults(held["training"])}
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


def _told(out: Path, record: dict[str, Any], certificate: dict[str, Any] | None) -> str:
    if "service" in record:
        adapter = f"; the adapter is in {out}" if record["parametrisation"] == "lora" else ""
        return f"{out}: {record['service']} made {record['model']} (job {record['job']}){adapter}"
    cost = record["cost"]
    line = (
        f"{out}: {record['parametrisation']}, {cost['seconds']:.0f} s, "
        f"{cost['tokens_per_second']:.0f} tokens/s"
    )
    return "\n".join([line, *drift_lines(certificate)])
