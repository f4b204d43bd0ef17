"""The two ways in which a command ends without being tether's fault, and the way out for a mistyped name."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class UserError(Exception):
    """Something the user can put right: exit code 2.

    Args:
        what: What is wrong, one sentence without a full stop.
        where: The place, as ``file:line`` or a key of the study.
        fix: What to do about it, one sentence.
    """

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None) -> None:
        self.what, self.where, self.fix = what, where, fix
        place = f"{where}: " if where else ""
        way_out = f" {fix.rstrip('.')}{'' if fix.endswith('?') else '.'}" if fix else ""
        super().__init__(f"{place}{what.rstrip('.')}.{way_out}")


class Diverged(UserError):
    """A training whose weights are no numbers any more."""


class RequirementNotMet(Exception):
    """A measurement missed what ``--require`` or a budget asks for: exit code 3."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The way out for a name that is unknown: the nearest one, else all of them."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'?" if near else f"known: {', '.join(names) or 'none'}"
