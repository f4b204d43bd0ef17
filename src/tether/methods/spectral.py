"""LoRAs that begin as the part of each weight that matters least, by the weight alone or to the anchors."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from peft import LoraConfig

from tether.methods.peft_adapters import CAUSAL, refuse_all_weights
from tether.methods.registry import method
from tether.training.measured import anchor_moments
from tether.training.split import Split, least_of_inputs, least_of_weight

if TYPE_CHECKING:
    from tether.methods.run import Run
    from tether.methods.tuned import Tuned


@method("milora", paper="arXiv:2406.09044")
def milora(run: Run, *, rank: int = 16, alpha: int = 32, learning_rate: float | None = None) -> Tuned:
    """MiLoRA: trains each weight's least singular directions."""
    return _split(run, Split(partial(least_of_weight, rank=rank)), rank, alpha, learning_rate)


@method("corda-kpm", paper="arXiv:2406.05223")
def corda_kpm(run: Run, *, rank: int = 16, alpha: int = 32, learning_rate: float | None = None) -> Tuned:
    """CorDA in its knowledge-preserving mode: trains of each weight what the anchors' inputs use least."""
    moments = partial(anchor_moments, anchors=run.anchors)
    return _split(run, Split(partial(least_of_inputs, rank=rank), moments), rank, alpha, learning_rate)


def _split(run: Run, start: Split, rank: int, alpha: int, learning_rate: float | None) -> Tuned:
    refuse_all_weights(run)
    lora = LoraConfig(r=rank, lora_alpha=alpha, target_modules="all-linear", task_type=CAUSAL)
    tuned, cost, rate = run.fit(run.load("lora"), "lora", learning_rate, adapter=lora, callbacks=[start])
    return run.finish(start.rejoined(tuned, run.load("lora")), "lora", rate, cost)
