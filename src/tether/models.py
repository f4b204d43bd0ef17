"""Where the models of a study live: in this process, or at a service that is asked over the network."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tether import bases
from tether.config import Training
from tether.errors import UserError
from tether.hosted.model import HostedModel
from tether.hosted.services import TOGETHER, HostedName, hosted_name, named_at
from tether.hosted.state import STATE_FILE, read_state
from tether.hosted.terms import estimate
from tether.inference import LocalModel
from tether.methods import find
from tether.methods.service import whole_epochs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from tether.chatdata.chats import Chat
    from tether.config import Asking, Plan, Study
    from tether.hosted.services import Service
    from tether.methods import Method

# What of `Training` a service can be told; the rest is its own affair.
TOLD_SERVICES = {"epochs", "dialogues", "learning_rate"}


def resolve(name: str) -> bases.Base:
    """A base by name, be it here or at a service.

    Raises:
        UserError: There is no such base.
    """
    hosted = hosted_name(name)
    return hosted.as_base() if hosted else bases.resolve(name)


def resolve_for(method: Method, name: str) -> bases.Base:
    """The base that a method tunes.

    Raises:
        UserError: The method cannot tune it.
    """
    if method.service:
        return named_at(method.service, name).as_base()
    if hosted_name(name):
        raise UserError(
            f"'{method.name}' trains here and cannot tune {name}",
            fix="name a local base, or a service's own method",
        )
    return bases.resolve(name)


def open_model(base: bases.Base, tuned: Path | None, kept: Path, asking: Asking) -> LocalModel | HostedModel:
    """A model to be measured.

    Args:
        base: A base here or at a service.
        tuned: Folder of an adapter, a model, or a service's finished job; None is the base itself.
        kept: Where a hosted model's answers are kept until the measurement is whole.
        asking: How a hosted model is asked.

    Raises:
        UserError: The folder does not fit the base, or the service cannot be called.
    """
    name = hosted_name(base.name)
    if name:
        return HostedModel(_tuned_name(name, tuned) if tuned else name, kept, asking)
    return LocalModel(
        bases.load_tuned(base, tuned), bases.load_tokenizer(base), str(tuned if tuned else base.name)
    )


def _tuned_name(base: HostedName, folder: Path) -> HostedName:
    state = read_state(folder)
    if state is None or state.model is None or state.provider != base.service.name:
        raise UserError(
            f"there is no finished job of {base.service.title} here",
            where=str(folder / STATE_FILE),
            fix=f"name a folder of `tether tune --method {base.service.name}`, or an adapter's local base",
        )
    return HostedName(base.service, state.model)


def placed(study: Study, name: str) -> Plan:
    """The plan of a study's method; a service's names its base in full.

    Raises:
        UserError: A hosted method is asked for what services do not do.
    """
    plan = study.plan(name)
    method = find(plan.method)
    service = method.service
    if service is None:
        return plan
    where = f"methods.{name}"
    if study.methods[name].base is None and hosted_name(study.base) is None:
        fix = f"give it one of {service.title}'s models as its base"
        raise UserError(
            f"the study's base {study.base} is not {service.title}'s", where=f"{where}.base", fix=fix
        )
    if len(plan.learning_rates) > 1:
        fix = "give one learning rate"
        raise UserError("each rate tried would be a job to pay for", where=f"{where}.learning_rate", fix=fix)
    whole_epochs(plan.training.epochs)
    if plan.training.poison_ratio:
        fix = "leave the poison to local methods"
        raise UserError(f"nothing harmful is sent to {service.title}", where=f"{where}.poison_ratio", fix=fix)
    # A rate that the study sets for all local methods is none of a service that chooses its own.
    own = bool(study.methods[name].learning_rate) or "learning_rate" in method.options
    rates = plan.learning_rates if own else ()
    return replace(plan, base=str(named_at(service, plan.base)), learning_rates=rates)


def refuse_untold(service: Service, settings: Mapping[str, Any]) -> None:
    """Refuse what a service cannot be told, lest it pass for done.

    Raises:
        UserError: There is such a setting.
    """
    untold = sorted((settings.keys() & Training.model_fields.keys()) - TOLD_SERVICES)
    if untold:
        fix = f"leave it out; it knows {', '.join(sorted(TOLD_SERVICES))}"
        raise UserError(f"{service.title} cannot be told {', '.join(untold)}", where="--set", fix=fix)


def service_of(plan: Plan) -> Service | None:
    """The service that a plan's method leaves the work to."""
    return find(plan.method).service


def measured_on(plan: Plan) -> str | None:
    """The base that a plan's model is measured and compared on.

    Together's adapter comes home and is measured on the same weights here, if the study says which these
    are. Without them there is nothing to put it on, and asking it at Together takes an endpoint paid by time.
    """
    if service_of(plan) is not TOGETHER:
        return plan.base
    local: str | None = plan.options.get("local_base")
    return local


def job_line(plan: Plan, chats: Sequence[Chat]) -> str:
    """What a hosted plan would do and cost, and what is missing for it; nothing is sent.

    Raises:
        UserError: The service would not take the chats.
    """
    name = hosted_name(plan.base)
    assert name is not None
    words, _ = estimate(name, chats, whole_epochs(plan.training.epochs))
    missing = f"; left out as long as {name.service.missing}" if name.service.missing else ""
    gap = "" if measured_on(plan) else "; not measured without a local_base"
    return f"method {plan.name} on {plan.base}: hosted, {words}{gap}{missing}"
