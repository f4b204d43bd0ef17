"""What a study and the command line may say: the only place with defaults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from tether.errors import UserError, did_you_mean
from tether.names import ANCHOR_GROUPS, PREFERENCES, WITH_TESTS, domain_name
from tether.strict import Strict, fault

if TYPE_CHECKING:
    from collections.abc import Mapping

Budget = float | dict[str, float]
Leaks = Literal["refuse", "drop", "allow"]
"""What becomes of a measured prompt that stands word for word in what a model has seen."""
Positive = Annotated[float, Field(gt=0)]


class Training(Strict):
    """How long and with what steps to train, the same for every method of a study unless one says otherwise.

    Attributes:
        max_steps: Optimizer steps.
        epochs: Times through the data, instead of ``max_steps``.
        batch_tokens: Tokens of a step, about.
        learning_rate: None is each method's own.
        warmup: Share of the steps over which the learning rate rises.
        schedule: How the rate goes down again, one of transformers' scheduler names.
        weight_decay: AdamW's.
        max_grad_norm: Gradients above this norm are scaled down to it.
        gradient_checkpointing: Compute activations twice to keep fewer of them.
        save_steps: Steps between checkpoints, from which a killed run goes on.
        max_length: Tokens of a dialogue, at most.
        parametrisation: What is trained: an adapter or all weights; None is each method's own.
        dialogues: Train on a seeded sample of so many; None is all, and a built-in domain's own number.
        poison_ratio: Share of the dialogues that is made to comply with harm, for a study of that pressure.
    """

    max_steps: Annotated[int, Field(gt=0)] = 300
    epochs: Positive | None = None
    batch_tokens: Annotated[int, Field(gt=0)] = 1024
    learning_rate: Positive | None = None
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.05
    schedule: Literal["constant_with_warmup", "linear", "cosine"] = "cosine"
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    max_grad_norm: Positive = 1.0
    gradient_checkpointing: bool = False
    save_steps: Annotated[int, Field(gt=0)] = 100
    max_length: Annotated[int, Field(gt=0)] = 2048
    parametrisation: Literal["lora", "full"] | None = None
    dialogues: Annotated[int, Field(gt=0)] | None = None
    poison_ratio: Annotated[float, Field(ge=0, le=1)] = 0.0

    @model_validator(mode="after")
    def _one_end(self) -> Training:
        if self.epochs is not None and "max_steps" in self.model_fields_set:
            raise PydanticCustomError(
                "two_ends", "max_steps and epochs both say when to end; keep one of them"
            )
        return self


def with_defaults(training: Mapping[str, Any]) -> dict[str, Any]:
    """A `Training` as an older tether wrote it, with the keys that it did not know yet at their defaults."""
    return {**Training().model_dump(mode="json"), **training}


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else [] if value is None else [value]


Sources = Annotated[list[str], BeforeValidator(_listed)]


class Axes(Strict):
    """What is measured, each axis on one or more sources; an empty list leaves an axis out."""

    proficiency: Sources = []
    safety: Sources = ["builtin:safety"]
    knowledge: Sources = ["builtin:knowledge"]


class Asking(Strict):
    """How a hosted model is asked.

    Attributes:
        requests_per_minute: At most; fewer while the service turns some away.
        max_price: Dollars that one measurement of one model may cost, by list prices; None is no ceiling.
    """

    requests_per_minute: Annotated[int, Field(gt=0)] = 300
    max_price: Annotated[float, Field(ge=0)] | None = None


def _budget(value: Any) -> Any:
    numbers = list(value.values()) if isinstance(value, dict) and value else [value]
    if all(isinstance(number, (int, float)) and number > 0 for number in numbers) or value is None:
        return value
    raise PydanticCustomError("budget", "nats per token above zero, one number or one by anchor group")


class Entry(BaseModel):
    """One method of a study. Keys beyond these are Training's or the method's own options.

    Attributes:
        method: The registry's name, where the entry is called otherwise.
        base: A base of its own.
        learning_rate: A list is tried on ``sweep_steps`` steps each; the best by select loss is taken.
        learning_rate_of: Another entry, whose learning rate is taken: a variant is judged at its parent's.
        budget: Drift allowed in nats per token, for all anchor groups or by group.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    method: str | None = None
    base: str | None = None
    learning_rate: Annotated[list[Positive], BeforeValidator(_listed)] = []
    learning_rate_of: str | None = None
    budget: Annotated[Budget | None, PlainValidator(_budget)] = None

    @property
    def budgeted(self) -> list[tuple[str, str]]:
        """The groups of anchors that a budget names, each with that budget's key."""
        options = {"budget": self.budget, **(self.model_extra or {})}
        named = {key: options.get(key) for key in ("budget", "training_budget")}
        return [(key, group) for key, limits in named.items() if isinstance(limits, dict) for group in limits]


@dataclass(frozen=True)
class Plan:
    """All that one method of a study is run with, apart from the seed.

    Attributes:
        name: What the study calls it.
        method: The registry's name.
        base: The base's name.
        learning_rates: None: the method's own; one: that; more: a sweep.
        sweep: The entry that sweeps them: itself, or another.
        training: The study's, with this method's changes.
        options: For the method itself, its budget among them.
    """

    name: str
    method: str
    base: str
    learning_rates: tuple[float, ...]
    sweep: str
    training: Training
    options: dict[str, Any]


def _entries(value: Any) -> Any:
    if isinstance(value, dict):  # `lora:` with nothing behind it is a method with its own defaults
        return {name: {} if entry is None else entry for name, entry in value.items()}
    return value


