"""A LoRA that begins as a part of each weight."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from tether import bases
from tether.training.split import Split, least_of_inputs, least_of_weight
from tether.training.update import linear_layers

if TYPE_CHECKING:
    from tether.bases import Base

RANK = 4
LORA = LoraConfig(r=RANK, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")


def moments(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Of inputs that use the first half of each width much more than the second."""
    return {
        name: torch.diag(torch.linspace(1, 0.01, layer.in_features) ** 2)
        for name, layer in linear_layers(model).items()
    }


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=torch.arange(12)[None]).logits
    return found


@pytest.mark.parametrize(
    "split",
    [
        Split(partial(least_of_weight, rank=RANK)),
        Split(partial(least_of_inputs, rank=RANK), moments),
    ],
    ids=["milora", "corda"],
)
def test_the_start_changes_nothing_and_what_is_learned_is_a_plain_lora_of_the_base(
    base: Base, split: Split
) -> None:
    before = logits(bases.load_model(base, torch.float32))
    model = get_peft_model(bases.load_model(base, torch.float32), LORA)
    split.on_train_begin(None, SimpleNamespace(global_step=0), None, model=model)
    assert torch.allclose(logits(model), before, atol=1e-3)

    torch.manual_seed(0)
    for name, weight in model.named_parameters():
        if ".lora_" in name:
            weight.data += 0.05 * torch.randn_like(weight)
    learned = logits(model)
    assert not torch.allclose(learned, before, atol=0.05)
    whole = split.rejoined(model, bases.load_model(base, torch.float32))
    assert torch.allclose(logits(whole), learned, atol=1e-3)
    assert whole.peft_config["default"].r == 2 * RANK  # type: ignore[union-attr]


def test_corda_takes_what_the_inputs_use_least() -> None:
    torch.manual_seed(0)
    weight = torch.randn(6, 10)
    moment = torch.diag(torch.tensor([1.0] * 6 + [1e-4] * 4))
    second, first = least_of_inputs(weight, moment, rank=2)
    taken = second @ first
    assert float((taken @ moment @ taken.T).trace()) < 0.1 * float((weight @ moment @ weight.T).trace())
    assert torch.linalg.matrix_rank(taken) == 2


def test_milora_takes_the_least_singular_triples() -> None:
    torch.manual_seed(0)
    weight = torch.randn(6, 10)
    second, first = least_of_weight(weight, None, rank=2)
    left = torch.linalg.svdvals(weight - second @ first)
    assert torch.allclose(left[:4], torch.linalg.svdvals(weight)[:4], atol=1e-4)
    assert torch.allclose(left[4:], torch.zeros(2), atol=1e-4)
