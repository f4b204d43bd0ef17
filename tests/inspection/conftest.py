"""Updates of the tiny base whose effect is known beforehand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from peft import LoraConfig, get_peft_model

from tether import bases

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tether.bases import Base


@pytest.fixture
def adapted(base: Base, tmp_path: Path) -> Callable[[str], Path]:
    """Makes an adapter folder whose B is random where a layer's name has ``where`` in it, and else zero."""

    def make(where: str) -> Path:
        torch.manual_seed(0)
        # Scaled apart from 1, so that a forgotten scale shows.
        config = LoraConfig(r=4, lora_alpha=10, target_modules="all-linear")
        model = get_peft_model(bases.load_model(base), config)
        for name, weight in model.named_parameters():
            if "lora_B" in name and where and where in name:
                torch.nn.init.normal_(weight, std=0.1)
        folder = tmp_path / f"adapter-{where or 'zero'}"
        model.save_pretrained(str(folder))
        return folder

    return make
