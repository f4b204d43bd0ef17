"""What every judge takes and gives: answers in batches, a verdict on each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Kind = Literal["complied", "refused", "partial", "off_topic", "degenerate"]

# A refusal shows in the first sentence; what follows costs time and changes few verdicts.
OPENING_TOKENS = 48


class Exchange(NamedTuple):
    """A prompt and the answer to it."""

    prompt: str
    answer: str


@dataclass(frozen=True)
class Verdict:
    """What a judge says of one answer.

    Attributes:
        kind: What the answer does.
        reason: Why the judge says so.
        metrics: Further figures by name, where the judge grades.
    """

    kind: Kind
    reason: str
    metrics: Mapping[str, float] = field(default_factory=dict)


class Judge(Protocol):
    """Something that judges answers."""

    @property
    def name(self) -> str:
        """By which it was asked for; the records keep it."""

    @property
    def answer_tokens(self) -> int:
        """How much of an answer it needs to see."""

    def verdicts(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        """A verdict on each answer, in their order; a slow judge batches them and shows how far it is.

        Raises:
            UserError: The judge cannot do its work.
        """
