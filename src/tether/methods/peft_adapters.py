"""Adapters that PEFT brings along, of those that are said to forget little.

In PEFT's own benchmark (method_comparison/MetaMathQA, July 2026) LoRA on the feed-forward layers, SHiRA and
OSF stand on the front of skill against forgetting; in PEFT-Arena (arXiv:2605.28819) OFT does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from peft import LoraConfig, OFTConfig, OSFConfig, ShiraConfig
from peft.helpers import find_kappa_target_modules

from tether.errors import UserError
from tether.methods.registry import method
from tether.training.subspace import AfterStep
from tether.training.update import linear_layers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from peft import PeftConfig
    from transformers import PreTrainedModel, TrainerCallback

    from tether.methods.run import Run
    from tether.methods.tuned import Tuned

FEED_FORWARD = {"mlp", "ffn", "feed_forward"}  # as transformers names them
CAUSAL = "CAUSAL_LM"


@method("lora-mlp", paper="arXiv:2106.09685")
def lora_mlp(run: Run, *, rank: int = 10, alpha: int = 20, learning_rate: float | None = None) -> Tuned:
    """LoRA on the feed-forward layers only: in PEFT's benchmark it forgets least among plain LoRAs."""
    model = run.load("lora")
    layers = [name for name in linear_layers(model) if FEED_FORWARD.intersection(name.split("."))]
    lora = LoraConfig(r=rank, lora_alpha=alpha, target_modules=layers, task_type=CAUSAL)
    return adapted(run, lora, learning_rate, kind="lora", model=model)


@method("rslora", paper="arXiv:2312.03732")
def rslora(run: Run, *, rank: int = 64, alpha: int = 16, learning_rate: float | None = None) -> Tuned:
    """LoRA of a higher rank, scaled by alpha over its root."""
    lora = LoraConfig(
        r=rank, lora_alpha=alpha, use_rslora=True, target_modules="all-linear", task_type=CAUSAL
    )
    return adapted(run, lora, learning_rate)


@method("dora", paper="arXiv:2402.09353")
def dora(run: Run, *, rank: int = 16, alpha: int = 32, learning_rate: float | None = None) -> Tuned:
    """LoRA of the weights' directions, their magnitudes trained apart."""
    lora = LoraConfig(r=rank, lora_alpha=alpha, use_dora=True, target_modules="all-linear", task_type=CAUSAL)
    return adapted(run, lora, learning_rate)


@method("oft", paper="arXiv:2306.07280")
def oft(run: Run, *, block_size: int = 32, learning_rate: float | None = None) -> Tuned:
    """Each layer's input is rotated, block by block."""
    return adapted(
        run,
        OFTConfig(oft_block_size=block_size, target_modules="all-linear", task_type=CAUSAL),
        learning_rate,
    )


@method("shira", paper="arXiv:2406.13175")
def shira(run: Run, *, rank: int = 32, learning_rate: float = 3e-4) -> Tuned:
    """A random few of all weights are trained, as many as a LoRA of this rank has."""
    sparse = ShiraConfig(r=rank, random_seed=run.seed, target_modules="all-linear", task_type=CAUSAL)
    return adapted(run, sparse, learning_rate)


@method("osf", paper="arXiv:2504.07097")
def osf(run: Run, *, kept: float = 0.5, learning_rate: float = 3e-5) -> Tuned:
    """The weights' smaller singular directions are trained, gradients kept off the larger ones."""
    return adapted(run, _subspace(kept), learning_rate)


@method("osf-after-step", paper="arXiv:2504.07097")
def osf_after_step(run: Run, *, kept: float = 0.5, learning_rate: float = 3e-5) -> Tuned:
    """OSF that keeps off after each step: Adam rescales gradients, and what it makes of them leaks back."""
    return adapted(run, _subspace(kept), learning_rate, callbacks=[AfterStep()])


@method("kappatune", paper="arXiv:2506.16289")
def kappatune(
    run: Run, *, share: float = 0.2, rank: int = 16, alpha: int = 32, learning_rate: float | None = None
) -> Tuned:
    """LoRA on the layers of the least condition number."""
    model = run.load("adapter")
    layers = find_kappa_target_modules(model, top_p=share, show_progress=False)["target_modules"]
    lora = LoraConfig(r=rank, lora_alpha=alpha, target_modules=layers, task_type=CAUSAL)
    return adapted(run, lora, learning_rate, model=model)


def _subspace(kept: float) -> OSFConfig:
    return OSFConfig(effective_rank=kept, target_modules="all-linear", task_type=CAUSAL)


def adapted(
    run: Run,
    adapter: PeftConfig,
    learning_rate: float | None,
    *,
    kind: str = "adapter",
    model: PreTrainedModel | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> Tuned:
    """Train an adapter of PEFT's.

    Args:
        run: The fine-tuning.
        adapter: Its configuration.
        learning_rate: None is the adapter's own.
        kind: "lora" where it is a plain one, whose update is B A.
        model: Where training starts, if it is loaded already.
        callbacks: What is done around each step.

    Raises:
        UserError: The settings ask for all weights.
    """
    refuse_all_weights(run)
    model = model or run.load(kind)
    tuned, cost, rate = run.fit(model, kind, learning_rate, adapter=adapter, callbacks=callbacks)
    return run.finish(tuned, kind, rate, cost)


def refuse_all_weights(run: Run) -> None:
    """See that the settings do not ask for what an adapter cannot do.

    Raises:
        UserError: They ask for all weights.
    """
    if run.settings.parametrisation == "full":
        raise UserError(
            "this method is an adapter and cannot train all weights",
            where="parametrisation",
            fix="leave it out",
        )
