"""A penalty on what an update adds to the layers' outputs on anchors, as a share of what the base gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from drawn_moments import drawn_moment, sketched
from peft import LoraConfig, get_peft_model

from tether import bases
from tether.anchors.sketch import opened
from tether.training.output_penalty import OutputPenalty
from tether.training.update import linear_layers, lora_products

if TYPE_CHECKING:
    from tether.anchors.layered import Layers
    from tether.bases import Base


@pytest.fixture
def lora(base: Base) -> torch.nn.Module:
    torch.manual_seed(0)
    config = LoraConfig(r=4, lora_alpha=12, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(bases.load_model(base, torch.float32), config)
    for name, weight in model.named_parameters():
        weight.requires_grad_(".lora_B." in name)
        if ".lora_B." in name:
            torch.nn.init.normal_(weight)
    return model


def moments(model: torch.nn.Module, wide: bool) -> dict[str, torch.Tensor]:
    """Of every layer but one, which has not been seen."""
    layers = list(linear_layers(model).items())[1:]
    whole = {name: drawn_moment(layer.in_features, 8, seed) for seed, (name, layer) in enumerate(layers)}
    return {name: sketched(moment) for name, moment in whole.items()} if wide else whole


def penalty(model: torch.nn.Module, anchors: Layers) -> torch.Tensor:
    """Its definition: the sum over layers of tr(dW C dW^T) / tr(W C W^T)."""
    base, shares = linear_layers(model), []
    for name, (first, second, scale) in lora_products(model).items():
        if name in anchors:
            inputs, update = opened(anchors[name], torch.float32).dense(), scale * second @ first
            weight = base[name].weight
            shares.append((update @ inputs * update).sum() / (weight @ inputs * weight).sum())
    return torch.stack(shares).sum()


@pytest.mark.parametrize("wide", [False, True])
def test_a_step_gets_the_penalty_s_own_gradient_added_to_the_domain_s(
    lora: torch.nn.Module, wide: bool
) -> None:
    anchors = moments(lora, wide)
    trained = [weight for weight in lora.parameters() if weight.requires_grad]
    wanted = torch.autograd.grad(7 * penalty(lora, anchors), trained, allow_unused=True)
    assert any(gradient is None for gradient in wanted), "of the layer that was not seen"
    for weight in trained:
        weight.grad = torch.ones_like(weight)
    held = OutputPenalty(7.0, anchors)
    held.on_train_begin(None, None, None, model=lora)
    held.on_pre_optimizer_step(None, None, None)
    for weight, gradient in zip(trained, wanted, strict=True):
        added = torch.zeros_like(weight) if gradient is None else gradient
        assert weight.grad is not None
        assert torch.allclose(weight.grad - 1, added, rtol=1e-3, atol=1e-5)


def test_a_weight_that_has_no_gradient_is_no_part_of_the_step(lora: torch.nn.Module) -> None:
    held = OutputPenalty(7.0, moments(lora, wide=False))
    held.on_train_begin(None, None, None, model=lora)
    held.on_pre_optimizer_step(None, None, None)
    assert all(weight.grad is None for weight in lora.parameters())
