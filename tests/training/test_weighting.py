from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
import torch

from tether import bases
from tether.chatdata.chats import split_select
from tether.errors import UserError
from tether.methods import find
from tether.methods.run import Run
from tether.training import weighting
from tether.training.anchored import token_weights
from tether.training.batches import IGNORED, as_row, collate
from tether.training.trainer import DomainTrainer
from tether.training.weighting import Weighting, flow_weights, kept_nats, token_nats

if TYPE_CHECKING:
    from pathlib import Path

    from tether.bases import Base
    from tether.chatdata.chats import Chat
    from tether.config import Training
    from tether.inference import LocalModel


@pytest.fixture
def rows(live: LocalModel, hotels: list[Chat]) -> list[dict[str, Any]]:
    return [as_row(live.renderer.encode(chat)) for chat in hotels[:5]]


@pytest.fixture
def nats(live: LocalModel, rows: list[dict[str, Any]]) -> list[torch.Tensor]:
    return token_nats(live.model, rows, pad_id=0)


def test_the_bases_nats_are_those_that_it_is_scored_by(
    live: LocalModel, hotels: list[Chat], nats: list[torch.Tensor]
) -> None:
    for found, (total, count) in zip(nats, live.chat_losses(hotels[:5]), strict=True):
        assert len(found) == count
        assert float(found.sum()) == pytest.approx(total, rel=1e-4)


def test_they_are_computed_once(
    live: LocalModel, rows: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = kept_nats(tmp_path / "checkpoints" / "nats.safetensors", live.model, rows, pad_id=0)
    monkeypatch.delattr(weighting, "token_nats")
    again = kept_nats(tmp_path / "checkpoints" / "nats.safetensors", live.model, rows, pad_id=0)
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))


def test_stm_masks_what_the_base_finds_unlikely(rows: list[dict[str, Any]], nats: list[torch.Tensor]) -> None:
    for row, before, of_row in zip(Weighting(stm=2.5)(rows, nats), rows, nats, strict=True):
        learned = [index for index, label in enumerate(before["labels"]) if label != IGNORED]
        likely = [index for index, nat in zip(learned, of_row.tolist(), strict=True) if nat <= math.log(2.5)]
        assert [index for index, label in enumerate(row["labels"]) if label != IGNORED] == likely
        assert row["input_ids"] == before["input_ids"]
        assert row["weight"] == 1


def test_flow_weighs_by_the_bases_loss() -> None:
    weights = flow_weights([1.0, 2.0, 6.0])
    assert sum(weights) / 3 == pytest.approx(1)
    assert [weight / weights[1] for weight in weights] == pytest.approx([math.exp(0.5), 1, math.exp(-2)])


def test_a_rows_weight_multiplies_its_loss(live: LocalModel, rows: list[dict[str, Any]]) -> None:
    def loss(*weights: float) -> float:
        weighted = [{**row, "weight": weight} for row, weight in zip(rows, weights, strict=False)]
        batch = collate(weighted, pad_id=0)
        count = int((batch["labels"][:, 1:] != IGNORED).sum())
        trainer = object.__new__(DomainTrainer)
        return count * trainer.compute_loss(live.model, batch).item()

    assert loss(2.0, 0.5) == pytest.approx(2 * loss(1.0, 0.0) + 0.5 * loss(0.0, 1.0), rel=1e-4)


def test_the_first_tokens_of_every_answer_count_more() -> None:
    assert token_weights([2, 7], 3.0).tolist() == [3, 3, 3, 3, 3, 3, 3, 1, 1]
    assert token_weights([6], 1.0).tolist() == [1] * 6


@pytest.mark.usefixtures("anchors")
def test_tether_takes_all_of_them_together(
    base: Base, hotels: list[Chat], quick: Training, tmp_path: Path
) -> None:
    run = Run(base, *split_select(hotels), tmp_path / "run", quick)
    find("tether")(run, {"stm": 20.0, "flow": True, "first_tokens": 2.0, "learning_rate": 5e-3})
    assert bases.is_adapter(run.out)


def test_a_threshold_that_leaves_nothing_is_told_of(
    base: Base, hotels: list[Chat], quick: Training, tmp_path: Path
) -> None:
    run = Run(base, *split_select(hotels), tmp_path / "run", quick)
    with pytest.raises(UserError, match=r"stm: no token has a perplexity of 0\.5 or less"):
        find("stm")(run, {"threshold": 0.5})
