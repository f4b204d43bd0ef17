"""What guest and agent mean, before anything is put into words.

An act has a kind and slots. Slots carry the same names as the tools' arguments (``city``, ``check_in``, ...),
so that what a guest says can be handed to a tool as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Slots = dict[str, Any]


@dataclass(frozen=True)
class Act:
    """One thing that is said.

    Guests: greet, remark, want (the first wish, with ``intent``), inform, rethink (a change of mind),
    amend (what to change in a booking), ask, ask_rooms, choose, accept, decline, yes, no, bye, demand (what
    must be refused); said only to an agent off the gold path: another (offer), same (as booked), insist (on
    the wish so far ignored), give_up.
    Agents: greet, nice, ask, offer, nearest, no_city, no_hotel, nothing, sold_out, rooms, info, prompt,
    confirm, booked, not_found, changed, cannot_change, confirm_cancel, cancelled, kept, refuse, bye, part (a
    goodbye to a guest who found nothing).
    """

    kind: str
    slots: Slots = field(default_factory=dict)
