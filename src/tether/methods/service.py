"""Methods that leave the work to a service: have a model of its own tuned, and write the record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tether import bases
from tether.errors import UserError
from tether.files import write_json
from tether.hosted.providers import open_provider
from tether.hosted.services import named_at
from tether.hosted.tuning import tune
from tether.hosted.wire import Order
from tether.methods.tuned import Tuned
from tether.training.cost import Cost

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tether.chatdata.chats import Chat
    from tether.hosted.services import Service
    from tether.hosted.terms import Terms
    from tether.methods.run import Run

UNTOLD = ("tokens_per_second", "peak_memory_bytes", "trainable_parameters")  # by any service


def have_tuned(
    run: Run,
    service: Service,
    chats: Sequence[Chat],
    own: Mapping[str, Any],
    terms: Terms,
    **extra: Any,
) -> Tuned:
    """Have a service tune a model of its own, and write the record.

    Args:
        run: The fine-tuning.
        service: Whose model it is.
        chats: The dialogues to learn from, in the form in which it shall see them.
        own: Options that this service alone understands.
        terms: What the user allows.
        extra: For the record.

    Raises:
        UserError: The data, the account or the job will not do.
    """
    model, epochs = named_at(service, run.base.name).model, whole_epochs(run.settings.epochs)
    order = Order(model, "", run.seed, epochs, dict(own))
    done = tune(open_provider(service), order, chats, run.out, terms)
    parametrisation = "lora" if bases.is_adapter(run.out) else "hosted"
    rate: float | None = own.get("learning_rate")
    cost = {"tokens": done.trained_tokens, "seconds": done.seconds, "price": done.price}
    record = run.record(parametrisation, rate, {"epochs": epochs, **own}, cost | dict.fromkeys(UNTOLD))
    record |= {"service": service.title, "job": done.job, "model": done.model, **extra}
    write_json(run.out / bases.RECORD_FILE, record)
    return Tuned(run.out, parametrisation, rate, Cost(tokens=done.trained_tokens or 0), extra)


def whole_epochs(epochs: float | None) -> int | None:
    """Epochs as services count them.

    Raises:
        UserError: It is no whole number.
    """
    if epochs is not None and epochs != int(epochs):
        raise UserError(
            f"services train whole epochs, not {epochs:g}", where="epochs", fix="give a whole number"
        )
    return None if epochs is None else int(epochs)
