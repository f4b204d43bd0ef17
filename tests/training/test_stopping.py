"""Training ends where what it still learns costs more drift than it is worth."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from transformers import TrainerControl

from tether.chatdata.chats import split_select
from tether.methods import find
from tether.methods.run import Run
from tether.methods.tuned import read_record
from tether.training.budget import Budget
from tether.training.stopping import EarlyStop

if TYPE_CHECKING:
    from pathlib import Path

    from tether.bases import Base
    from tether.chatdata.chats import Chat
    from tether.config import Training

MODEL = SimpleNamespace(eval=lambda: None, train=lambda: None, device=torch.device("cpu"))


def priced(multiplier: float) -> Budget:
    return Budget({"general": 0.05}, start=multiplier, rate=0.0, memory=0.0, aim=1.0)


def stopped_at(stop: EarlyStop, budget: Budget, drifts: list[float]) -> int | None:
    """The step after which training ends, drift being measured at every look; None if it never does."""
    for look, drift in enumerate(drifts, start=1):
        budget.observe(look * stop.every, {"general": drift})
        control = TrainerControl()
        stop.on_step_end(None, SimpleNamespace(global_step=look * stop.every), control, model=MODEL)
        if control.should_training_stop:
            return look * stop.every
    return None


@pytest.mark.parametrize(
    ("multiplier", "drifts", "step"),
    [
        (1.0, [0.0, 0.0, 0.0, 0.0, 0.0], None),  # the loss still falls, and nothing is paid for it
        (1.0, [0.0, 0.2, 0.4, 0.6, 0.8], 30),  # each tenth of the loss costs two tenths of drift
        (0.1, [0.0, 0.2, 0.4, 0.6, 0.8], None),  # at a lower price it is worth it
    ],
)
def test_it_stops_two_looks_after_the_cheapest(
    multiplier: float, drifts: list[float], step: int | None
) -> None:
    losses = iter([1.0, 0.9, 0.8, 0.7, 0.6])
    budget = priced(multiplier)
    assert stopped_at(EarlyStop(10, lambda model: next(losses), budget), budget, drifts) == step


def test_what_was_seen_is_priced_anew_when_prices_rise() -> None:
    losses = iter([1.0, 0.9, 0.8, 0.7])
    budget = priced(0.1)
    stop = EarlyStop(10, lambda model: next(losses), budget)
    assert stopped_at(stop, budget, [0.0, 0.2, 0.4]) is None
    assert stop.cheapest.step == 30
    budget.groups["general"].value = 1.0
    assert stop.cheapest.step == 10


def test_between_looks_nothing_is_measured_and_a_run_that_goes_on_knows_its_looks(tmp_path: Path) -> None:
    budget = priced(1.0)
    stop = EarlyStop(10, lambda model: 1.0, budget)
    stop.on_step_end(None, SimpleNamespace(global_step=7), TrainerControl(), model=MODEL)
    assert stop.looks == []
    assert stopped_at(stop, budget, [0.0, 0.1]) is None
    (tmp_path / "checkpoint-20").mkdir()
    args, state = SimpleNamespace(output_dir=str(tmp_path)), SimpleNamespace(global_step=20)
    stop.on_save(args, state, None)
    later = EarlyStop(10, lambda model: 1.0, budget)
    later.on_train_begin(args, state, None)
    assert later.looks == stop.looks != []


@pytest.mark.usefixtures("anchors")
def test_a_training_that_only_forgets_ends_early_and_is_over_when_it_goes_on(
    base: Base, hotels: list[Chat], quick: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worse: Any = iter(range(100))
    monkeypatch.setattr("tether.methods.tether._domain_loss", lambda *given: lambda live: float(next(worse)))

    def interrupted(*given: Any) -> None:
        raise KeyboardInterrupt

    settings = quick.model_copy(update={"max_steps": 12, "save_steps": 3})
    run = Run(base, *split_select(hotels), tmp_path / "run", settings)
    options = {"stop_every": 2, "learning_rate": 5e-3}
    with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
        killed.setattr("tether.methods.tether.hold", interrupted)
        find("tether")(run, options)
    find("tether")(run, options)
    record = read_record(run.out)
    assert record is not None
    assert len(record["cost"]["step_seconds"]) == 6
    assert [look[0] for look in record["looks"]] == [2, 4, 6]
