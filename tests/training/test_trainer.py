from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from tether import bases
from tether.anchors.reference import Reference
from tether.errors import Diverged, UserError
from tether.inference import LocalModel
from tether.methods.run import Run
from tether.training.anchored import Anchoring, Constraint
from tether.training.batches import IGNORED, as_row, collate
from tether.training.budget import Budget
from tether.training.loop import fit
from tether.training.trainer import COST_FILE, last_checkpoint, logits_at

if TYPE_CHECKING:
    from pathlib import Path

    from tether.anchors.anchors import AnchorSet
    from tether.bases import Base
    from tether.chatdata.chats import Chat
    from tether.config import Training


@pytest.fixture
def rows(live: LocalModel, hotels: list[Chat]) -> list[dict[str, list[int]]]:
    return [as_row(live.renderer.encode(chat)) for chat in hotels[:6]]


def run(live: LocalModel, rows: Any, out: Path, settings: Training, **more: Any) -> Any:
    """Trains the live model and gives what it cost."""
    _, cost = fit(
        live.model,
        live.tokenizer,
        rows,
        out=out,
        settings=settings,
        **{"learning_rate": 1e-3, "seed": 0, "label": "Test", **more},
    )
    return cost


def test_the_loss_is_plain_cross_entropy_on_learned_tokens(
    live: LocalModel, rows: list[dict[str, list[int]]]
) -> None:
    batch = collate(rows[:3], pad_id=0)
    logits, targets = logits_at(live.model, batch["input_ids"], batch["labels"])
    plain = live.model(input_ids=batch["input_ids"]).logits[:, :-1].flatten(0, 1)
    expected = cross_entropy(plain, batch["labels"][:, 1:].flatten(), ignore_index=IGNORED)
    assert len(targets) == sum(label != IGNORED for row in rows[:3] for label in row["labels"][1:])
    assert cross_entropy(logits, targets).item() == pytest.approx(expected.item(), abs=1e-5)


def test_training_lowers_the_loss_and_counts_what_it_took(
    live: LocalModel, rows: list[dict[str, list[int]]], quick: Training, tmp_path: Path
) -> None:
    settings = quick.model_copy(update={"max_steps": 20, "save_steps": 100})
    cost = run(live, rows, tmp_path, settings)
    assert [step for step, _ in cost.losses] == [10, 20]
    assert cost.losses[1][1] < cost.losses[0][1]
    assert len(cost.step_seconds) == 20
    assert cost.trainable_parameters == sum(p.numel() for p in live.model.parameters())
    assert 0 < cost.tokens <= 20 * settings.batch_tokens
    assert cost.record()["tokens_per_second"] == pytest.approx(cost.tokens / cost.seconds)


@pytest.mark.parametrize("batch_tokens", [100, 2048], ids=["rows are longer", "rows are shorter"])
def test_an_epoch_is_once_through_the_data(
    live: LocalModel, rows: list[dict[str, list[int]]], tmp_path: Path, quick: Training, batch_tokens: int
) -> None:
    settings = quick.model_copy(update={"epochs": 2.0, "batch_tokens": batch_tokens, "save_steps": 100})
    assert run(live, rows, tmp_path, settings).tokens == 2 * sum(len(row["input_ids"]) for row in rows)


def test_without_warmup_the_first_step_learns(
    live: LocalModel, rows: list[dict[str, list[int]]], tmp_path: Path, quick: Training
) -> None:
    before = [weight.clone() for weight in live.model.parameters()]
    run(live, rows, tmp_path, quick.model_copy(update={"max_steps": 1, "warmup": 0.0}))
    assert not all(map(torch.equal, before, live.model.parameters()))


def test_a_training_that_diverged_says_so(
    live: LocalModel, rows: list[dict[str, list[int]]], tmp_path: Path, quick: Training
) -> None:
    with pytest.raises(Diverged, match="rate of 1e\\+30 diverged.*smaller learning rate"):
        run(live, rows, tmp_path, quick, learning_rate=1e30)


def test_under_a_budget_the_model_drifts_less(
    base: Base, rows: list[dict[str, list[int]]], anchors: AnchorSet, quick: Training, tmp_path: Path
) -> None:
    def drift(start: float) -> tuple[float, Budget]:
        fresh = LocalModel(bases.load_model(base, torch.float32), bases.load_tokenizer(base))
        budget = Budget({"general": 0.001, "safety": 0.001}, start=start, rate=0.15, memory=0.8, aim=0.7)
        settings = quick.model_copy(update={"max_steps": 30, "save_steps": 100})
        reference = Reference(anchors).ask(fresh.model)
        anchoring = Anchoring(anchors, Constraint(budget, reference), every=2, tokens=256)
        run(fresh, rows, tmp_path / str(start), settings, anchoring=anchoring)
        return reference.drift(fresh.model, "general", "train").drift, budget

    loose, _ = drift(0.01)
    tight, budget = drift(100.0)
    assert tight < loose / 2
    looks = [step for step, _, _ in budget.groups["safety"].curve]
    assert looks == list(range(0, 30, 2)), "every look moves the multiplier"


def test_a_checkpoint_cut_short_is_passed_over(tmp_path: Path) -> None:
    for step, files in (
        (2, ("trainer_state.json", COST_FILE)),
        (10, ("trainer_state.json",)),
        (12, (COST_FILE,)),
    ):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        for file in files:
            (folder / file).write_text("{}")
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-10"
    assert last_checkpoint(tmp_path / "checkpoint-2") is None
    assert last_checkpoint(tmp_path / "nowhere") is None


def test_a_checkpoint_holds_cost_and_multipliers(
    live: LocalModel,
    rows: list[dict[str, list[int]]],
    anchors: AnchorSet,
    quick: Training,
    tmp_path: Path,
) -> None:
    budget = Budget({"general": 0.02}, start=1.0, rate=0.15, memory=0.8, aim=0.7)
    held = Constraint(budget, Reference(anchors).ask(live.model))
    run(live, rows, tmp_path, quick, anchoring=Anchoring(anchors, held, every=1, tokens=64))
    folder = last_checkpoint(tmp_path / "checkpoints")
    assert folder == tmp_path / "checkpoints" / "checkpoint-4"
    assert len(json.loads((folder / COST_FILE).read_text())["step_seconds"]) == 4
    assert json.loads((folder / "budget.json").read_text())["general"]["value"] == budget.weights()["general"]


def test_dialogues_are_cut_and_those_without_the_agent_left_out(
    base: Base, hotels: list[Chat], quick: Training, tmp_path: Path
) -> None:
    def rows(most: int) -> list[dict[str, list[int]]]:
        settings = quick.model_copy(update={"max_length": most})
        return Run(base, hotels, hotels, tmp_path, settings).rows(hotels)

    longest = max(len(row["input_ids"]) for row in rows(10_000))
    assert max(len(row["input_ids"]) for row in rows(longest - 10)) == longest - 10
    with pytest.raises(UserError, match="in no dialogue the agent speaks within the first 20 tokens"):
        rows(20)


def test_a_run_killed_after_its_last_step_trains_no_more(
    live: LocalModel, base: Base, rows: list[dict[str, list[int]]], quick: Training, tmp_path: Path
) -> None:
    """As when it was measuring its drift."""
    first = run(live, rows, tmp_path, quick)
    again = LocalModel(bases.load_model(base, torch.float32), bases.load_tokenizer(base))
    second = run(again, rows, tmp_path, quick)
    assert second.tokens == first.tokens
    assert len(second.step_seconds) == 4
    for mine, theirs in zip(again.model.parameters(), live.model.parameters(), strict=True):
        assert torch.equal(mine, theirs)
