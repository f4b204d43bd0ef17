from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from peft import LoraConfig

from tether import bases
from tether.inference import LocalModel
from tether.training.batches import as_row
from tether.training.filters import Filters, filters
from tether.training.loop import fit
from tether.training.measured import Measured, measure
from tether.training.shaping import Shaping
from tether.training.update import input_weights, linear_layers

if TYPE_CHECKING:
    from pathlib import Path

    from tether.anchors.anchors import AnchorSet
    from tether.bases import Base
    from tether.chatdata.chats import Chat
    from tether.config import Training
    from tether.training.geometry import Geometry

LORA = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")


def train(base: Base, hotels: list[Chat], settings: Training, out: Path, **more: Any) -> torch.nn.Module:
    """A few steps of real training from the same seed."""
    model = LocalModel(bases.load_model(base, torch.float32), bases.load_tokenizer(base))
    rows = [as_row(model.renderer.encode(chat)) for chat in hotels[:6]]
    tuned, _ = fit(
        model.model,
        model.tokenizer,
        rows,
        out=out,
        settings=settings,
        learning_rate=1e-2,
        seed=0,
        label="Test",
        **more,
    )
    return tuned


def measured(live: LocalModel, hotels: list[Chat], anchors: AnchorSet, folder: Path) -> Measured:
    rows = [live.renderer.encode(chat).input_ids for chat in hotels]
    return measure(live.model, rows, anchors, folder)


@pytest.fixture
def geometry(live: LocalModel, hotels: list[Chat], anchors: AnchorSet, tmp_path: Path) -> Geometry:
    return measured(live, hotels, anchors, tmp_path / "measured").geometry()


