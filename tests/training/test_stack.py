"""Two LoRAs as one: what leaves a sequence does to the base what both did."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch
from peft import LoraConfig, get_peft_model

from tether import bases
from tether.training.stack import stack

if TYPE_CHECKING:
    from pathlib import Path

    from tether.bases import Base


def adapter(model: Any, out: Path, rank: int, alpha: int) -> Any:
    """A LoRA of random weights on a model, saved."""
    torch.manual_seed(rank)
    wrapped: Any = get_peft_model(
        model, LoraConfig(r=rank, lora_alpha=alpha, target_modules="all-linear", init_lora_weights=False)
    )
    wrapped.save_pretrained(out)
    return wrapped.merge_and_unload()


def test_the_stack_of_two_is_the_second_upon_the_first(base: Base, tmp_path: Path) -> None:
    ids = torch.tensor([[5, 6, 7, 8]])
    model = adapter(bases.load_model(base, torch.float32), tmp_path / "one", rank=4, alpha=8)
    model = adapter(model, tmp_path / "two", rank=2, alpha=16)
    stack(tmp_path / "one", tmp_path / "two")
    found = bases.load_tuned(base, tmp_path / "two", torch.float32)
    with torch.no_grad():
        assert torch.allclose(found(ids).logits, model(ids).logits, atol=1e-4)
    about = json.loads((tmp_path / "two" / "adapter_config.json").read_text())
    assert (about["r"], about["lora_alpha"]) == (6, 6)
    assert bases.is_plain_lora(tmp_path / "two")
