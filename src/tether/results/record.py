"""The schema of results.json, written and read back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tether.errors import UserError
from tether.results.items import AxisResult, write_text

if TYPE_CHECKING:
    from pathlib import Path

AXES = ("proficiency", "safety", "knowledge", "knowledge_gain", "knowledge_f1")
"""What methods are compared on; results.json knows "drift" and the parts of safety besides. The last stands
in where some method's model gives no likelihoods, for all of them, so that like is compared with like."""

Unit = Literal["share", "bits/byte", "nats", "nats/token"]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid")


class BeforeAfter(_Record):
    """One axis of one seed: the method's own base, and the tuned model."""

    before: AxisResult | None = None
    after: AxisResult | None = None


class GroupDrift(BaseModel):
    """One anchor group of a drift certificate, as drift.json has it: nats per token."""

    model_config = ConfigDict(extra="allow")

    drift: float
    upper95: float | None = None
    prompt_p95: float | None = None
    first5: float | None = None
    budget: float | None = None
    tokens: int | None = None
    prompts: int | None = None


class Train(_Record):
    """What training one seed took."""

    seconds: float | None = None
    tokens_per_second: float | None = None
    peak_memory_bytes: int | None = None
    trainable_parameters: int | None = None


class SeedResult(_Record):
    """One method with one seed."""

    axes: dict[str, BeforeAfter] = {}
    drift: dict[str, GroupDrift] = {}
    train: Train | None = None


class Summary(_Record):
    """One axis of one method, over its seeds; items are paired with the base's by source and id.

    Attributes:
        before: The base's score on the paired items.
        after: The tuned model's score on them, averaged over seeds.
        delta: after - before.
        ci95: Interval of delta over items (not over seeds).
        p_value: Two-sided, for a delta of zero.
        test: How the p-value was got: "mcnemar" or "cluster bootstrap".
        n: Paired items.
        unit: Of before, after and delta.
        seeds: How many seeds the average is over.
        seed_sd: Standard deviation of delta from seed to seed; None with one seed.
        mdd: The smallest true difference that these items would show with 80% power.
        delta_percent: delta in % of before, for an association gain above zero; else None.
        lost: Items right before and wrong after, averaged over seeds, for yes or no scores; else None.
        gained: Items wrong before and right after, likewise.
        retained: Of the items right before, the share right after, likewise.
        retained_ci95: Its interval.
        unpaired: Items left out because the base or a seed has no answer to them.
    """

    before: float | None = None
    after: float | None = None
    delta: float | None = None
    ci95: tuple[float, float] | None = None
    p_value: float | None = None
    test: str | None = None
    n: int = 0
    unit: Unit = "share"
    seeds: int = 0
    seed_sd: float | None = None
    mdd: float | None = None
    delta_percent: float | None = None
    lost: float | None = None
    gained: float | None = None
    retained: float | None = None
    retained_ci95: tuple[float, float] | None = None
    unpaired: int = 0


class Part(_Record):
    """Knowledge of one kind.

    Attributes:
        source: The data set.
        group: What it is scored on: "choice", "open", "text" or "written".
        category: The kind within the source; several that are small stand as one.
        passage: Whether the questions came with a passage to answer them from.
        summary: What became of it.
    """

    source: str
    group: str
    category: str
    passage: bool
    summary: Summary


class MethodResult(_Record):
    """All seeds of one method.

    Attributes:
        base: What its change is told from.
        service: Who tuned it, where that was not tether.
        seeds: By number.
        summary: By axis.
        secondary: By measure of free answers that is told and not scored.
        knowledge: By source, category and passage.
    """

    base: str
    service: str | None = None
    seeds: dict[str, SeedResult] = {}
    summary: dict[str, Summary] = {}
    secondary: dict[str, Summary] = {}
    knowledge: list[Part] = []


class Comparison(_Record):
    """One method against another on the items that both answered.

    Attributes:
        a: A method.
        b: Another.
        axis: The axis.
        metric: What is compared: each method's change from its own base.
        delta: a's change - b's change; above zero a kept or gained more.
        ci95: Its interval over items.
        p_value: Two-sided, by the cluster bootstrap.
        p_holm: The same, adjusted over the whole table.
        n: Paired items.
        same_base: Whether both methods tuned the same base; if not, read the difference with care.
    """

    a: str
    b: str
    axis: str
    metric: str = "change in score"
    delta: float | None = None
    ci95: tuple[float, float] | None = None
    p_value: float | None = None
    p_holm: float | None = None
    n: int = 0
    same_base: bool = True


class SweepPoint(_Record):
    """One learning rate tried; the loss is on the select split, None where training diverged."""

    learning_rate: float
    select_loss: float | None
    chosen: bool = False


class StageResult(_Record):
    """All methods after one domain of a sequence was learned.

    Attributes:
        domain: What was learned last.
        methods: By method and column, the change from its base: a column for each source of proficiency, by
            its name, and one for each other axis.
    """

    domain: str
    methods: dict[str, dict[str, Summary]] = {}


class StudyResults(BaseModel):
    """results.json.

    Attributes:
        schema_: Version of this schema, "schema" in the file.
        study: The study as the user wrote it.
        environment: Versions and machine.
        provenance: Data hashes, seeds and times.
        methods: Results by method.
        comparisons: Method against method.
        sweeps: Every learning rate tried, by method.
        stages: Of a sequence of domains, all that was measured after each, in order; ``methods`` and
            ``comparisons`` are of the last.
    """

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    schema_: Literal[1] = Field(default=1, alias="schema")
    study: str | dict[str, Any] = ""
    environment: dict[str, Any] = {}
    provenance: dict[str, Any] = {}
    methods: dict[str, MethodResult] = {}
    comparisons: list[Comparison] = []
    sweeps: dict[str, list[SweepPoint]] = {}
    stages: list[StageResult] = []


def write_results(path: Path, results: StudyResults) -> None:
    """Write results.json, whole or not at all.

    Args:
        path: Where to.
        results: What the study found.
    """
    write_text(path, results.model_dump_json(indent=2, by_alias=True) + "\n")


def read_results(path: Path) -> StudyResults:
    """Read results.json back.

    Args:
        path: A file that `write_results` left.

    Returns:
        What the study found.

    Raises:
        UserError: The file is missing or does not follow the schema.
    """
    if not path.is_file():
        raise UserError(
            f"There is no {path.name} in {path.parent}", fix="Name a folder that `tether compare` left"
        )
    try:
        return StudyResults.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        fault = error.errors()[0]
        name = ".".join(str(part) for part in fault["loc"]) or "the file"
        raise UserError(f"Not a study's results: {name}: {fault['msg']}", where=str(path)) from error
