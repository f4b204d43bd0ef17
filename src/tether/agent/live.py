"""A model in this process as the agent; it answers conversations side by side and remembers what it read."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from jinja2 import TemplateError

from tether.passes import pass_sizes
from tether.reading import Memory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tether.agent.session import Session
    from tether.inference import LocalModel

REPLY_TOKENS = 128
LONG = 2048  # tokens that a conversation may well come to: so many of them are remembered as find room


class ModelSpeaker:
    """A live model.

    Args:
        model: The model.
        temperature: 0 is greedy; else every batch of replies is sampled with a seed of its own.
    """

    def __init__(self, model: LocalModel, *, temperature: float = 0.0) -> None:
        self.model, self.temperature = model, temperature
        self._together = max(1, pass_sizes(model.device).cache_bytes // (model.bytes_per_position * LONG))
        self._remembered = Memory(model.model)
        self._seats: dict[int, int] = {}
        self._seated: list[Session] = []  # kept, so that no other session takes its identity
        self._batch = 0

    def replies(self, sessions: Sequence[Session]) -> list[str]:
        """The model's next turn in each conversation; nothing where its context is full."""
        prompts = {self._seat(session): self._prompt(session) for session in sessions}
        waiting = [seat for seat, ids in prompts.items() if ids]
        replies = dict.fromkeys(prompts, "")
        for table, seats in groupby(waiting, key=lambda seat: seat // self._together):
            self._batch += 1
            batch = {seat: prompts[seat] for seat in seats}
            # What was read of those at further tables finds no room.
            memory = self._remembered if table == 0 else Memory(self.model.model)
            answers = self.model.go_on(
                memory,
                batch,
                max_new_tokens=REPLY_TOKENS,
                temperature=self.temperature,
                seed=self._batch,
            )
            replies |= zip(batch, answers, strict=True)
        return list(replies.values())

    def _seat(self, session: Session) -> int:
        """The session's number, by when it first came."""
        if id(session) not in self._seats:
            self._seats[id(session)] = len(self._seated)
            self._seated.append(session)
        return self._seats[id(session)]

    def _prompt(self, session: Session) -> list[int]:
        try:
            ids = self.model.renderer.prompt_ids(session.messages, session.tools)
        except TemplateError:
            # Two calls in one turn give two results in a row, which strict templates will not render.
            return []
        room = self.model.model.config.get_text_config().max_position_embeddings
        return ids if len(ids) + REPLY_TOKENS <= room else []
