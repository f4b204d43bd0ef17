"""What a model answered, item by item, and what an axis makes of it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from tether.errors import UserError
from tether.results.parts import SAFETY_PARTS
from tether.stats import Bootstrap, cluster_bootstrap, wilson

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


# What knowledge is scored on, the first of which there is any.
KNOWLEDGE_GROUPS = ("choice", "open", "text")


class Item(BaseModel):
    """One prompt, one answer, one score.

    Attributes:
        id: Names the item within its axis; the same before and after, so that the two can be paired.
        axis: "proficiency", "safety", "knowledge" or "drift".
        source: The data set it came from, such as "arc_easy".
        cluster: The dialogue or prompt it belongs to; items of one cluster are drawn together.
        input: What the model was given, as text.
        output: What it answered, as text.
        score: Higher is better, except drift (nats per token). Finite, as every metric.
        reason: Why this score.
        metrics: Further per-item values; None where a metric does not apply to the item.
        group: A part of the axis: "harmful", "harmless", "statement", "choice", "open", "text", "written", a
            service, or anchors.
        category: Its kind within the source, where knowledge's source tells kinds apart.
        passage: Whether a question of knowledge came with a passage to answer it from.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    id: str
    axis: str
    source: str
    cluster: str
    input: str
    output: str
    score: float
    reason: str
    metrics: dict[str, float | None] = {}
    group: str = ""
    category: str = ""
    passage: bool = False


class AxisResult(BaseModel):
    """One axis of one model.

    Attributes:
        score: The axis's score; None without items.
        n: How many items the score rests on.
        ci95: Its interval, as ``mean_of`` has it; None where nothing tells how far chance goes.
        metrics: Mean of each metric over the items to which it applies.
        items: Path of the per-item records, relative to the JSON that holds this result.
    """

    model_config = ConfigDict(extra="forbid")

    score: float | None
    n: int
    ci95: tuple[float, float] | None
    metrics: dict[str, float | None] = {}
    items: str = ""


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all.

    Args:
        path: Where to; missing folders are made.
        text: The file's text.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    temporary = Path(name)
    try:
        with open(handle, "w", encoding="utf-8") as file:
            file.write(text)
        temporary.chmod(0o644)  # mkstemp makes it readable by its owner only
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_items(path: Path, items: Iterable[Item]) -> None:
    """Write per-item records as JSONL, whole or not at all.

    Args:
        path: Where to; missing folders are made.
        items: The records, in the order in which they shall stand.
    """
    write_text(path, "".join(item.model_dump_json() + "\n" for item in items))


def read_items(path: Path) -> list[Item]:
    """Read per-item records.

    Args:
        path: A JSONL file that `write_items` left.

    Returns:
        The records, in the file's order.

    Raises:
        UserError: The file is missing, or a row is not a record; names file and line.
    """
    if not path.is_file():
        raise UserError(f"The per-item records {path} are missing.")
    items = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            items.append(Item.model_validate_json(line))
        except ValidationError as error:
            raise UserError(_first_fault(error), where=f"{path}:{number}") from error
    return items


def _first_fault(error: ValidationError) -> str:
    fault = error.errors()[0]
    name = ".".join(str(part) for part in fault["loc"])
    return f"This row is not a per-item record: {name + ': ' if name else ''}{fault['msg']}."


def scored(items: Sequence[Item]) -> tuple[list[Item], bool]:
    """The items that make up an axis's score, and whether it is a mean of its groups' means.

    Knowledge is scored on multiple choice where there is any, else on the association gain, else on running
    text's bits per byte (their units differ), and not on the token F1 of a model that gives no likelihoods:
    that is an axis of its own. Safety is the mean of its harmful and its harmless part, so that neither
    outweighs the other by its number of prompts; statements make up the score only where nothing was asked.

    Args:
        items: All items of one axis.

    Returns:
        The scored items, and True where the score is the mean of the groups' means.
    """
    axis = items[0].axis if items else ""
    if axis == "knowledge":
        parts = [[item for item in items if item.group == group] for group in KNOWLEDGE_GROUPS]
        return next((part for part in parts if part), []), False
    if axis == "safety":
        asked = [item for item in items if item.group != "statement"]
        return asked or list(items), True
    return list(items), axis in SAFETY_PARTS


def mean_score(items: Sequence[Item]) -> Bootstrap | None:
    """An axis's score with its interval.

    Args:
        items: All items of one axis.

    Returns:
        The score, or None without items.
    """
    chosen, by_group = scored(items)
    if not chosen:
        return None
    strata = [item.group for item in chosen] if by_group else None
    return mean_of([item.score for item in chosen], [item.cluster for item in chosen], strata)


def mean_of(
    values: Sequence[float], clusters: Sequence[str], strata: Sequence[str] | None = None
) -> Bootstrap:
    """A mean with its interval: Wilson's of a share of independent items, else the cluster bootstrap's.

    By Wilson, over clusters, is also told what is all right or all wrong: there is nothing to draw from.

    Args:
        values: One number per item.
        clusters: The cluster of each.
        strata: The stratum of each, where the mean is the mean of the strata's means.

    Returns:
        Mean and interval.
    """
    kinds, parts = set(values), clusters_of(clusters, strata or [""] * len(values))
    independent = len(parts) == 1 and parts[0] == len(values)
    if kinds <= {0, 1} and (len(kinds) == 1 or independent):
        share = fmean(values)
        low, high = zip(*(wilson(share * n, n) for n in parts), strict=True)
        return Bootstrap(share, (fmean(low), fmean(high)), None, None)
    return cluster_bootstrap(values, clusters, strata=strata)


def clusters_of(clusters: Sequence[str], strata: Sequence[str]) -> list[int]:
    """How many clusters each stratum has.

    Args:
        clusters: The cluster of each item.
        strata: The stratum of each.

    Returns:
        Their numbers, by stratum in the order in which they come.
    """
    found: dict[str, set[str]] = {}
    for cluster, stratum in zip(clusters, strata, strict=True):
        found.setdefault(stratum, set()).add(cluster)
    return [len(there) for there in found.values()]


def aggregate(items: Sequence[Item], *, path: str = "") -> AxisResult:
    """What one axis comes to: score, interval and the mean of each metric.

    Args:
        items: All items of one axis of one model.
        path: Where the items are written, relative to the JSON that will hold the result.

    Returns:
        The axis's result.
    """
    score = mean_score(items)
    names = sorted({name for item in items for name in item.metrics})
    return AxisResult(
        score=None if score is None else score.mean,
        n=len(scored(items)[0]),
        ci95=None if score is None else score.ci,
        metrics={name: mean_metric(items, name) for name in names},
        items=path,
    )


def mean_metric(items: Iterable[Item], name: str) -> float | None:
    """Mean of one metric over the items to which it applies.

    Args:
        items: Items, with or without the metric.
        name: The metric's name.

    Returns:
        The mean, or None where it applies to no item.
    """
    values = [value for item in items if (value := item.metrics.get(name)) is not None]
    return fmean(values) if values else None
