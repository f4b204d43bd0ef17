"""Learning rates tried: the one with the least loss is taken, and never one that diverged."""

import math
from pathlib import Path

import pytest
from small_study import asked

from tether import sweeps
from tether.bases import Base
from tether.config import Training
from tether.errors import UserError
from tether.files import write_json
from tether.study import Story

DPO = {"dpo": {"learning_rate": [1e-5, 1e-2], "rank": 4}}


def tried(method: Path, losses: dict[float, float | None]) -> None:
    """Records of trials, as a study leaves them."""
    for rate, loss in losses.items():
        folder = sweeps.trial_folder(method, rate)
        folder.mkdir(parents=True)
        write_json(folder / "tuned.json", {"select_loss": loss})


def test_the_least_loss_is_chosen_and_a_rate_that_diverged_never(tmp_path: Path) -> None:
    tried(tmp_path, {1e-1: None, 1e-4: 0.9, 1e-3: 0.0})
    found = sweeps.points(tmp_path, [1e-1, 1e-4, 1e-3])
    assert [point.learning_rate for point in found if point.chosen] == [1e-3]
    assert [point.select_loss for point in found] == [None, 0.9, 0.0]


def test_a_sweep_of_which_every_rate_diverged_says_so(tmp_path: Path) -> None:
    tried(tmp_path, {1e2: None, 1e3: None})
    with pytest.raises(UserError, match=r"diverged at every learning rate: 100, 1000. try smaller ones"):
        sweeps.points(tmp_path, [1e2, 1e3])


@pytest.mark.usefixtures("anchors")
def test_a_trial_that_diverged_is_kept_as_none(base: Base, quick: Training, tmp_path: Path) -> None:
    """Whether its weights are no numbers, or their answers (a single step leaves the weights finite)."""
    for steps in (1, 4):
        methods = {"lora": {"learning_rate": [1e30, 1e-3]}, "tether": {"learning_rate": [1e30, 1e-3]}}
        training = quick.model_copy(update={"warmup": 0.0, "dialogues": 12})
        study = asked(base, methods=methods, sweep_steps=steps, training=training)
        story = Story(study, tmp_path / str(steps), [0], {}, [])
        for name in methods:
            story.sweep(study.plan(name))
            diverged, fine = sweeps.points(story.out / "methods" / name, [1e30, 1e-3])
            assert diverged.select_loss is None
            assert fine.chosen


@pytest.mark.usefixtures("anchors")
def test_rates_of_preference_tuning_are_judged_by_its_own_loss(base: Base, tmp_path: Path) -> None:
    study = asked(base, data="builtin:hotels-preferences", methods=DPO, sweep_steps=4)
    story = Story(study, tmp_path, [0], {}, [])
    story.sweep(study.plan("dpo"))
    small, large = (point.select_loss for point in story.swept(study.plan("dpo")))
    # A few small steps from the reference, whose loss is log 2 a pair.
    assert small == pytest.approx(math.log(2), abs=0.01)
    assert large != pytest.approx(small, abs=1e-4)