class Study(Strict):
    """One study: methods fine-tune a base on data, and axes are measured before and after.

    Attributes:
        base: What is fine-tuned.
        data: What on.
        then: Further domains, learned one after the other from what the one before left (``sequence.py``).
        methods: By what methods, by the names that the report shall use.
        seeds: Of each method.
        axes: What is measured.
        training: How long and with what steps.
        limits: Items measured of a source, at most.
        sweep_steps: Steps of each learning rate that is tried.
        asking: How hosted models are asked, a judge among them.
        judge: Who judges the answers on safety, as `tether judge` names it.
        leaks: For a measured prompt that training or anchors hold too: refuse the study, drop the prompt, or
            allow it; what nearly stands there is measured and told of.
    """

    base: str
    data: str
    then: Sources = []
    methods: Annotated[dict[str, Entry], BeforeValidator(_entries), Field(min_length=1)]
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], BeforeValidator(_listed), Field(min_length=1)] = [0]
    axes: Axes = Axes()
    training: Training = Training()
    limits: dict[str, Annotated[int, Field(gt=0)]] = {}
    sweep_steps: Annotated[int, Field(gt=0)] = 100
    asking: Asking = Asking()
    judge: str = "rules"
    leaks: Leaks = "refuse"

    @model_validator(mode="before")
    @classmethod
    def _test_where_trained(cls, data: Any) -> Any:
        """A named data set has a test part of its own; a user's file has none, so it must be named."""
        if not isinstance(data, dict):
            return data
        named = [data.get("data"), *_listed(data.get("then"))]
        tested = [PREFERENCES.get(str(domain), domain) for domain in named]
        if any(domain not in WITH_TESTS for domain in tested):
            return data
        axes = data.get("axes") or {}
        return {**data, "axes": {"proficiency": tested, **axes}} if isinstance(axes, dict) else data

    @model_validator(mode="after")
    def _limits_name_sources(self) -> Study:
        known = [*self.axes.proficiency, *self.axes.safety, *self.axes.knowledge]
        for name in self.limits:
            if name not in known:
                text = f"the limit '{name}' names no source of this study's axes; {did_you_mean(name, known)}"
                raise PydanticCustomError("unknown_limit", "{text}", {"text": text, "path": ["limits", name]})
        return self

    @model_validator(mode="after")
    def _budgets_name_anchors(self) -> Study:
        known = [*ANCHOR_GROUPS, *(map(domain_name, self.domains) if self.then else ())]
        for name, entry in self.methods.items():
            for key, group in entry.budgeted:
                if group not in known:
                    text = f"no anchors are called '{group}'; {did_you_mean(group, known)}"
                    path = ["methods", name, key, group]
                    raise PydanticCustomError("unknown_group", "{text}", {"text": text, "path": path})
        return self

    @model_validator(mode="after")
    def _domains_differ(self) -> Study:
        names = [*ANCHOR_GROUPS, *map(domain_name, self.domains)]
        for place, name in enumerate(names):
            if self.then and name in names[:place]:
                text = (
                    f"'{name}' is two things here, and anchors of a domain are called by its name; rename one"
                )
                raise PydanticCustomError("same_domain", "{text}", {"text": text, "path": ["then"]})
        return self

    @property
    def domains(self) -> list[str]:
        """What is learned, in order."""
        return [self.data, *self.then]

    def stage(self, domain: str) -> Study:
        """The same study of one of its domains alone."""
        return self.model_copy(update={"data": domain, "then": []})

    def plan(self, name: str) -> Plan:
        """All that the entry ``name`` is run with.

        Raises:
            UserError: The study has no such entry, or one of its training keys has a bad value.
        """
        if name not in self.methods:
            raise UserError(f"the study has no method '{name}'", fix=did_you_mean(name, self.methods))
        entry = self.methods[name]
        if (parent := entry.learning_rate_of) is not None:
            others = [
                other for other, its in self.methods.items() if other != name and not its.learning_rate_of
            ]
            if entry.learning_rate or parent not in others:
                raise UserError(
                    "learning_rate_of stands alone, and names another method that has its own",
                    where=f"methods.{name}.learning_rate_of",
                    fix=did_you_mean(parent, others),
                )
            entry = entry.model_copy(update={"learning_rate": self.methods[parent].learning_rate})
        training, options = lay_over(self.training, dict(entry.model_extra or {}), f"methods.{name}")
        if entry.budget is not None:
            options["budget"] = entry.budget
        rates = entry.learning_rate or ([] if training.learning_rate is None else [training.learning_rate])
        method, base, sweep = entry.method or name, entry.base or self.base, entry.learning_rate_of or name
        return Plan(name, method, base, tuple(rates), sweep, training, options)


def lay_over(training: Training, settings: dict[str, Any], where: str) -> tuple[Training, dict[str, Any]]:
    """Take Training's keys out of ``settings`` and lay them over ``training``."""
    changes = {key: settings.pop(key) for key in list(settings) if key in Training.model_fields}
    said = training.model_dump(exclude_unset=True)
    # Whoever says here when to end means it instead of what stood before.
    if changes.keys() & {"max_steps", "epochs"}:
        said = {key: value for key, value in said.items() if key not in ("max_steps", "epochs")}
    try:
        return Training.model_validate({**said, **changes}), settings
    except ValidationError as error:
        key_path, text = fault(error)
        key = ".".join(str(part) for part in key_path)
        raise UserError(text, where=f"{where}.{key}" if where != "--set" else f"--set {key}") from error
