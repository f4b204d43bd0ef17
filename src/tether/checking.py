"""What can be wrong with a study is found before anything runs; and its folder is taken for it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from tether import models
from tether.axes.judges.registry import open_judge
from tether.axes.registry import REGISTRY, Loaded, load_axes
from tether.config import with_defaults
from tether.errors import UserError
from tether.files import read_json, write_json
from tether.methods import find
from tether.seen import builtin_seen, dialogues_seen, replayed_seen, without_leaks
from tether.sources import load_training
from tether.training.certificate import CERTIFICATE_FILE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from tether.anchors.anchors import AnchorSet
    from tether.chatdata.leaks import Leak
    from tether.config import Plan, Study
    from tether.methods import Method

WAY_OUT = "say `leaks: drop` in the study to leave them out, `leaks: allow` to keep them"


def check(
    study: Study, methods: Sequence[str] | None = None, seeds: Sequence[int] | None = None
) -> list[str]:
    """What a study would do, without doing it; everything that can be wrong with it is found here.

    Args:
        study: What to compare.
        methods: Only these of the study's methods.
        seeds: Other seeds than the study's.

    Raises:
        UserError: A method, option or source is unknown, or a measured prompt is trained on.
    """
    plans = planned(study, methods or study.methods)
    axes, leaks = checked_axes(study, plans)
    lines = [f"base {study.base}"]
    for domain in study.domains:
        train, select = load_training(domain, study.training)
        lines.append(f"data {domain}: {len(train)} dialogues to train on, {len(select)} kept aside")
    lines.append(f"judge {study.judge}")
    lines += [_plan_line(study, plan) for plan in plans]
    for axis, sources in axes.items():
        lines += [f"{axis}: {name}, {len(items)} items" for name, items in sources.items()]
    lines.append(f"{len(leaks)} measured prompts stand, nearly or word for word, in what is trained on")
    lines.append(f"{len(plans)} methods x {len(seeds or study.seeds)} seeds")
    return [*lines, f"one after the other: {', '.join(study.domains)}"] if study.then else lines


def planned(study: Study, names: Iterable[str]) -> list[Plan]:
    """The plans of a study's methods.

    Raises:
        UserError: There is no such method, or it cannot take part in a sequence of domains.
    """
    plans = [models.placed(study, name) for name in names]
    for plan in plans if study.then else ():
        _check_goes_on(plan)
    return plans


def _check_goes_on(plan: Plan) -> None:
    """See that a method can go on from where it stopped, and that forgetting can be told."""
    if service := models.service_of(plan):
        raise UserError(
            f"{service.title} tunes a model once and cannot go on with the next domain",
            where=f"methods.{plan.name}",
            fix="leave it out of a study with `then`",
        )
    if find(plan.method).data == "preferences":
        raise UserError(
            "what is forgotten of a domain is told by its dialogues, and preferences have none",
            where=f"methods.{plan.name}",
            fix="learn preferences in a study without `then`",
        )


def checked_axes(study: Study, plans: Sequence[Plan]) -> tuple[Loaded, list[Leak]]:
    """The items to measure, and which were seen; all that can be wrong with the study was looked for then."""
    for plan in plans:
        _check_method(study, plan)
    open_judge(study.judge, study.asking)
    sources = {axis: getattr(study.axes, axis) for axis in REGISTRY}
    replayed = [plan.options["replayed"] for plan in plans if plan.options.get("replayed")]
    seen = builtin_seen() | dialogues_seen(study.domains, [plan.training for plan in plans])
    seen |= replayed_seen(replayed)
    return without_leaks(load_axes(sources, study.limits), seen, study.leaks, WAY_OUT)


def _check_method(study: Study, plan: Plan) -> None:
    """See that a plan's method has its options, and learns from what the study gives."""
    method = find(plan.method)
    rates = {"learning_rate": plan.learning_rates[0]} if plan.learning_rates else {}
    method.checked({**plan.options, **rates})
    for domain in study.domains:
        method.check_data(load_training(domain, plan.training)[0])


def _plan_line(study: Study, plan: Plan) -> str:
    if models.service_of(plan):
        return models.job_line(plan, load_training(study.data, plan.training)[0])
    rates = (
        f", learning rates {', '.join(f'{rate:g}' for rate in plan.learning_rates)}"
        if plan.learning_rates
        else ""
    )
    ratio = plan.training.poison_ratio
    return f"method {plan.name} on {plan.base}{rates}" + (f", {ratio:.1%} of it poisoned" if ratio else "")


def claim(out: Path, study: Study, study_path: Path | None) -> None:
    """Take the folder for this study, or find that it holds it already."""
    asked = study.model_dump(mode="json", exclude={"seeds", "asking"})
    path = out / "study.json"
    held = read_json(path)
    if held is not None:
        check_defaults(held.pop("defaults", {}), _defaults(study), out)
        held["training"] = with_defaults(held["training"])
        # A key that tether has learned since, left at its default, makes no other study.
        said = held.keys() | study.model_dump(exclude={"seeds", "asking"}, exclude_defaults=True).keys()
        if held != {key: value for key, value in asked.items() if key in said}:
            raise UserError(
                "the folder holds another study", where=str(out), fix="name another folder with --out"
            )
        return
    if out.is_dir() and any(out.iterdir()):
        raise UserError(
            "the folder is not empty and holds no study", where=str(out), fix="name another with --out"
        )
    out.mkdir(parents=True, exist_ok=True)
    write_json(path, {**asked, "defaults": _defaults(study)})
    if study_path:
        shutil.copyfile(study_path, out / "study.yaml")


def _defaults(study: Study) -> dict[str, dict[str, Any]]:
    """What each of a study's methods does where the study says nothing."""
    plans = [models.placed(study, name) for name in study.methods]
    return {plan.name: defaults(find(plan.method), plan.options) for plan in plans}


def defaults(method: Method, options: Mapping[str, Any]) -> dict[str, Any]:
    """What a method does beside these options."""
    return {key: value for key, value in method.options.items() if key not in options}


def check_defaults(held: dict[str, dict[str, Any]], now: dict[str, dict[str, Any]], out: Path) -> None:
    """See that what was begun by an older tether is not mixed with what this one would do, by method.

    Raises:
        UserError: It would do otherwise.
    """
    for name, before in held.items():
        for key, value in before.items():
            today = now.get(name, {}).get(key, value)
            if today != value:
                raise UserError(
                    f"when this run was begun {name}'s '{key}' was {value} by default, and now it is {today}",
                    where=str(out),
                    fix=f"name another folder; to have it there as it was, set {key} to {value}",
                )


def check_certified(folder: Path, anchors: AnchorSet) -> None:
    """See that a model that stands in a run's folder was certified on the anchors of today.

    Raises:
        UserError: It was on others; its drift cannot stand beside theirs.
    """
    certificate = read_json(folder / CERTIFICATE_FILE)
    # Certified on more groups, of its own domain or of those that it learned before, it is its own affair.
    if certificate is None or certificate["groups"].keys() > set(anchors.groups):
        return
    if certificate["anchors_sha256"] != anchors.sha256:
        raise UserError(
            "this model was certified on other anchors than the base has now",
            where=str(folder / CERTIFICATE_FILE),
            fix="delete its folder to have it tuned anew, or begin another run with --out",
        )
