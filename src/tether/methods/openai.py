"""OpenAI's fine-tuning."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tether.hosted.services import OPENAI
from tether.hosted.terms import POLL_SECONDS, Terms
from tether.methods.registry import method
from tether.methods.service import have_tuned

if TYPE_CHECKING:
    from tether.methods.run import Run
    from tether.methods.tuned import Tuned


@method("openai", service=OPENAI)
def openai(
    run: Run,
    *,
    batch_size: int | None = None,
    learning_rate_multiplier: float | None = None,
    max_price: float | None = None,
    poll_seconds: float = POLL_SECONDS,
) -> Tuned:
    """OpenAI's supervised fine-tuning of a model of its own; what is not set, OpenAI chooses."""
    own = {"batch_size": batch_size, "learning_rate_multiplier": learning_rate_multiplier}
    return have_tuned(run, OPENAI, run.train, own, Terms(run.yes, max_price, poll_seconds))
