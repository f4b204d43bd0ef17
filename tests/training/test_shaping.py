from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from peft import LoraConfig
from transformers import TrainerCallback

from tether import bases
from tether.inference import LocalModel
from tether.training.batches import as_row
from tether.training.kept import Kept
from tether.training.loop import fit
from tether.training.measured import Measured, measure
from tether.training.shaping import Shaping, shaping
from tether.training.starts import Start, left_free, whitened
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


def test_no_weight_moves_in_a_closed_direction(
    base: Base, hotels: list[Chat], quick: Training, tmp_path: Path
) -> None:
    layers = linear_layers(bases.load_model(base)).items()
    open_ = {
        name: (torch.arange(layer.in_features) >= layer.in_features // 2).float() for name, layer in layers
    }
    filters = {name: torch.diag(kept) if "q_proj" in name else kept for name, kept in open_.items()}
    tuned = train(base, hotels, quick, tmp_path, callbacks=[Shaping(filters)])
    before = dict(bases.load_model(base, torch.float32).named_parameters())
    moved = 0.0
    for name, weight in input_weights(tuned).items():
        if name == "lm_head":  # tied to the embeddings, which are no layer's input
            continue
        move = (weight - before[f"{name}.weight"]).detach()
        assert not move[:, : move.shape[1] // 2].any(), name
        moved += float(move.norm())
    assert moved > 0


def test_of_a_lora_b_alone_learns_and_a_keeps_its_size_where_it_was_laid(
    base: Base, hotels: list[Chat], quick: Training, geometry: Geometry, tmp_path: Path
) -> None:
    start = shaping(geometry, 3.0, tmp_path, lora=True)
    tuned = train(base, hotels, quick, tmp_path / "s", adapter=LORA, callbacks=[start])
    still = quick.model_copy(update={"max_steps": 1, "warmup": 1.0})  # the first step's rate is zero
    plain = train(base, hotels, still, tmp_path / "p", adapter=LORA)
    begun = left_free(plain, geometry, 3.0)
    with tuned.disable_adapter():  # as DPO asks its reference
        pass
    trained = {name for name, weight in tuned.named_parameters() if weight.requires_grad}
    assert trained == {name for name, _ in tuned.named_parameters() if ".lora_B." in name}
    assert all(weight.any() for name, weight in tuned.named_parameters() if ".lora_B." in name)
    for name, weight in input_weights(tuned).items():
        size = float(input_weights(plain)[name].detach().norm())
        assert float(weight.norm()) == pytest.approx(size, rel=1e-4)
        assert torch.allclose(weight, begun[name] * (size / begun[name].norm()), atol=1e-5), name


def test_a_start_that_comes_from_a_checkpoint_is_not_laid_again(
    base: Base, hotels: list[Chat], quick: Training, geometry: Geometry, tmp_path: Path
) -> None:
    whole = train(base, hotels, quick, tmp_path / "w", adapter=LORA, callbacks=[Start(laid_once(geometry))])
    half = quick.model_copy(update={"save_steps": 1})
    rows = laid_once(geometry)
    with pytest.raises(KeyboardInterrupt):
        train(base, hotels, half, tmp_path / "h", adapter=LORA, callbacks=[Start(rows), Killed()])
    again = train(base, hotels, half, tmp_path / "h", adapter=LORA, callbacks=[Start(rows)])
    for name, weight in input_weights(whole).items():
        assert torch.equal(weight, input_weights(again)[name]), name


class Killed(TrainerCallback):
    """Ends a training after its first step's checkpoint, as Ctrl-C does."""

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt


def laid_once(geometry: Geometry) -> Any:
    asked: list[torch.nn.Module] = []

    def rows(model: torch.nn.Module) -> dict[str, torch.Tensor]:
        asked.append(model)
        assert len(asked) == 1, "laid a second time"
        return left_free(model, geometry, 1.0)

    return rows


def test_all_weights_under_a_pull_of_nothing_train_as_without_it(
    base: Base, hotels: list[Chat], quick: Training, anchors: AnchorSet, tmp_path: Path
) -> None:
    live = LocalModel(bases.load_model(base, torch.float32), bases.load_tokenizer(base))
    geometry = measured(live, hotels, anchors, tmp_path / "measured").geometry()
    free = shaping(geometry, 0.0, tmp_path, lora=False)
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


def test_filters_are_kept_and_read_again(
    base: Base, hotels: list[Chat], quick: Training, geometry: Geometry, tmp_path: Path
) -> None:
    shaping(geometry, 2.0, tmp_path, lora=False)
    written = (tmp_path / "filters.safetensors").stat().st_mtime_ns
    shaping(geometry, 2.0, tmp_path, lora=False)
    kept = Kept(tmp_path / "filters.safetensors")
    assert (tmp_path / "filters.safetensors").stat().st_mtime_ns == written
    assert set(kept) == set(geometry.domain)
    for name in kept:
        assert torch.equal(kept[name], geometry.filter(name, 2.0).bfloat16())


def test_white_rows_answer_the_domain_each_with_something_else(geometry: Geometry) -> None:
    for name, moment in geometry.domain.items():
        first = torch.randn(4, len(moment), generator=torch.Generator().manual_seed(0))
        free = geometry.free(name, first, 1.0)
        begun = whitened(free, moment).float()
        answers = begun @ moment @ begun.T
        assert torch.allclose(answers, torch.eye(4), atol=0.02), name
        spans = torch.linalg.qr(torch.cat([free, begun]).T)
        assert spans.R.diagonal()[4:].abs().max() <= 0.01 * begun.norm(), "the rows' span is the free rows'"


def test_rows_of_which_only_a_diagonal_is_known_are_white_by_it() -> None:
    rows = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    energies = torch.rand(8) + 0.5
    assert torch.allclose(whitened(rows, energies), whitened(rows, torch.diag(energies)))


def test_a_strong_pull_turns_the_start_away_from_what_the_anchors_use(geometry: Geometry) -> None:
    for name, moment in geometry.anchors.items():
        rows = torch.randn(4, len(moment), generator=torch.Generator().manual_seed(0))
        weak, strong = (
            _share(geometry.free(name, rows, pull), moment, geometry.domain[name]) for pull in (0.1, 100.0)
        )
        assert strong < 0.8 * weak, name


def _share(rows: torch.Tensor, anchors: torch.Tensor, domain: torch.Tensor) -> float:
    """What rows answer to the anchors, for each energy that they answer to the domain."""
    return float((rows @ anchors @ rows.T).trace() / (rows @ domain @ rows.T).trace())
