"""What a fine-tuning or a measurement costs: list prices, and a ceiling that is never passed."""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tether.errors import UserError

if TYPE_CHECKING:
    from tether.hosted.services import HostedName


@dataclass(frozen=True)
class Price:
    """Dollars for a million tokens."""

    train: float
    read: float
    write: float


# List prices of OpenAI's fine-tuned models as they were last known to us; the bill decides. A base costs less
# to ask than its fine-tunes, so these are ceilings for it. Together tells the price of each job itself.
LISTED = {
    "gpt-3.5-turbo": Price(8.0, 3.0, 6.0),
    "gpt-4o-mini": Price(3.0, 0.3, 1.2),
    "gpt-4o": Price(25.0, 3.75, 15.0),
    "gpt-4.1-nano": Price(1.5, 0.2, 0.8),
    "gpt-4.1-mini": Price(5.0, 0.8, 3.2),
    "gpt-4.1": Price(25.0, 3.0, 12.0),
}


def listed(name: HostedName) -> Price | None:
    """The list price of a model and its fine-tunes; None where we know none."""
    if name.service.name != "openai":
        return None
    model = name.model.removeprefix("ft:")
    fits = [
        known
        for known in LISTED
        if model == known or model.startswith((f"{known}-2", f"{known}-0", f"{known}:"))
    ]
    return LISTED[max(fits, key=len)] if fits else None


def dollars(amount: float | None) -> str:
    """An amount as it is shown."""
    return "an amount that tether cannot tell" if amount is None else f"about ${amount:.2f}"


def check_ceiling(amount: float | None, ceiling: float | None) -> None:
    """Hold an estimate against the user's ceiling.

    Raises:
        UserError: It is above, or cannot be told.
    """
    if ceiling is None or (amount is not None and amount <= ceiling):
        return
    if amount is None:
        raise UserError(
            "what this costs cannot be told, so max_price cannot be kept",
            where="max_price",
            fix="leave max_price out, and set a limit in the account instead",
        )
    raise UserError(
        f"this would cost about ${amount:.2f}, more than max_price allows (${ceiling:.2f})",
        where="max_price",
        fix="train on fewer dialogues or epochs, or allow more",
    )


def agree(question: str, yes: bool) -> None:
    """Ask the user to agree to a cost.

    Args:
        question: What will be done and what it costs.
        yes: Whether the user has agreed already.

    Raises:
        UserError: The user does not agree, or nobody is here to ask.
    """
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UserError(f"{question}, and nobody is here to agree to it", fix="add --yes")
    print(f"{question}. Go on? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UserError("nothing was agreed to, so nothing was sent", fix="answer y, or add --yes")


class Spending:
    """What a measurement costs, requests under way included, held under a ceiling.

    Args:
        name: The model that is asked.
        ceiling: Dollars; None is no ceiling.

    Raises:
        UserError: There is a ceiling, but no known price to hold against it.
    """

    def __init__(self, name: HostedName, ceiling: float | None) -> None:
        self.price, self.ceiling, self.spent = listed(name), ceiling, 0.0
        self._lock = threading.Lock()
        if self.price is None:
            check_ceiling(None, ceiling)

    def reserve(self, read: int, write: int) -> float:
        """Set aside what a request may cost at most, before it is sent.

        Returns:
            The dollars, to be given to `settle`.

        Raises:
            UserError: The ceiling would be passed.
        """
        cost = self._cost(read, write)
        with self._lock:
            if self.ceiling is not None and self.spent + cost > self.ceiling:
                raise UserError(
                    f"the next question could cost more than max_price allows (${self.ceiling:.2f}; about "
                    f"${self.spent:.2f} is used)",
                    where="max_price",
                    fix="allow more and give the same command again: what was answered is kept",
                )
            self.spent += cost
        return cost

    def settle(self, reserved: float, read: int = 0, write: int = 0) -> None:
        """Put what a request did cost in the place of what was set aside."""
        with self._lock:
            self.spent += self._cost(read, write) - reserved

    def _cost(self, read: int, write: int) -> float:
        return 0.0 if self.price is None else (read * self.price.read + write * self.price.write) / 1e6
