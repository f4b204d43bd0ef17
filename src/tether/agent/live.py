"""A model in this process as the agent; it answers all conversations that wait for it in batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jinja2 import TemplateError

from tether.reading import batches_by_length

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tether.agent.session import Session
    from tether.inference import LocalModel

REPLY_TOKENS = 128
BATCH_TOKENS = 24_576  # positions of the prompts answered together; conversations grow long


class ModelSpeaker:
    """A live model.

    Args:
        model: The model.
        temperature: 0 is greedy; else every batch of replies is sampled with a seed of its own.
    """

    def __init__(self, model: LocalModel, *, temperature: float = 0.0) -> None:
        self.model, self.temperature = model, temperature
        self._batch = 0

    def replies(self, sessions: Sequence[Session]) -> list[str]:
        """The model's next turn in each conversation; nothing where its context is full."""
        prompts = [self._prompt(session) for session in sessions]
        waiting = [number for number, prompt in enumerate(prompts) if prompt]
        replies = [""] * len(sessions)
        for batch in batches_by_length([len(prompts[number]) for number in waiting], BATCH_TOKENS):
            rows = [waiting[index] for index in batch]
            self._batch += 1
            answers = self.model.generate(
                [prompts[row] for row in rows],
                max_new_tokens=REPLY_TOKENS,
                label="Replies",
                temperature=self.temperature,
                seed=self._batch,
            )
            for row, answer in zip(rows, answers, strict=True):
                replies[row] = answer
        return replies

    def _prompt(self, session: Session) -> list[int]:
        try:
            ids = self.model.renderer.prompt_ids(session.messages, session.tools)
        except TemplateError:
            # Two calls in one turn give two results in a row, which strict templates will not render.
            return []
        room = self.model.model.config.get_text_config().max_position_embeddings
        return ids if len(ids) + REPLY_TOKENS <= room else []
