"""Together AI's fine-tuning."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tether import bases
from tether.chatdata.rendering import Renderer
from tether.hosted.services import TOGETHER
from tether.hosted.terms import POLL_SECONDS, Terms
from tether.methods.registry import method
from tether.methods.service import have_tuned

if TYPE_CHECKING:
    from tether.methods.run import Run
    from tether.methods.tuned import Tuned


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
    terms = Terms(run.yes, max_price, poll_seconds)
    if local_base is None:
        return have_tuned(run, TOGETHER, run.train, own, terms)
    # The user's word for it that the two are the same weights; Together tells of no revision. What is asked
    # here must be learned there in the same form: tools as our own rendering shows them.
    base = bases.resolve(local_base)
    renderer = Renderer(bases.load_tokenizer(base))
    chats = [renderer.shown(chat) for chat in run.train]
    return have_tuned(run, TOGETHER, chats, own, terms, local_base=local_base, revision=base.revision)
