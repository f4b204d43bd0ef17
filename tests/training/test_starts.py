"""A LoRA whose A is laid: into what the anchors' inputs do not use, or where the geometry leaves it free."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.helpers import disable_input_dtype_casting

from tether import bases
from tether.training.geometry import Geometry
from tether.training.starts import Laid, left_free, null_space
from tether.training.update import input_weights, linear_layers

if TYPE_CHECKING:
    from tether.bases import Base

RANK = 4


@pytest.fixture
def lora(base: Base) -> torch.nn.Module:
    torch.manual_seed(0)
    config = LoraConfig(r=RANK, target_modules="all-linear", task_type="CAUSAL_LM")
    return get_peft_model(bases.load_model(base, torch.float32), config)


def begin(start: Laid, model: torch.nn.Module, step: int = 0) -> None:
    start.on_train_begin(None, SimpleNamespace(global_step=step), None, model=model)


def inputs(model: torch.nn.Module, seed: int) -> dict[str, torch.Tensor]:
    """Eight inputs of every layer."""
    drawn = torch.Generator().manual_seed(seed)
    layers = linear_layers(model).items()
    return {name: torch.randn(8, layer.in_features, generator=drawn) for name, layer in layers}


def moments(model: torch.nn.Module, seed: int) -> dict[str, torch.Tensor]:
    return {name: x.T @ x / len(x) for name, x in inputs(model, seed).items()}


def copies(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in input_weights(model).items()}


def test_a_lies_where_the_inputs_have_no_energy(lora: torch.nn.Module) -> None:
    begin(Laid(partial(null_space, partial(moments, seed=0))), lora)
    for name, weight in input_weights(lora).items():
        assert torch.allclose(weight @ inputs(lora, 0)[name].T, torch.zeros(RANK, 8), atol=1e-4)


def test_a_lies_in_what_the_geometry_has_left_of_its_rows_which_answer_the_domain_each_with_something_else(
    lora: torch.nn.Module,
) -> None:
    first, geometry = copies(lora), Geometry(moments(lora, 0), moments(lora, 1))
    begin(Laid(partial(left_free, geometry, 3.0)), lora)
    for name, weight in copies(lora).items():
        answers = weight @ geometry.domain[name] @ weight.T
        assert torch.allclose(answers / answers.diagonal().mean(), torch.eye(RANK), atol=0.01), name
        shaped = first[name] @ geometry.filter(name, 3.0)
        spans = torch.linalg.qr(torch.cat([shaped, weight]).T)
        assert spans.R.diagonal()[RANK:].abs().max() <= 0.01 * weight.norm(), "the span is the shaped rows'"


@pytest.mark.parametrize("stays", [True, False])
def test_a_is_laid_at_its_own_size_and_trained_where_it_does_not_stay(
    lora: torch.nn.Module, stays: bool
) -> None:
    first, geometry = copies(lora), Geometry(moments(lora, 0), moments(lora, 1))
    begin(Laid(partial(left_free, geometry, 3.0, white=False), stays), lora)
    for name, weight in input_weights(lora).items():
        assert weight.requires_grad is not stays
        assert torch.isclose(weight.norm(), first[name].norm())
    assert all(one.requires_grad for name, one in lora.named_parameters() if ".lora_B." in name)


def test_a_run_that_goes_on_keeps_the_a_of_its_checkpoint(lora: torch.nn.Module) -> None:
    def none_measured(model: torch.nn.Module) -> dict[str, torch.Tensor]:
        raise AssertionError

    before = copies(lora)
    begin(Laid(none_measured), lora, step=2)
    for name, weight in input_weights(lora).items():
        assert torch.equal(weight, before[name])
        assert not weight.requires_grad


def test_an_a_that_stays_is_held_in_the_precision_that_it_computes_in(base: Base) -> None:
    torch.manual_seed(0)
    model: torch.nn.Module = get_peft_model(bases.load_model(base, torch.bfloat16), LoraConfig(r=RANK))
    for name, weight in model.named_parameters():
        if ".lora_" in name:
            torch.nn.init.normal_(weight)
    ids = torch.arange(5, 25)[None]
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad(), disable_input_dtype_casting(model):
        before = model(input_ids=ids).logits
        begin(Laid(lambda _: {}), model)
        after = model(input_ids=ids).logits
    assert {weight.dtype for weight in input_weights(model).values()} == {torch.bfloat16}
    assert torch.equal(before, after)
