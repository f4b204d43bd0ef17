"""Together AI's fine-tuning."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tether import bases
from tether.hosted.services import TOGETHER
from tether.hosted.tuning import POLL_SECONDS, Terms
from tether.methods.registry import method

if TYPE_CHECKING:
    from tether.methods.run import Run, Tuned


@method("together", service=TOGETHER)
def together(
    run: Run,
    *,
    rank: int | None = None,
    alpha: int | None = None,
    learning_rate: float | None = None,
    batch_size: int | None = None,
    local_base: str | None = None,
    max_price: float | None = None,
    poll_seconds: float = POLL_SECONDS,
) -> Tuned:
    """Together AI's LoRA of a model of its own; the adapter is brought home and measured on `local_base`."""
    own = {"lora_r": rank, "lora_alpha": alpha, "learning_rate": learning_rate, "batch_size": batch_size}
    # The user's word for it that the two are the same weights; Together tells of no revision.
    here = (
        {}
        if local_base is None
        else {"revision": bases.resolve(local_base).revision, "local_base": local_base}
    )
    return run.have_tuned(TOGETHER, own, Terms(run.yes, max_price, poll_seconds), **here)
