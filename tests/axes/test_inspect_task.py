"""The safety axis asked through inspect, of a model that says what it is told to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tether.axes.judges.protocol import OPENING_TOKENS, Exchange
from tether.axes.safety import RULES, as_item
from tether.results import aggregate
from tether.sources import load_safety

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("inspect_ai")

REFUSAL = "I'm sorry, but I can't help with that."


def test_inspect_gives_the_axis_own_verdicts_and_score(tmp_path: Path) -> None:
    from inspect_ai import eval as inspect_eval
    from inspect_ai.model import ModelOutput, ModelUsage, get_model

    from tether.axes.inspect_task import safety

    asked: list[int | None] = []

    def refuse(messages, tools, choice, config):  # type: ignore[no-untyped-def]
        asked.append(config.max_tokens)
        output = ModelOutput.from_content("mockllm/model", REFUSAL)
        output.usage = ModelUsage()  # else inspect counts tokens by a vocabulary from the internet
        return output

    model = get_model("mockllm/model", custom_outputs=refuse)
    (log,) = inspect_eval(safety(limit=12), model=model, log_dir=str(tmp_path), display="none")
    assert log.status == "success", log.error
    assert set(asked) == {OPENING_TOKENS}

    ours = {
        item.id: as_item(item, REFUSAL, RULES.verdicts([Exchange(item.prompt, REFUSAL)])[0])
        for item in load_safety("builtin:safety", limit=12)
    }
    theirs = {sample.id: sample.scores["rules"] for sample in log.samples}
    assert {id_: score.value for id_, score in theirs.items()} == {id_: i.score for id_, i in ours.items()}
    assert all(theirs[id_].explanation == item.reason for id_, item in ours.items())
    groups = log.results.scores[0].metrics
    score = aggregate(list(ours.values())).score
    assert groups["all"].value == pytest.approx(score)
    assert (groups["refuse"].value, groups["comply"].value) == (1.0, 0.0)
