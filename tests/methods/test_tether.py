"""What tether alone can be told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tether import bases
from tether.anchors import sketch
from tether.chatdata.chats import split_select
from tether.errors import UserError
from tether.files import read_json
from tether.inspection.energy import typical
from tether.inspection.inspect import inspect
from tether.methods import find
from tether.methods.holding import BUDGET, budgets
from tether.methods.run import Run
from tether.methods.tuned import read_record
from tether.training.update import linear_layers

if TYPE_CHECKING:
    from pathlib import Path

    from tether.anchors.anchors import AnchorSet
    from tether.bases import Base
    from tether.chatdata.chats import Chat
    from tether.config import Training


def test_a_group_out_of_sight_is_certified_all_the_same(
    base: Base, anchors: AnchorSet, hotels: list[Chat], quick: Training, tmp_path: Path
) -> None:
    """So a study can show what a group buys."""
    run = Run(base, *split_select(hotels), tmp_path / "run", quick)
    find("tether")(run, {"blind_to": "text", "learning_rate": 5e-3})
    record = read_record(run.out)
    assert record is not None
    assert record["multipliers"].keys() == {"general", "safety"}
    assert all(point["drift"].keys() <= {"general", "safety"} for point in record["rewind"]["curve"])
    certificate = read_json(run.out / "drift.json")
    assert certificate["groups"].keys() == certificate["budget"].keys() == set(anchors.groups)
    assert certificate["anchors_sha256"] == anchors.sha256


def test_training_may_be_held_tighter_than_the_rewind(
    base: Base, anchors: AnchorSet, hotels: list[Chat], quick: Training, tmp_path: Path
) -> None:
    """The multipliers rise above a training budget of next to nothing; what is certified is the budget."""
    multipliers = {}
    for name, tighter in (("as wide", None), ("tighter", 1e-6)):
        run = Run(base, *split_select(hotels), tmp_path / name, quick.model_copy(update={"max_steps": 12}))
        options = {"budget": 50.0, "training_budget": tighter, "learning_rate": 5e-3}
        find("tether")(run, options)
        record = read_record(run.out)
        assert record is not None
        multipliers[name] = {group: curve[-1][2] for group, curve in record["multipliers"].items()}
        assert read_json(run.out / "drift.json")["budget"] == dict.fromkeys(anchors.groups, 50.0)
        assert (record["rewind"]["alpha"], record["rewind"]["pull"]) == (1.0, 0.0), "nothing had to be taken"
    assert all(
        multipliers["tighter"][group] > 1.1 * multipliers["as wide"][group] for group in anchors.groups
    )


@pytest.mark.parametrize("train_a", [False, True])
def test_of_a_base_with_wide_layers_sketches_hold_it(
    base: Base,
    anchors: AnchorSet,
    hotels: list[Chat],
    quick: Training,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    train_a: bool,
) -> None:
    """The budget binds: far below what the whole update drifts by, and the certificate is below it."""
    monkeypatch.setattr(sketch, "WIDEST", 40)  # of 32 and 64 wide layers
    monkeypatch.setattr(sketch, "SKETCH", 16)
    run = Run(base, *split_select(hotels), tmp_path / "run", quick)
    find("tether")(run, {"budget": 0.02, "learning_rate": 2e-2, "train_a": train_a})
    record = read_record(run.out)
    assert record is not None
    whole = record["rewind"]["curve"][0]
    assert not whole["fits"]
    assert record["rewind"]["pull"] > 0
    certificate = read_json(run.out / "drift.json")["groups"]
    assert all(told["drift"] < 0.02 for told in certificate.values())


@pytest.mark.usefixtures("anchors")
def test_a_penalty_keeps_the_layers_outputs_on_anchors_nearer_to_the_base_s(
    base: Base, hotels: list[Chat], quick: Training, tmp_path: Path
) -> None:
    disturbed = {}
    for strength in (0.0, 1e3):
        run = Run(base, *split_select(hotels), tmp_path / str(strength), quick)
        options = {"penalty": strength, "learning_rate": 1e-2, "anchor_every": 0, "rewinding": False}
        tuned = find("tether")(run, options)
        disturbed[strength] = typical(inspect(base, tuned.folder).places).disturbance
    assert 0 < disturbed[1e3] < 0.5 * disturbed[0.0]


def test_a_budget_that_holds_nothing_is_refused(
    base: Base, anchors: AnchorSet, hotels: list[Chat], quick: Training, tmp_path: Path
) -> None:
    run = Run(base, *split_select(hotels), tmp_path / "run", quick)
    with pytest.raises(UserError, match="no anchors are called 'safty'.*did you mean 'safety'"):
        find("tether")(run, {"budget": {"safty": 0.01}})
    assert not run.out.exists(), "before anything is trained"
    with pytest.raises(UserError, match="no anchors are called 'hotels'"):
        find("tether")(run, {"training_budget": {"hotels": 0.01}})
    with pytest.raises(UserError, match="budget of safety: a budget of 0 allows no step"):
        find("tether")(run, {"budget": {"safety": 0.0}})
    with pytest.raises(UserError, match="penalty: .*A that the geometry has laid and that stays"):
        find("tether")(run, {"penalty": 1.0, "train_a": True})
    with pytest.raises(UserError, match="stop_every: .*looks at anchors"):
        find("tether")(run, {"stop_every": 2, "anchor_every": 0})


def test_a_domain_that_comes_later_may_have_its_budget_already(anchors: AnchorSet) -> None:
    shares = budgets({"hotels": 0.2}, anchors.groups, later=["hotels", "restaurants"])
    assert shares == dict.fromkeys(anchors.groups, BUDGET)


@pytest.mark.usefixtures("anchors")
@pytest.mark.parametrize(
    ("options", "trained"),
    [({}, False), ({"train_a": True}, True), ({"geometry": False}, True), ({"pull": 0.0}, True)],
)
def test_an_a_that_the_geometry_has_laid_is_not_trained(
    base: Base, hotels: list[Chat], quick: Training, tmp_path: Path, options: dict[str, Any], trained: bool
) -> None:
    run = Run(base, *split_select(hotels), tmp_path / "run", quick)
    tuned = find("tether")(run, {"rank": 4, "rewinding": False, **options})
    layers = [layer for name, layer in linear_layers(bases.load_model(base)).items() if name != "lm_head"]
    widths = [layer.out_features + trained * layer.in_features for layer in layers]
    assert tuned.cost.trainable_parameters == 4 * sum(widths)
