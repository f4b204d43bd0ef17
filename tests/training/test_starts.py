"""A LoRA that reads only what the anchors' inputs do not use."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import torch
from peft import LoraConfig, get_peft_model

from tether import bases
from tether.training.starts import NullSpace
from tether.training.update import input_weights, linear_layers

if TYPE_CHECKING:
    from tether.bases import Base


def test_a_lies_where_the_inputs_have_no_energy_and_is_not_trained(base: Base) -> None:
    model = bases.load_model(base, torch.float32)
    torch.manual_seed(0)
    inputs = {name: torch.randn(8, layer.in_features) for name, layer in linear_layers(model).items()}
    lora = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    sizes = {name: float(weight.detach().norm()) for name, weight in input_weights(lora).items()}

    start = NullSpace(lambda model: {name: x.T @ x / len(x) for name, x in inputs.items()})
    start.on_train_begin(None, SimpleNamespace(global_step=0), None, model=lora)
    for name, weight in input_weights(lora).items():
        assert not weight.requires_grad
        assert torch.allclose(weight @ inputs[name].T, torch.zeros(4, 8), atol=1e-4)
        assert torch.isclose(weight.norm(), torch.tensor(sizes[name]))
    assert any(".lora_B." in name and one.requires_grad for name, one in lora.named_parameters())


def test_a_run_that_goes_on_keeps_the_a_of_its_checkpoint(base: Base) -> None:
    model = bases.load_model(base, torch.float32)
    lora = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    before = {name: weight.detach().clone() for name, weight in input_weights(lora).items()}

    def none_measured(model: object) -> dict[str, torch.Tensor]:
        raise AssertionError

    NullSpace(none_measured).on_train_begin(None, SimpleNamespace(global_step=2), None, model=lora)
    for name, weight in input_weights(lora).items():
        assert torch.equal(weight, before[name])
        assert not weight.requires_grad
