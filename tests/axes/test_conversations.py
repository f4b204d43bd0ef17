from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tether.agent.speakers import Always, GoldSpeaker
from tether.axes.conversations import judged
from tether.axes.registry import load_axes, measure
from tether.config import Study
from tether.results import aggregate
from tether.sources import load_dialogues
from tether.sources.load import fingerprint
from tether.stats import pass_hat_k

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tether.agent.session import Session
    from tether.inference import LocalModel

CHATS = "builtin:conversations"


class Fickle:
    """Right at every other trial."""

    def replies(self, sessions: Sequence[Session]) -> list[str]:
        gold = GoldSpeaker().replies(sessions)
        return [text if session.trial % 2 else "" for text, session in zip(gold, sessions, strict=True)]  # type: ignore[attr-defined]


def test_success_is_score_and_metric_with_an_interval() -> None:
    chats = load_dialogues(CHATS, split="test", limit=6)
    gold = aggregate(judged(GoldSpeaker(), chats, source=CHATS))
    assert (gold.score, gold.n, gold.metrics["success"], gold.metrics["breaches"]) == (1.0, 6, 1.0, 0.0)
    assert gold.ci95 is not None
    assert gold.ci95[0] == pytest.approx(0.61, abs=0.01)  # Wilson's, for 6 of 6
    nothing = judged(Always(), chats, source=CHATS)
    assert aggregate(nothing).score == 0.0
    assert "the guest gave up" in nothing[0].reason
    assert nothing[0].output.startswith("Guest: ")


def test_pass_k_tells_how_often_several_trials_in_a_row_succeed() -> None:
    chats = load_dialogues(CHATS, split="test", limit=3)
    found = aggregate(judged(Fickle(), chats, source="builtin:conversations-x4", trials=4))
    assert (found.score, found.n) == (0.5, 12)
    chances = [found.metrics[f"pass^{k}"] for k in (1, 2, 3, 4)]
    assert chances == pytest.approx([pass_hat_k(2, 4, k) for k in (1, 2, 3, 4)])
    assert chances == pytest.approx([1 / 2, 1 / 6, 0, 0])


def test_pass_k_is_refused_where_there_are_too_few_trials() -> None:
    with pytest.raises(ValueError, match="in a row"):
        pass_hat_k(2, 4, 5)


@pytest.mark.parametrize("source", [CHATS, "builtin:conversations-x4"])
def test_a_live_model_holds_conversations_through_the_axis(live: LocalModel, source: str) -> None:
    loaded = load_axes({"proficiency": [source]}, {source: 2})
    items = measure(live, "proficiency", loaded["proficiency"])
    assert len(items) == (2 if source == CHATS else 8)
    assert len({item.id for item in items}) == len(items)
    assert {item.cluster for item in items} == {chat.id for chat in loaded["proficiency"][source]}
    assert all(item.metrics["turns"] is not None for item in items)


def test_a_study_that_trains_on_conversations_measures_held_out_ones() -> None:
    study = Study.model_validate({"base": "b", "data": CHATS, "methods": {"lora": {}}})
    assert study.axes.proficiency == [CHATS]
    assert fingerprint(CHATS) == fingerprint("builtin:hotels")
    measured, trained = (load_dialogues(CHATS, split=split, limit=3) for split in ("test", "train"))
    assert not {chat.id for chat in measured} & {chat.id for chat in trained}
