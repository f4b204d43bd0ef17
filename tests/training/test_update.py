from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import MixtralConfig, MixtralForCausalLM

from tether import bases
from tether.errors import UserError
from tether.training.update import (
    AdapterUpdate,
    WeightUpdate,
    check_plain_lora,
    input_weights,
    linear_layers,
    lora_targets,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tether.bases import Base
    from tether.training.update import Update

IDS = torch.tensor([[5, 17, 30, 99, 200]])


def logits(update: Update) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = update.model(input_ids=IDS).logits.float()
    return found


def adapter(base: Base) -> Update:
    """An adapter that does something: B is zero only before training."""
    torch.manual_seed(0)
    model = get_peft_model(
        bases.load_model(base, torch.float32), LoraConfig(r=4, target_modules="all-linear")
    )
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)
    return AdapterUpdate(model.eval())


def all_weights(base: Base) -> Update:
    model = bases.load_model(base, torch.float32)
    update = WeightUpdate(model)
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    return update.trained()


@pytest.mark.parametrize("make", [adapter, all_weights])
def test_scale_zero_is_the_base_and_one_the_tuned_model(make: Callable[[Base], Update], base: Base) -> None:
    update = make(base)
    tuned = logits(update)
    dtype = next(update.model.parameters()).dtype
    plain = bases.load_model(base, dtype)
    with torch.no_grad():
        before = plain(input_ids=IDS).logits.float()
    with update.scaled(0.0):
        assert torch.equal(logits(update), before)
    with update.scaled(1.0):
        assert torch.equal(logits(update), tuned)
    assert torch.equal(logits(update), tuned), "afterwards all of the update is there again"
    assert not torch.allclose(tuned, before, atol=0.01)


@pytest.mark.parametrize("make", [adapter, all_weights])
def test_what_is_kept_is_what_was_looked_at(make: Callable[[Base], Update], base: Base) -> None:
    update = make(base)
    with update.scaled(0.4):
        looked_at = logits(update)
    update.keep(0.4)
    assert torch.allclose(logits(update), looked_at, atol=1e-4)
    with update.scaled(1.0):
        assert torch.allclose(logits(update), looked_at, atol=1e-4), "it is the update since"


@pytest.mark.parametrize("make", [adapter, all_weights])
def test_the_update_is_whole_again_after_a_fault(make: Callable[[Base], Update], base: Base) -> None:
    update = make(base)
    tuned = logits(update)
    with pytest.raises(RuntimeError), update.scaled(0.3):
        raise RuntimeError
    assert torch.equal(logits(update), tuned)


@pytest.mark.parametrize("make", [adapter, all_weights])
def test_a_shape_is_given_every_layer_and_undone_afterwards(
    make: Callable[[Base], Update], base: Base
) -> None:
    update = make(base)
    tuned, seen = logits(update), set()

    def halved(name: str, change: torch.Tensor) -> torch.Tensor:
        seen.add(name)
        return change / 2

    with update.scaled(0.5):
        half = logits(update)
    with update.scaled(1.0, halved):
        assert torch.allclose(logits(update), half, atol=1e-3)
    assert torch.equal(logits(update), tuned)
    assert input_weights(update.model).keys() - {"lm_head"} <= seen
    update.keep(1.0, halved)
    assert torch.allclose(logits(update), half, atol=1e-3)


def test_a_lora_around_them_hides_no_layers_of_the_base(base: Base) -> None:
    plain = linear_layers(bases.load_model(base))
    wrapped = linear_layers(adapter(base).model)
    assert wrapped.keys() == plain.keys() >= input_weights(adapter(base).model).keys()
    assert all(wrapped[name].in_features == plain[name].in_features for name in plain)


def test_of_a_lora_a_is_as_large_as_the_update(base: Base) -> None:
    """B's columns become orthonormal; in k and v of the tiny model the rank is as large as its rows."""
    torch.manual_seed(0)
    model = get_peft_model(
        bases.load_model(base, torch.float32), LoraConfig(r=20, target_modules="all-linear")
    )
    factors = dict(model.named_parameters())
    seconds = {name: weight for name, weight in factors.items() if "lora_B" in name}
    for weight in seconds.values():
        torch.nn.init.normal_(weight, std=0.05)
    firsts = {name: factors[name.replace("lora_B", "lora_A")] for name in seconds}
    products = {name: (weight @ firsts[name]).detach() for name, weight in seconds.items()}
    AdapterUpdate(model)
    for name, product in products.items():
        assert torch.allclose(seconds[name] @ firsts[name], product, atol=1e-6), name
        assert firsts[name].norm().item() == pytest.approx(float(product.norm()), rel=1e-4), name


@pytest.mark.parametrize("given_out", [None, torch.bfloat16])
def test_all_weights_end_in_the_precision_in_which_the_base_was_given_out(
    base: Base, given_out: torch.dtype | None
) -> None:
    model = bases.load_model(base, torch.float32)
    WeightUpdate(model, given_out).trained()
    assert model.dtype == (given_out or torch.float32)


def test_what_is_no_linear_layers_lora_is_refused(base: Base) -> None:
    """Experts are stacked in one weight, where B A is not the update; embeddings have their own factors."""
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    experts = MixtralForCausalLM(
        MixtralConfig(vocab_size=32, num_key_value_heads=2, num_local_experts=2, **small)
    )
    of_attention = LoraConfig(r=2, target_modules=lora_targets(experts))
    assert set(of_attention.target_modules) == {"q_proj", "k_proj", "v_proj", "o_proj"}
    attention = AdapterUpdate(get_peft_model(copy.deepcopy(experts), of_attention))
    assert len(input_weights(attention.model)) == 4
    for model, targets in ((experts, "all-linear"), (bases.load_model(base), ["q_proj", "embed_tokens"])):
        wrapped = get_peft_model(model, LoraConfig(r=2, target_modules=targets))
        with pytest.raises(UserError, match="is none of a linear layer"):
            AdapterUpdate(wrapped)


def test_a_lora_with_a_bias_is_no_plain_one(base: Base) -> None:
    config = LoraConfig(r=2, target_modules=["q_proj"], lora_bias=True)
    with pytest.raises(UserError, match="peft_config: the adapter is no plain LoRA"):
        check_plain_lora(get_peft_model(bases.load_model(base), config), "peft_config")
