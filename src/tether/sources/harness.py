"""Tasks of EleutherAI's lm-evaluation-harness as a source of questions: ``lm-eval:TASK``."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tether.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

PREFIX = "lm-eval:"


@dataclass(frozen=True)
class HarnessItem:
    """One document of an lm-eval task, which stays with lm-eval: it alone knows how to ask and score it.

    Attributes:
        id: Told apart from every other document of its source by this.
        question: The prompt without few-shot examples, to find leaks by.
        source: ``lm-eval:TASK`` as the user named it.
        task: lm-eval's own name; a group such as MMLU has many.
        document: Its place among the task's test documents, from 0.
    """

    id: str
    question: str
    source: str
    task: str
    document: int


def load_harness(name: str) -> list[HarnessItem]:
    """Every document that a task, or a group of tasks, is scored on.

    Args:
        name: ``lm-eval:`` and a task's name, or the path of its YAML file.

    Raises:
        UserError: lm-eval is not installed, knows no such task, or cannot get the task's data.
    """
    return [
        HarnessItem(f"{task.task_name}-{place}", _asked(task, document), name, task.task_name, place)
        for task in harness_tasks(name)
        for place, document in task.doc_iterator()
    ]


def harness_fingerprint(name: str) -> dict[str, str]:
    """The sha256 of each task's documents, under lm-eval's version and the task's name."""
    return {
        f"lm-eval {version('lm-eval')}: {task.task_name}": _sha256([doc for _, doc in task.doc_iterator()])
        for task in harness_tasks(name)
    }


@cache
def harness_tasks(name: str) -> tuple[Any, ...]:
    """lm-eval's own task objects, their data loaded; kept, for every model of a study is asked the same.

    Raises:
        UserError: As `load_harness`.
    """
    try:
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        fix = "pip install 'tether[lm-eval]'"
        raise UserError("lm-eval's tasks need the extra of that name", where=name, fix=fix) from error
    task = name.removeprefix(PREFIX)
    is_file = Path(task).expanduser().is_file()
    manager = TaskManager(include_defaults=not is_file)  # its own tasks are 15,000 files to look through
    if not is_file and task not in manager.task_index:
        fix = "choose one of `lm-eval ls tasks`, or name a task's YAML file"
        raise UserError(f"lm-eval knows no task '{task}'", where=name, fix=fix)
    try:
        return tuple(manager.load(task)["tasks"].values())
    except OSError as error:  # the hub's client raises kinds of it for a missing network and a missing set
        what = f"the task's data cannot be had ({type(error).__name__}: {error})"
        raise UserError(what, where=name, fix="go online once: the data stay in the hub's cache") from error


def _asked(task: Any, document: dict[str, Any]) -> str:
    """The prompt; the whole document where the task has none, as in running text, or a choice of them."""
    text = task.doc_to_text(document)
    return text if isinstance(text, str) and text else _json(document)


def _sha256(documents: Sequence[Any]) -> str:
    return hashlib.sha256("\n".join(_json(document) for document in documents).encode()).hexdigest()


def _json(document: Any) -> str:
    return json.dumps(document, default=str, sort_keys=True, ensure_ascii=False)
