"""What drifts too far while it trains is taken back there, and the rest learns to do without."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from tether.chatdata.chats import split_select
from tether.errors import UserError
from tether.files import read_json
from tether.methods import find
from tether.methods.run import Run
from tether.training.budget import Budget
from tether.training.measured import measure
from tether.training.stepback import ALLOWED, StepBack
from tether.training.update import input_weights

if TYPE_CHECKING:
    from pathlib import Path

    from tether.anchors.anchors import AnchorSet
    from tether.bases import Base
    from tether.chatdata.chats import Chat
    from tether.config import Training
    from tether.inference import LocalModel
    from tether.training.measured import Measured

EPSILONS = {"general": 1 / ALLOWED, "safety": 1 / ALLOWED}


def drifted(general: float, safety: float) -> Budget:
    """Ten steps in which drift was measured twice, around these means; before that it was something else."""
    budget = Budget(EPSILONS, start=1.0, rate=0.0, memory=0.0, aim=1.0)
    budget.observe(5, {"general": 100.0, "safety": 100.0})
    for step, times in ((10, 0.5), (15, 1.5)):
        budget.observe(step, {"general": times * general, "safety": times * safety})
    return budget


@pytest.fixture
def measured(live: LocalModel, hotels: list[Chat], anchors: AnchorSet, tmp_path: Path) -> Measured:
    rows = [live.renderer.encode(chat).input_ids for chat in hotels]
    return measure(live.model, rows, anchors, tmp_path / "measured")


def test_a_group_is_pulled_as_far_as_it_drifted_beyond_its_share(measured: Measured) -> None:
    step_back = StepBack(10, drifted(general=4.0, safety=0.5), EPSILONS, measured)
    assert step_back.pulls(20) == {"general": pytest.approx(1.0), "safety": 0.0}


@pytest.mark.parametrize(("general", "step", "taken"), [(4.0, 20, True), (4.0, 19, False), (0.5, 20, False)])
def test_directions_of_a_group_that_drifted_too_far_are_given_up_when_it_is_time(
    live: LocalModel, measured: Measured, general: float, step: int, taken: bool
) -> None:
    model = get_peft_model(live.model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    before = {name: weight.detach().clone() for name, weight in input_weights(model).items()}
    step_back = StepBack(10, drifted(general, safety=0.5), EPSILONS, measured)
    step_back.on_step_end(None, SimpleNamespace(global_step=step), None, model=model)
    for name, weight in input_weights(model).items():
        moment = measured.groups["general"][name]
        if taken:
            assert answered(weight, moment) < 0.9 * answered(before[name], moment), name
            assert weight.norm() <= 1.002 * before[name].norm(), name
        else:
            assert torch.equal(weight, before[name]), name


def answered(rows: torch.Tensor, moment: torch.Tensor) -> float:
    """The energy of what rows answer to inputs of this second moment."""
    lower = rows.detach().float()
    energy = lower**2 * moment if moment.ndim == 1 else lower @ moment * lower
    return float(energy.sum())


def test_training_ends_with_less_drift(
    base: Base, anchors: AnchorSet, hotels: list[Chat], quick: Training, tmp_path: Path
) -> None:
    drift = {}
    for every in (0, 3):
        run = Run(
            base, *split_select(hotels), tmp_path / str(every), quick.model_copy(update={"max_steps": 12})
        )
        options = {"budget": 1e-4, "learning_rate": 5e-3, "rewinding": False, "step_back_every": every}
        find("tether")(run, options)
        groups = read_json(run.out / "drift.json")["groups"]
        drift[every] = {name: groups[name]["drift"] for name in anchors.groups}
    assert all(drift[3][name] < 0.8 * drift[0][name] for name in anchors.groups), drift


@pytest.mark.usefixtures("anchors")
@pytest.mark.parametrize("without", [{"geometry": False}, {"anchor_every": 0}, {"parametrisation": "full"}])
def test_what_it_needs_is_told(
    base: Base, hotels: list[Chat], quick: Training, tmp_path: Path, without: dict[str, Any]
) -> None:
    settings = {key: without[key] for key in without if key == "parametrisation"}
    options = {key: without[key] for key in without if key != "parametrisation"}
    run = Run(base, *split_select(hotels), tmp_path / "run", quick.model_copy(update=settings))
    with pytest.raises(UserError, match="step_back_every"):
        find("tether")(run, {"step_back_every": 2, **options})
