"""A sweep: learning rates tried on a few steps each, and judged on what is kept aside from training."""

from __future__ import annotations

import math
import shutil
from typing import TYPE_CHECKING, Any

from tether import bases
from tether.chatdata.preferences import only_preferences
from tether.errors import UserError
from tether.files import write_json
from tether.methods.tuned import read_record
from tether.results import SweepPoint
from tether.training.preference import Objective, PreferenceLoss
from tether.turns import per_token

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tether.methods.registry import Method
    from tether.methods.run import Run


def trial_folder(method: Path, rate: float) -> Path:
    """Where the trial of a learning rate lies in a method's folder."""
    return method / "sweep" / f"{rate:g}"


def judge_trial(run: Run, method: Method, options: Mapping[str, Any]) -> None:
    """Write a trial's loss into its record, None where it diverged, and let its weights go."""
    record = read_record(run.out) or {}
    loss = kept_aside_loss(run, method, options)
    for weights in run.out.glob("*.safetensors"):
        weights.unlink()
    write_json(run.out / bases.RECORD_FILE, {**record, "select_loss": loss if math.isfinite(loss) else None})


def give_up_trial(folder: Path) -> None:
    """Keep of a trial that it diverged, and nothing else."""
    shutil.rmtree(folder)
    folder.mkdir()
    write_json(folder / bases.RECORD_FILE, {"select_loss": None})


def kept_aside_loss(run: Run, method: Method, options: Mapping[str, Any]) -> float:
    """Loss of a run's model on its select split: nats per token of chats, or per pair of preferences."""
    live = run.live(bases.load_tuned(run.base, run.out))
    if method.data == "preferences":
        asked = {**method.options, **options}
        objective = Objective(asked["beta"], asked["sft"])
        reference = run.live(bases.load_model(run.base))
        return PreferenceLoss(reference, only_preferences(run.select), objective)(live)
    return per_token(live.chat_losses(run.select))


def is_judged(folder: Path) -> bool:
    """Whether a trial's folder holds its loss."""
    return "select_loss" in (read_record(folder) or {})


def points(method: Path, rates: Sequence[float]) -> list[SweepPoint]:
    """Every learning rate that was tried, with its loss; the one with the least is chosen.

    Raises:
        UserError: Every one of them diverged.
    """
    losses = {rate: (read_record(trial_folder(method, rate)) or {}).get("select_loss") for rate in rates}
    finite = {rate: loss for rate, loss in losses.items() if loss is not None}
    if not finite:
        tried = ", ".join(f"{rate:g}" for rate in rates)
        raise UserError(
            f"training diverged at every learning rate: {tried}", where=str(method), fix="try smaller ones"
        )
    best = min(finite, key=finite.__getitem__)
    return [
        SweepPoint(learning_rate=rate, select_loss=loss, chosen=rate == best) for rate, loss in losses.items()
    ]
