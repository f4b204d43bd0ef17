"""Sizes and shares of an update, against dense matrices and in directions chosen by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from drawn_moments import sketched
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

from tether import bases
from tether.errors import UserError
from tether.files import write_json
from tether.inspection.energy import Typical, energy, place, typical
from tether.inspection.pair import Layer, open_pair

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tether.bases import Base

ALL = "layers"  # in every adapted layer's name


def moment(width: int, tokens: int) -> torch.Tensor:
    inputs = torch.randn(tokens, width, generator=torch.Generator().manual_seed(1))
    return inputs.T @ inputs / tokens


def test_a_lora_is_measured_as_its_dense_product_is(base: Base, adapted: Callable[[str], Path]) -> None:
    folder = adapted(ALL)
    plain = bases.load_model(base, torch.float32).state_dict()
    merged = bases.load_tuned(base, folder, torch.float32).state_dict()
    layers = list(open_pair(base, folder).layers())
    assert len(layers) == 14, "seven projections of two blocks"
    for layer in layers:
        weight = plain[f"{layer.name}.weight"]
        dense = merged[f"{layer.name}.weight"] - weight
        inputs = moment(weight.shape[1], tokens=50)
        found = energy(layer, inputs)
        assert layer.update.shape == (4, weight.shape[1]), "no dense copy is made"
        assert found.size == pytest.approx(float(dense.norm() / weight.norm()), rel=1e-3)
        added, given = (float((matrix @ inputs @ matrix.T).trace()) for matrix in (dense, weight))
        assert found.disturbance == pytest.approx((added / given) ** 0.5, rel=1e-3)


def test_an_update_in_a_direction_that_anchors_lack_is_not_seen_by_them() -> None:
    inputs = moment(width=16, tokens=10)  # ten texts' worth of directions out of sixteen
    directions = torch.linalg.eigh(inputs).eigenvectors
    weight, column = torch.randn(8, 16), torch.randn(8, 1)
    unseen = energy(Layer("unseen", weight, column @ directions[:, :1].T), inputs)
    strongest = energy(Layer("strongest", weight, column @ directions[:, -1:].T), inputs)
    assert unseen.size == pytest.approx(strongest.size)
    assert unseen.disturbance == pytest.approx(0, abs=1e-3)
    assert unseen.alignment == pytest.approx(0, abs=1e-3)
    assert strongest.alignment is not None
    assert strongest.alignment > 1.5


def test_an_update_that_knows_nothing_of_anchors_has_an_alignment_of_one() -> None:
    inputs = moment(width=64, tokens=20)
    even = energy(Layer("even", torch.randn(32, 64), torch.eye(64)), inputs)
    assert even.alignment == pytest.approx(1)
    drawn = energy(Layer("drawn", torch.randn(32, 64), torch.randn(2000, 64)), inputs)
    assert drawn.alignment == pytest.approx(1, abs=0.05)


def test_of_a_wide_layer_a_sketch_does() -> None:
    inputs = moment(width=16, tokens=10)
    layer = Layer("wide", torch.randn(8, 16), torch.randn(3, 16))
    found, dense = energy(layer, sketched(inputs)), energy(layer, inputs)
    assert (found.size, found.disturbance, found.alignment) == pytest.approx(
        (dense.size, dense.disturbance, dense.alignment), rel=1e-3
    )


def test_without_inputs_the_size_is_all_there_is() -> None:
    found = energy(Layer("model.norm", torch.ones(4), torch.full((4,), 0.1)), None)
    assert found.size == pytest.approx(0.1)
    assert found.disturbance is found.alignment is None


def test_weights_are_found_by_block_and_projection_and_count_alike() -> None:
    names = ["model.layers.0.self_attn.q_proj", "model.layers.11.mlp.up_proj", "lm_head"]
    shares = [0.3, 0.4, 0.5]
    places = [
        place(Layer(n, torch.ones(1, 4), torch.full((1, 4), s)), None)
        for n, s in zip(names, shares, strict=True)
    ]
    assert [(one.block, one.projection) for one in places] == [(0, "q"), (11, "up"), (None, "lm_head")]
    assert typical(places[:2]).size == pytest.approx(((0.3**2 + 0.4**2) / 2) ** 0.5)
    assert typical([]) == Typical(None, None, None)


def test_a_whole_model_is_compared_weight_by_weight(base: Base, tmp_path: Path) -> None:
    model = bases.load_model(base)
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight.mul_(1.5)
    model.save_pretrained(tmp_path)
    places = [place(layer, None) for layer in open_pair(base, tmp_path).layers()]
    assert {one.projection for one in places} >= {"embed_tokens", "norm", "q", "down"}
    changed = {one.name: one.energy.size for one in places if one.energy.size}
    assert changed == {"model.layers.1.mlp.up_proj": pytest.approx(0.5, rel=0.01)}


def test_an_adapter_that_is_no_plain_lora_is_merged_to_be_seen(base: Base, tmp_path: Path) -> None:
    model = get_peft_model(bases.load_model(base), LoraConfig(r=4, use_dora=True, target_modules=["q_proj"]))
    for name, weight in model.named_parameters():
        if "lora_magnitude" in name:
            weight.data.mul_(1.1)
    model.save_pretrained(str(tmp_path))
    places = [place(layer, None) for layer in open_pair(base, tmp_path).layers()]
    changed = {one.projection: one.energy.size for one in places if one.energy.update > 0}
    assert changed == {"q": pytest.approx(0.1, rel=0.05)}


def test_what_was_tuned_on_something_else_is_told_of(base: Base, tmp_path: Path) -> None:
    config = LlamaConfig.from_pretrained(base.location)
    config.intermediate_size *= 2
    LlamaForCausalLM(config).save_pretrained(tmp_path / "wide")
    with pytest.raises(UserError, match=r"gate_proj.weight has the shape \(128, 32\), the base's \(64, 32\)"):
        open_pair(base, tmp_path / "wide")
    write_json(tmp_path / "wide" / bases.RECORD_FILE, {"base": "mistral", "revision": "another"})
    with pytest.raises(UserError, match="tuned on mistral, not on"):
        open_pair(base, tmp_path / "wide")


def test_a_folder_without_weights_is_told_of(
    base: Base, tmp_path: Path, adapted: Callable[[str], Path]
) -> None:
    folder = adapted(ALL)
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(UserError, match="no weights in this folder"):
        open_pair(base, folder)
    with pytest.raises(UserError, match=r"no config\.json"):
        open_pair(base, tmp_path / "nothing")
