"""What a job would be and cost, told before anything is sent, and what of it the user allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tether.hosted.price import dollars, listed
from tether.hosted.rows import tokens_of, training_text
from tether.hosted.services import OPENAI

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tether.chatdata.chats import Chat
    from tether.hosted.services import HostedName

POLL_SECONDS = 10.0
AUTO_EPOCHS = 3  # what "auto" came to for sets of a few hundred chats; for the estimate alone


@dataclass(frozen=True)
class Terms:
    """What the user allows.

    Attributes:
        yes: Whether the cost is agreed to.
        max_price: Dollars that the job may cost, as far as it can be told before.
        poll_seconds: Between two looks at a job.
    """

    yes: bool
    max_price: float | None
    poll_seconds: float


def estimate(name: HostedName, chats: Sequence[Chat], epochs: int | None) -> tuple[str, float | None]:
    """What a job would be, in words, and its price in dollars where we know one; nothing is sent.

    Raises:
        UserError: The service would not take the chats.
    """
    tokens = tokens_of(training_text(chats, name.service))
    price = listed(name)
    cost = None if price is None else tokens * (epochs or AUTO_EPOCHS) * price.train / 1e6
    times = "the service's own number of epochs" if epochs is None else f"{epochs} epochs"
    told = (
        "at a price that it tells once it has the data"
        if name.service is not OPENAI
        else f"for {dollars(cost)} (by list prices, which change; the bill decides)"
    )
    return f"{len(chats)} chats of about {tokens:,} tokens, {times}, {told}", cost