@pytest.fixture
def half_closed(base: Base) -> Filters:
    """Filters that let nothing through in the first half of every layer's input directions."""
    layers = linear_layers(bases.load_model(base)).items()
    open_ = {
        name: (torch.arange(layer.in_features) >= layer.in_features // 2).float() for name, layer in layers
    }
    shapes = {name: torch.diag(kept) if "q_proj" in name else kept for name, kept in open_.items()}
    return Filters({}, shapes)


def closed_half(weight: torch.Tensor) -> torch.Tensor:
    return weight.detach()[:, : weight.shape[1] // 2]


@pytest.mark.parametrize("adapter", [LORA, None])
def test_nothing_moves_in_a_closed_direction(
    base: Base, hotels: list[Chat], quick: Training, half_closed: Filters, tmp_path: Path, adapter: Any
) -> None:
    still = quick.model_copy(update={"max_steps": 1, "warmup": 1.0})  # the first step's rate is zero
    before = input_weights(train(base, hotels, still, tmp_path / "b", adapter=adapter))
    tuned = train(base, hotels, quick, tmp_path / "t", adapter=adapter, callbacks=[Shaping(half_closed)])
    moved = 0.0
    for name, weight in input_weights(tuned).items():
        if name == "lm_head":  # tied to the embeddings, which are no layer's input
            continue
        assert torch.equal(closed_half(weight), closed_half(before[name])), name
        moved += float((weight - before[name]).detach().norm())
    assert moved > 0


def test_all_weights_under_a_pull_of_nothing_train_as_without_it(
    base: Base, hotels: list[Chat], quick: Training, anchors: AnchorSet, tmp_path: Path
) -> None:
    live = LocalModel(bases.load_model(base, torch.float32), bases.load_tokenizer(base))
    geometry = measured(live, hotels, anchors, tmp_path / "measured").geometry()
    free = Shaping(filters(geometry, 0.0), eigenbasis=False)
    shaped = dict(train(base, hotels, quick, tmp_path / "s", callbacks=[free]).named_parameters())
    plain = dict(train(base, hotels, quick, tmp_path / "p").named_parameters())
    for name, before in live.model.named_parameters():
        move = plain[name] - before
        assert (shaped[name] - plain[name]).norm() <= 0.05 * move.norm(), name


def test_what_was_measured_is_not_measured_again(
    live: LocalModel, hotels: list[Chat], anchors: AnchorSet, tmp_path: Path
) -> None:
    first = measured(live, hotels, anchors, tmp_path)
    assert sorted(first.groups) == sorted(anchors.groups)
    safety = dict(first.groups["safety"])  # read now: the moments come from the file when they are asked for
    (tmp_path / "anchors" / "safety.safetensors").unlink()  # as if killed there
    kept = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.safetensors")}
    again = measured(live, hotels, anchors, tmp_path)
    assert {file: file.stat().st_mtime_ns for file in kept} == kept
    for name, moment in safety.items():
        assert torch.equal(again.groups["safety"][name], moment)


def test_a_group_may_have_any_name(tmp_path: Path) -> None:
    one = {"layer": torch.eye(2)}
    groups = {name: lambda: one for name in ("a/b", "..", "domain")}
    assert set(Measured.of(tmp_path / "here", lambda: one, groups).groups) == set(groups)
    assert not (tmp_path / "b.safetensors").exists()


def test_the_geometry_of_what_was_measured(
    live: LocalModel, hotels: list[Chat], anchors: AnchorSet, tmp_path: Path
) -> None:
    found = measured(live, hotels, anchors, tmp_path)
    alike, safety = found.geometry(), found.geometry({"general": 0.0, "safety": 1.0})
    assert set(alike.domain) == set(alike.anchors) == set(linear_layers(live.model)) - {"lm_head"}
    for name in alike.domain:
        every = torch.stack([group[name] for group in found.groups.values()])
        assert torch.allclose(alike.anchors[name], every.mean(0), rtol=1e-4)
        assert torch.equal(safety.anchors[name], found.groups["safety"][name])
    first = "model.layers.0.self_attn."
    assert alike.domain[first + "q_proj"] is alike.domain[first + "v_proj"], "one input, one moment"
    update = torch.randn(3, len(alike.domain[first + "q_proj"]))
    by = alike.filter(first + "q_proj", 2.0)
    assert torch.allclose(update @ by, alike.held(first + "q_proj", update, 2.0), atol=1e-4)


@pytest.mark.parametrize("pull", [0.0, 2.0])
def test_turning_and_turning_back_shapes_as_the_filter_alone(
    geometry: Geometry, tmp_path: Path, pull: float
) -> None:
    made = filters(geometry, pull)
    made.keep(tmp_path / "filters")
    kept = Filters.kept(tmp_path / "filters", torch.device("cpu"))
    assert set(kept.turns) == set(kept.shapes) == set(geometry.domain)
    for name in kept.shapes:
        assert torch.equal(kept.shapes[name], made.shapes[name])
        assert torch.equal(kept.turns[name], made.turns[name])
        update = torch.randn(3, len(geometry.domain[name]))
        alone = update @ geometry.filter(name, pull)
        there_and_back = kept.shaped(name, kept.turned(name, update))
        assert (there_and_back - alone).norm() <= 0.02 * alone.norm(), name


def test_another_device_than_the_processor_holds_all_filters_each_shared_one_once(
    geometry: Geometry, tmp_path: Path
) -> None:
    filters(geometry, 1.0).keep(tmp_path / "filters")
    held = Filters.kept(tmp_path / "filters", torch.device("meta"))
    assert {one.device.type for kind in (held.turns, held.shapes) for one in kind.values()} == {"meta"}
    first = "model.layers.0.self_attn."
    assert held.turns[first + "q_proj"] is held.turns[first + "v_proj"]


def test_the_optimizer_works_where_the_domains_inputs_do_not_correlate(geometry: Geometry) -> None:
    made = filters(geometry, 1.0)
    for name, turn in made.turns.items():
        moment = turn.float().T @ geometry.domain[name] @ turn.float()
        aside = moment - torch.diag(moment.diagonal())
        assert aside.norm() <= 0.02 * moment.norm(), name


def test_weight_decay_decays_the_weight_and_not_what_it_is_turned_to() -> None:
    turn = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(0))).Q
    layer = torch.nn.Linear(6, 4, bias=False)
    before = layer.weight.detach().clone()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.5, weight_decay=0.1)
    shaping = Shaping(Filters({"layer": turn}, {"layer": turn.T}))
    shaping.begin(torch.nn.ModuleDict({"layer": layer}))
    layer.weight.grad = torch.zeros_like(before)
    shaping.before_step()
    optimizer.step()
    shaping.after_step()
    assert torch.allclose(layer.weight, 0.95 * before, atol=1e-5)
