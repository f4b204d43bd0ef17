"""LoRA-Null: what the anchors' inputs do not use is where the LoRA reads."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from peft import LoraConfig

from tether.methods.peft_adapters import CAUSAL, adapted
from tether.methods.registry import method
from tether.training.measured import anchor_moments
from tether.training.starts import Laid, null_space

if TYPE_CHECKING:
    from tether.methods.run import Run
    from tether.methods.tuned import Tuned


@method("lora-null", paper="arXiv:2503.02659")
def lora_null(run: Run, *, rank: int = 16, alpha: int = 32, learning_rate: float | None = None) -> Tuned:
    """LoRA whose A stays in the directions that the anchors' inputs use least; B alone is trained."""
    moments = partial(anchor_moments, anchors=run.anchors)
    lora = LoraConfig(r=rank, lora_alpha=alpha, target_modules="all-linear", task_type=CAUSAL)
    return adapted(run, lora, learning_rate, kind="lora", callbacks=[Laid(partial(null_space, moments))])
