from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from transformers import Qwen2MoeConfig, Qwen2MoeForCausalLM

from tether import bases
from tether.anchors import moments as module
from tether.anchors import sketch
from tether.anchors.layered import Mean
from tether.anchors.moments import input_moments
from tether.anchors.sketch import opened

if TYPE_CHECKING:
    from tether.bases import Base

ROWS = [[5, 17, 30, 99, 200, 7], [9, 8, 7], [101, 11]]


def linear_layers(model: torch.nn.Module) -> dict[str, torch.nn.Module]:
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, torch.nn.Linear)}


def test_they_are_the_mean_outer_product_of_every_real_token(
    base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MASSIVE", 1e9)  # nothing is scaled down
    model = bases.load_model(base, torch.float32)
    found = input_moments(model, linear_layers(model), ROWS, label="")
    with torch.no_grad():
        embedded = [model.get_input_embeddings()(torch.tensor(row)) for row in ROWS]
        inputs = torch.cat([model.model.layers[0].input_layernorm(row) for row in embedded])
    assert torch.allclose(
        found["model.layers.0.self_attn.q_proj"], inputs.T @ inputs / len(inputs), atol=1e-5
    )


def test_what_is_passed_over_is_read_but_does_not_count(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MASSIVE", 1e9)  # nothing is scaled down
    model = bases.load_model(base, torch.float32)
    layers = linear_layers(model)
    name, last = "model.layers.1.self_attn.o_proj", len(ROWS[0]) - 1
    whole, but_one = (input_moments(model, layers, [row], label="") for row in (ROWS[0], ROWS[0][:-1]))
    found = input_moments(model, layers, [ROWS[0]], label="", weights=[[0.0] * last + [1.0]])
    assert torch.allclose(found[name], (last + 1) * whole[name] - last * but_one[name], atol=1e-5)
    two = input_moments(model, layers, ROWS[:2], label="", weights=[[1.0] * 6, [0.0] * 3])
    assert torch.allclose(two[name], whole[name], atol=1e-6), "of the second text nothing counts"


@pytest.mark.parametrize("counts", [0.0, 1.0, 2.5])
def test_what_all_texts_begin_with_is_read_once_and_counts_as_often_as_it_stands_there(
    base: Base, monkeypatch: pytest.MonkeyPatch, counts: float
) -> None:
    monkeypatch.setattr(module, "MASSIVE", 1e9)  # nothing is scaled down
    model = bases.load_model(base, torch.float32)
    layers = linear_layers(model)
    opened = [[*range(40, 60), *row] for row in ROWS]
    weights = [[0.0] * 5 + [counts] * 15 + [1.0] * len(row) for row in ROWS]
    found = input_moments(model, layers, opened, label="", weights=weights)
    alone = [
        input_moments(model, layers, [row], label="", weights=[counted])
        for row, counted in zip(opened, weights, strict=True)
    ]
    sizes = [sum(row) for row in weights]
    for name in ("model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj"):
        total = sum(size * one[name] for size, one in zip(sizes, alone, strict=True))
        assert torch.allclose(found[name], total / sum(sizes), atol=1e-5)


def test_layers_that_share_an_input_share_the_moment(base: Base) -> None:
    model = bases.load_model(base, torch.float32)
    found = input_moments(model, linear_layers(model), ROWS, label="")
    layer = "model.layers.1."
    attention = [found[f"{layer}self_attn.{name}"] for name in ("q_proj", "k_proj", "v_proj")]
    assert attention[0] is attention[1] is attention[2]
    assert found[f"{layer}mlp.gate_proj"] is found[f"{layer}mlp.up_proj"]
    assert found[f"{layer}self_attn.o_proj"] is not attention[0]
    assert "lm_head" not in found, "the head is not asked for"


def test_a_mean_is_shared_as_its_sets_are(base: Base) -> None:
    model = bases.load_model(base, torch.float32)
    found = input_moments(model, linear_layers(model), ROWS, label="")
    sets = [found, {name: 3 * moment for name, moment in found.items()}]
    up, gate = ("model.layers.1.mlp.up_proj", "model.layers.1.mlp.gate_proj")
    for mean, times in ((Mean(sets), 2.0), (Mean(sets, [0.75, 0.25]), 1.5)):
        assert set(mean) == set(found)
        assert torch.allclose(mean[up], times * found[up])
        assert mean.owners[gate] == mean.owners[up]
        assert mean[gate] is mean[up]


def test_of_wide_layers_a_sketch_is_kept(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which of eleven tokens shows everything."""
    model = bases.load_model(base, torch.float32)
    layers = linear_layers(model)
    whole = input_moments(model, layers, ROWS, label="")
    monkeypatch.setattr(sketch, "WIDEST", 40)
    monkeypatch.setattr(sketch, "SKETCH", 16)
    found = input_moments(model, layers, ROWS, label="")
    name = "model.layers.0.mlp.down_proj"  # 64 wide; all others 32
    assert found[name].shape == (64, 17)
    shown = opened(found[name]).dense().float()
    assert torch.allclose(shown, whole[name], atol=1e-4 * float(whole[name].trace()))
    assert found["model.layers.0.mlp.up_proj"].shape == (32, 32)


@pytest.mark.parametrize("width", [module.BLOCK, 2 * module.BLOCK + 3])
def test_a_moment_is_symmetric_though_half_of_it_is_summed(width: int) -> None:
    first, second = torch.randn(2, 50, width, generator=torch.Generator().manual_seed(0))
    layer = torch.nn.Linear(width, 1)
    with torch.no_grad(), module.gathering({"layer": layer}) as gatherer:
        layer(first)
        layer(second)
    both = torch.cat([first, second])
    assert torch.allclose(gatherer.moments()["layer"], both.T @ both / 100, atol=1e-5)


def test_a_massive_token_counts_but_does_not_drown_the_others() -> None:
    inputs = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    inputs[0] *= 1e6
    moment = torch.zeros(8, 8)
    module._add_moment(moment, inputs, torch.ones(50))
    largest = module.MASSIVE * inputs.square().sum(1).median()
    assert moment.diagonal().sum() == pytest.approx(float(inputs[1:].square().sum() + largest), rel=1e-4)


def test_layers_may_be_given_their_tokens_in_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a shared expert is: what is padding is known all the same."""
    monkeypatch.setattr(module, "MASSIVE", 1e9)  # nothing is scaled down
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "shared_expert_intermediate_size": 16}
    shape = {"num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2, "num_experts": 4}
    model = Qwen2MoeForCausalLM(Qwen2MoeConfig(vocab_size=256, moe_intermediate_size=8, **sizes, **shape))
    layers = linear_layers(model.eval())
    cuts = (ROWS[:2], ROWS[:1], ROWS[1:2])
    both, first, second = (input_moments(model, layers, rows, label="") for rows in cuts)
    for name in ("gate_proj", "down_proj"):
        name = f"model.layers.0.mlp.shared_expert.{name}"
        assert torch.allclose(both[name], (6 * first[name] + 3 * second[name]) / 9, atol=1e-5)
