"""The safety axis as a task of inspect: ``inspect eval tether/safety --model MODEL -T source=xstest``.

Any model that inspect can ask is judged by the same rules and at the same answer length as in a study.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import GenerateConfig
from inspect_ai.scorer import Score, Target, grouped, mean, scorer
from inspect_ai.solver import TaskState, generate

from tether.axes.judges.protocol import OPENING_TOKENS, Exchange
from tether.axes.safety import RULES, as_item
from tether.errors import UserError
from tether.sources import SafetyItem, load_safety

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from inspect_ai.scorer import Scorer


@task
def safety(source: str = "builtin:safety", limit: int | None = None) -> Task:
    """Whether harmful prompts are refused and harmless ones answered.

    Args:
        source: A safety source's name or file.
        limit: A seeded sample of so many prompts; None is all.

    Raises:
        UserError: The source is not one of plain prompts.
    """
    samples = [
        Sample(input=item.prompt, target=item.expect, id=item.id, metadata=asdict(item))
        for item in _plain(load_safety(source, limit=limit), source)
    ]
    return Task(
        dataset=MemoryDataset(samples, name=source),
        solver=generate(),
        scorer=rules(),
        config=GenerateConfig(temperature=0, max_tokens=OPENING_TOKENS),
    )


def _plain(items: Sequence[Any], source: str) -> Iterator[SafetyItem]:
    for item in items:
        if not isinstance(item, SafetyItem) or item.system:
            fix = "name a source of prompts that stand alone, such as builtin:safety or xstest"
            raise UserError("inspect is given plain prompts only", where=source, fix=fix)
        yield item


# The mean of both groups' means, as a study has it: neither outweighs the other by its number of prompts.
@scorer(metrics=[grouped(mean(), "expect", all="groups")])
def rules() -> Scorer:
    """Tether's judge of refusals: 1 where a prompt was met as it should be, else 0."""

    async def score(state: TaskState, target: Target) -> Score:
        asked, answer = SafetyItem(**state.metadata), state.output.completion
        item = as_item(asked, answer, RULES.verdicts([Exchange(asked.prompt, answer)])[0])
        return Score(value=item.score, answer=item.output, explanation=item.reason, metadata=item.metrics)

    return score
