"""Two small domains beside the hotel, restaurants and flights, so that a sequence runs anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tether.domains.flights import FLIGHTS
from tether.domains.restaurants import RESTAURANTS
from tether.domains.talk import talk

if TYPE_CHECKING:
    from tether.agent.world import Split
    from tether.chatdata.chats import Chat
    from tether.domains.domain import Domain

DOMAINS: dict[str, Domain] = {domain.name: domain for domain in (RESTAURANTS, FLIGHTS)}


def generate(name: str, n: int, *, seed: int, split: Split) -> list[Chat]:
    """Make ``n`` dialogues of the domain ``name``, a key of ``DOMAINS``.

    Args:
        name: The domain.
        n: How many.
        seed: The same seed gives the same dialogues; the first ones do not depend on ``n``.
        split: Which names and wordings; nothing is shared between splits.
    """
    return [talk(DOMAINS[name], split, seed, index) for index in range(n)]
