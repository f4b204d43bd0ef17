"""Knowledge by lm-eval: its own tasks, prompts and metrics, asked of the model that is in memory already."""

from __future__ import annotations

import math
from numbers import Real
from typing import TYPE_CHECKING, Any

from tether.errors import UserError
from tether.results import Item
from tether.sources.harness import harness_tasks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tether.inference import LocalModel
    from tether.sources import HarnessItem

# lm-eval keeps the logits of every position: 16 rows of 100 tokens take 0.3 GB at 49,152 words.
BATCH_ROWS = 16
# By characters, as our own multiple choice; without it the first that the task lists.
PREFERRED = "acc_norm"
BITS = "bits_per_byte"


def harness_items(model: LocalModel, questions: Sequence[HarnessItem]) -> list[Item]:
    """Let lm-eval ask and score the documents, and tell its main metric of each.

    Returns:
        Items of the group "choice" (right or wrong, a share) or "text" (minus the bits per byte of a running
        text, so that higher is better).

    Raises:
        UserError: A task has no metric that scores a single document.
    """
    if not questions:
        return []
    from lm_eval.models.huggingface import HFLM

    lm = HFLM(pretrained=model.model, tokenizer=model.tokenizer, batch_size=BATCH_ROWS)
    sources = dict.fromkeys(question.source for question in questions)
    return [
        item
        for source in sources
        for item in _source_items(lm, source, [q for q in questions if q.source == source])
    ]


def _source_items(lm: Any, source: str, questions: Sequence[HarnessItem]) -> list[Item]:
    from lm_eval import simple_evaluate

    asked = {(question.task, question.document): question for question in questions}
    wanted: dict[str, list[int]] = {}
    for task, document in sorted(asked):
        wanted.setdefault(task, []).append(document)
    tasks = {task.task_name: task for task in harness_tasks(source) if task.task_name in wanted}
    found = simple_evaluate(lm, tasks=list(tasks.values()), samples=wanted, bootstrap_iters=0)
    return [
        _item(asked[name, sample["doc_id"]], sample, task.higher_is_better())
        for name, task in tasks.items()
        for sample in _first_filter(found["samples"][name])
    ]


def _first_filter(samples: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """One sample of a document: a task that reads its answers in several ways names its own one first."""
    return [sample for sample in samples if sample["filter"] == samples[0]["filter"]]


def _item(question: HarnessItem, sample: Mapping[str, Any], higher_is_better: Mapping[str, bool]) -> Item:
    metric = main_metric(question.task, sample, higher_is_better)
    bits = _bits_per_byte(*sample[BITS]) if metric == BITS else None
    score = float(sample[metric]) if bits is None else -bits
    return Item(
        id=question.id,
        axis="knowledge",
        source=question.source,
        cluster=question.id,
        group="choice" if bits is None else "text",
        input=question.question,
        output="; ".join(str(response) for response in sample["filtered_resps"]),
        score=score,
        reason=f"lm-eval's {metric} of {question.task}; the target is {sample['target']}",
        metrics={"accuracy": score} if bits is None else {BITS: bits},
        category=question.task,
    )


def main_metric(task: str, sample: Mapping[str, Any], higher_is_better: Mapping[str, bool]) -> str:
    """The metric that a document is scored by: `acc_norm` if the task has it, else the first that fits.

    Fit are numbers of which more is better, and bits per byte. Not fit are metrics that only a whole set has,
    such as Matthews correlation, and perplexity, whose samples are log-likelihoods.

    Raises:
        UserError: None fits.
    """
    for metric in sorted(sample["metrics"], key=lambda name: name != PREFERRED):
        value = sample[metric]
        if metric == BITS or (isinstance(value, Real) and higher_is_better.get(metric)):
            return str(metric)
    told = ", ".join(sample["metrics"])
    raise UserError(f"no metric of lm-eval's task '{task}' ({told}) scores a single document")


def _bits_per_byte(nats: float, count: int) -> float:
    return -nats / count / math.log(2)
