"""One training run: a model and encoded rows to a tuned model and its cost; goes on where it was killed."""

from __future__ import annotations

import json
import time
import warnings
from typing import TYPE_CHECKING, Any

import torch
from datasets import Dataset
from peft import LoraConfig
from peft.helpers import disable_input_dtype_casting
from transformers import TrainerCallback, TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from trl import DPOConfig, SFTConfig

from tether import bases
from tether.errors import Diverged, UserError
from tether.progress import Task, task
from tether.training.anchored import AnchoredTrainer, Anchoring
from tether.training.batches import TokenBatches
from tether.training.cost import Cost, peak_memory, reset_peak_memory
from tether.training.preference import AnchoredPreferenceTrainer, Objective, PreferenceTrainer
from tether.training.trainer import COST_FILE, DomainTrainer, last_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from peft import PeftConfig
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from tether.config import Training


TRAINERS: dict[str, tuple[Any, Any]] = {
    "chats": (DomainTrainer, AnchoredTrainer),
    "preferences": (PreferenceTrainer, AnchoredPreferenceTrainer),
}
"""The trainer by what it learns from, without anchors and with them."""


def fit(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[dict[str, Any]],
    *,
    out: Path,
    settings: Training,
    learning_rate: float,
    seed: int,
    label: str,
    adapter: PeftConfig | None = None,
    anchoring: Anchoring | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    preferring: Objective | None = None,
    trainer: Callable[..., Any] | None = None,
) -> tuple[PreTrainedModel, Cost]:
    """Train ``model`` in place and return it (wrapped by PEFT where ``adapter`` is given) with what it cost.

    Args:
        model: Weights in `bases.precision` for an adapter, in float32 for all weights: an optimizer step on
            bfloat16 weights is rounded away at the rates of fine-tuning.
        tokenizer: Its tokenizer.
        rows: ``input_ids`` and ``labels`` of each dialogue, perhaps with a ``weight``; or pairs as `as_pair`
            makes them.
        out: Folder for checkpoints; a run that was killed goes on from the last of them.
        settings: Steps, batch size, schedule.
        learning_rate: Peak rate.
        seed: Of the batches' order and of new weights.
        label: Shown on the progress bar.
        adapter: PEFT config, or None to train all weights.
        anchoring: Anchors and budget, or None for the domain loss alone.
        callbacks: What the method does around each step.
        preferring: What for, where the rows are pairs.
        trainer: A trainer of the method's own; it is given no anchors.

    Raises:
        UserError: The adapter does not fit the model, or training diverged.
    """
    plain, anchored = TRAINERS["preferences" if preferring else "chats"]
    steps = _steps(settings, [plain.size(row) for row in rows])
    checkpoints = out / "checkpoints"
    with task(label, steps) as bar, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*gradient_checkpointing.*", category=FutureWarning)
        watcher = _Watcher(bar, checkpoints, anchoring)
        common = _arguments(checkpoints, settings, learning_rate, seed, steps)
        options: dict[str, Any] = {
            "model": model,
            "args": _dpo(common, preferring, adapter) if preferring else _sft(common),
            "train_dataset": Dataset.from_list(list(rows)),
            "processing_class": tokenizer,
            "peft_config": adapter,
            "callbacks": [watcher, *callbacks],
            "batch_tokens": settings.batch_tokens,
            "cost": watcher.cost,
        }
        if anchoring:
            options["anchoring"] = anchoring
        torch.manual_seed(seed)
        made = _made(trainer or (anchored if anchoring else plain), options)
        # PEFT would copy a LoRA's inputs to its float32, and autocast back: the same bits for 4% of a step.
        with disable_input_dtype_casting(made.model, isinstance(adapter, LoraConfig)):
            _train(made, checkpoints)
    tuned: Any = made.model
    watcher.cost.trainable_parameters = sum(p.numel() for p in tuned.parameters() if p.requires_grad)
    return tuned.eval(), watcher.cost


def _made(trainer: Callable[..., Any], options: dict[str, Any]) -> Any:
    try:
        return trainer(**options)
    except ValueError as error:
        if options["peft_config"] is None:
            raise
        raise UserError(
            f"PEFT cannot put this adapter on the model ({error})", fix="give the method other options"
        ) from error


