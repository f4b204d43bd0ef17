"""Replay: old data among the new."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from tether.errors import UserError
from tether.methods.registry import method
from tether.sources import load_dialogues
from tether.training.anchored import Anchoring

if TYPE_CHECKING:
    from tether.methods.run import Run
    from tether.methods.tuned import Tuned


@method("replay-self", paper="arXiv:2403.01244")
def replay_self(
    run: Run,
    *,
    rank: int = 16,
    alpha: int = 32,
    learning_rate: float | None = None,
    anchor_every: Annotated[int, Field(gt=0)] = 2,
    anchor_tokens: Annotated[int, Field(gt=0)] = 384,
) -> Tuned:
    """LoRA with tether's anchors as extra data: the same prompts, answers and tokens, but no budget.

    The control for tether. Whoever wins only because it saw the safety prompts, wins here too.
    """
    anchoring = Anchoring(run.anchors, None, every=anchor_every, tokens=anchor_tokens)
    told = {"anchors_sha256": run.anchors.sha256}
    return run.tune("lora", learning_rate, told, rank=rank, alpha=alpha, anchoring=anchoring)


@method("replay")
def replay(
    run: Run,
    *,
    replayed: str | None = None,
    ratio: Annotated[float, Field(gt=0)] = 0.1,
    rank: int = 16,
    alpha: int = 32,
    learning_rate: float | None = None,
) -> Tuned:
    """LoRA with chats of what must not be forgotten among the domain's, ``ratio`` for each of these."""
    if replayed is None:
        raise UserError(
            "replay needs to know what to replay",
            where="replayed",
            fix="name chats of what must not be forgotten: --set replayed=FILE",
        )
    chats = load_dialogues(replayed, split="train")
    many = min(len(chats), max(1, round(ratio * len(run.train))))
    beside = random.Random(run.seed).sample(chats, many)
    told = {"replayed": replayed, "replayed_chats": many}
    return run.tune("lora", learning_rate, told, rank=rank, alpha=alpha, beside=beside)
