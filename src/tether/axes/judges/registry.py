"""The judges by name, one line each: ``KIND``, ``KIND:WHAT``, or ``KIND/WAY:WHAT`` where a kind has ways."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tether.axes.judges.classifier import Classifier
from tether.axes.judges.hosted import HostedJudge
from tether.axes.judges.local import WAYS, LocalJudge
from tether.axes.judges.rubrics import RUBRICS
from tether.axes.judges.rules import Rules
from tether.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable

    from tether.axes.judges.protocol import Judge
    from tether.config import Asking


@dataclass(frozen=True)
class JudgeKind:
    """One kind of judge.

    Attributes:
        open: Makes one from its whole name, its way, what stands behind the colon, and how models are asked.
        what: What stands behind the colon; empty where nothing does.
        ways: The ways to judge that it knows, the usual one first.
    """

    open: Callable[[str, str, str, Asking], Judge]
    what: str = ""
    ways: tuple[str, ...] = ()

    def usage(self, kind: str) -> str:
        """The name's form."""
        way = f"[/{'|'.join(self.ways)}]" if self.ways else ""
        return f"{kind}{way}:{self.what}" if self.what else kind


REGISTRY: dict[str, JudgeKind] = {
    "rules": JudgeKind(lambda name, way, what, asking: Rules()),
    "classifier": JudgeKind(lambda name, way, what, asking: Classifier.load(what), "FOLDER"),
    "local": JudgeKind(lambda name, way, what, asking: LocalJudge(name, way, what), "FOLDER", WAYS),
    "openai": JudgeKind(HostedJudge, "MODEL", tuple(RUBRICS)),
}


def open_judge(name: str, asking: Asking) -> Judge:
    """Make a judge ready.

    Args:
        name: As the user gave it.
        asking: How a judge at a service is asked.

    Raises:
        UserError: There is no such judge, or what it needs is missing.
    """
    head, _, what = name.partition(":")
    kind, slash, way = head.partition("/")
    if kind not in REGISTRY:
        fix = did_you_mean(kind, REGISTRY)
        raise UserError(f"there is no judge '{kind}'", where=f"judge {name}", fix=fix)
    found = REGISTRY[kind]
    way = way if slash else next(iter(found.ways), "")
    if bool(what.strip()) != bool(found.what) or way not in (found.ways or ("",)):
        fix = f"write {found.usage(kind)}"
        raise UserError(f"'{name}' names no judge of this kind", where=f"judge {name}", fix=fix)
    return found.open(name, way, what.strip(), asking)