def _train(trainer: Any, checkpoints: Path) -> None:
    """Train, or go on from the last checkpoint.

    Raises:
        Diverged: The trained weights are no numbers any more.
    """
    # The bar and the log file tell what transformers' own printer would.
    for printer in [c for c in trainer.callback_handler.callbacks if type(c).__name__ == "PrinterCallback"]:
        trainer.remove_callback(printer)
    last = last_checkpoint(checkpoints)
    state = TrainerState.load_from_json(str(last / TRAINER_STATE_NAME)) if last else None
    if state and state.stateful_callbacks["TrainerControl"]["args"]["should_training_stop"]:
        trainer._load_from_checkpoint(str(last))  # its last step is made; transformers would train on
        trainer.state = state
        trainer.callback_handler.on_train_begin(trainer.args, trainer.state, trainer.control)
    else:
        trainer.train(resume_from_checkpoint=str(last) if last else None)
    trained = (weight for weight in trainer.model.parameters() if weight.requires_grad)
    if not all(bool(weight.isfinite().all()) for weight in trained):
        raise Diverged(
            f"training at a learning rate of {trainer.args.learning_rate:g} diverged: no weight is a number",
            where=str(checkpoints.parent),
            fix="begin in another folder, at a smaller learning rate",
        )


def _steps(settings: Training, sizes: Sequence[int]) -> int:
    """Steps of a training; a batch is seldom quite full, so that an epoch is more than its tokens say."""
    if settings.epochs is None:
        return settings.max_steps
    return max(1, round(settings.epochs * len(TokenBatches(sizes, settings.batch_tokens, seed=0))))


def _arguments(
    folder: Path, settings: Training, learning_rate: float, seed: int, steps: int
) -> dict[str, Any]:
    """What all of TRL's trainers are told."""
    return {
        "output_dir": str(folder),
        "max_steps": steps,
        "learning_rate": learning_rate,
        "lr_scheduler_type": settings.schedule,
        "warmup_steps": max(1, round(settings.warmup * steps)) if settings.warmup else 0,
        "weight_decay": settings.weight_decay,
        "max_grad_norm": settings.max_grad_norm,
        "seed": seed,
        "data_seed": seed,
        "bf16": bases.precision() == torch.bfloat16,
        "use_cpu": not torch.cuda.is_available(),
        "gradient_checkpointing": settings.gradient_checkpointing,
        "save_steps": settings.save_steps,
        "save_total_limit": 1,
        "logging_steps": 10,
        "disable_tqdm": True,
        "report_to": "none",
        "max_length": None,
        "remove_unused_columns": False,
    }


def _sft(common: dict[str, Any]) -> SFTConfig:
    return SFTConfig(**common, loss_type="nll", dataset_kwargs={"skip_prepare_dataset": True})


def _dpo(common: dict[str, Any], preferring: Objective, adapter: PeftConfig | None) -> DPOConfig:
    # Under an adapter the reference is the model without it. Of all weights no second copy is held: what the
    # reference thinks is computed before the first step.
    return preferring.config(**common, precompute_ref_log_probs=adapter is None)


class _Watcher(TrainerCallback):
    """Moves the bar, times the steps, and goes on from a checkpoint's cost."""

    def __init__(self, bar: Task, folder: Path, anchoring: Anchoring | None) -> None:
        self.bar, self.folder, self.cost = bar, folder, Cost()
        self.budget = anchoring.budget if anchoring else None
        self._started = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        reset_peak_memory()
        if state.global_step:
            self.go_on(self.folder / f"checkpoint-{state.global_step}")

    def go_on(self, checkpoint: Path) -> None:
        """Take over a checkpoint's cost."""
        # In place: the trainer counts its tokens into the same object.
        vars(self.cost).update(json.loads((checkpoint / COST_FILE).read_text(encoding="utf-8")))
        self.bar.go_on(len(self.cost.step_seconds))

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._started = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.cost.step_seconds.append(time.perf_counter() - self._started)
        drifts = self.budget.groups if self.budget else {}
        shown = [f"{name} {group.drift:.3f}" for name, group in drifts.items() if group.drift is not None]
        loss = [f"loss {self.cost.losses[-1][1]:.2f}"] if self.cost.losses else []
        self.bar.advance(note=", ".join([*loss, *(["drift " + ", ".join(shown)] if shown else [])]))

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any
    ) -> None:
        if logs and "loss" in logs:
            self.cost.losses.append((state.global_step, float(logs["loss"])))

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.cost.peak_memory_bytes = max(self.cost.peak_memory_bytes, peak_memory())
