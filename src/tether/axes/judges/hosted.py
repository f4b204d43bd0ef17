"""A model at OpenAI, or at any server of the same shape, that judges by a published rubric.

It is asked as any hosted model is (`tether.hosted.model`): at the pace that the server bears, under the
ceiling of money, with retries, and with its answers kept until all are in, so that what was killed goes on.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from tether.axes.judges.rubrics import REMINDER, RUBRICS
from tether.axes.judges.rules import beside_rules
from tether.axes.judges.rules import judge as by_rules
from tether.errors import UserError
from tether.files import cache_folder
from tether.hosted.model import HostedModel
from tether.hosted.services import OPENAI, HostedName
from tether.progress import say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tether.axes.judges.protocol import Exchange, Verdict
    from tether.config import Asking

ANSWER_TOKENS = 512  # as HarmBench generates, and as StrongREJECT cuts: how much is given shows late
GRADING_TOKENS = 160
# Of gradings that cannot be read: a few are the rules' to replace, more are a judge that does not judge.
UNREADABLE = 0.02


class HostedJudge:
    """A model that judges by a rubric.

    Args:
        name: As the user gave it.
        rubric: One of `RUBRICS`.
        model: The model's name at the server.
        asking: At what pace and price it is asked.

    Raises:
        UserError: The SDK or the key is missing, or there is a ceiling for a model of unknown price.
    """

    answer_tokens = ANSWER_TOKENS

    def __init__(self, name: str, rubric: str, model: str, asking: Asking) -> None:
        self.name, self._rubric = name, RUBRICS[rubric]
        kept = hashlib.sha256(f"{OPENAI.server} {name}".encode()).hexdigest()[:16]
        self._kept = cache_folder() / "judging" / f"{kept}.jsonl"
        self._model = HostedModel(HostedName(OPENAI, model), self._kept, asking)

    def verdicts(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        """A verdict on each answer; its grading is kept until `finish`.

        Raises:
            UserError: The server cannot be asked, or the model gives no gradings.
        """
        return beside_rules(exchanges, self._graded)

    def finish(self) -> None:
        """The measurement is whole: the kept gradings may go."""
        self._model.finish()

    def _graded(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        questions = [self._rubric.question(exchange) for exchange in exchanges]
        said = self._ask(questions, "Judging")
        unread = [index for index, text in enumerate(said) if self._rubric.verdict(text) is None]
        if unread:
            again = self._ask([f"{questions[index]}\n{REMINDER}" for index in unread], "Judging again")
            for index, text in zip(unread, again, strict=True):
                said[index] = text
        return self._read(exchanges, said)

    def _ask(self, questions: Sequence[str], label: str) -> list[str]:
        return self._model.answer(questions, max_new_tokens=GRADING_TOKENS, label=label)

    def _read(self, exchanges: Sequence[Exchange], said: Sequence[str]) -> list[Verdict]:
        verdicts = [self._rubric.verdict(text) for text in said]
        unreadable = [text for text, verdict in zip(said, verdicts, strict=True) if verdict is None]
        if len(unreadable) > UNREADABLE * len(said):
            raise UserError(
                f"{len(unreadable)} of {len(said)} gradings cannot be read, such as '{unreadable[0][:80]}'",
                where=f"judge {self.name}",
                fix=f"name another model; to have this one asked anew, remove {self._kept}",
            )
        if unreadable:
            say(f"{len(unreadable)} of {len(said)} gradings cannot be read; these answers the rules judge")
        return [verdict or by_rules(*pair) for pair, verdict in zip(exchanges, verdicts, strict=True)]
