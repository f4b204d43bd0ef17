"""Generate and score text in batches on a live model.

Four things make this several times faster on small machines than a padded ``generate`` loop: what all prompts
begin with is read once, prompts of like length share a batch, finished rows leave it, and all the agent's
turns of one dialogue are answered from a single pass over that dialogue.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import torch
from transformers.cache_utils import CacheLayerMixin

from tether.attention import reads
from tether.chatdata.rendering import Renderer
from tether.continuations import token_log_probabilities
from tether.decoding import Sampler, decode, read_prompts
from tether.logits import Finish, finish_of
from tether.passes import pass_sizes
from tether.progress import task
from tether.reading import Memory, Opening, Reading, backbone, pad
from tether.turns import answer_turns, turn_losses

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from tether.chatdata.chats import Chat
    from tether.turns import AgentTurns


class Answers(Protocol):
    """What the axes ask of any model, wherever it runs; only a `LocalModel` can also score text."""

    name: str

    def answer(self, prompts: Sequence[str | Chat], *, max_new_tokens: int, label: str) -> list[str]:
        """Answers to single user turns, or to chats that end where the agent is to speak; greedy."""

    def generate_agent_turns(
        self, chats: Sequence[Chat], *, max_new_tokens: int, label: str = ...
    ) -> list[AgentTurns]:
        """Its own answer at each of the agent's turns after the gold history (greedy), and its loss there."""


class LocalModel:
    """A model in this process with its tokenizer and chat template.

    Args:
        model: Any causal language model of transformers.
        tokenizer: Its fast tokenizer, with a chat template.
        name: What the reports call it.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str = "model"
    ) -> None:
        self.model, self.tokenizer, self.name = model, tokenizer, name
        self.renderer = Renderer(tokenizer)
        self.device = model.device

    def ask(self, prompt: str | Chat) -> list[int]:
        """Token ids of a single user turn, or of a chat that ends with one, ready to be answered."""
        if isinstance(prompt, str):
            return self.renderer.prompt_ids([{"role": "user", "content": prompt}])
        return self.renderer.prompt_ids(prompt.messages, prompt.tools)

    def answer(self, prompts: Sequence[str | Chat], *, max_new_tokens: int, label: str) -> list[str]:
        """Answers to single user turns, or to chats that end where the agent is to speak; greedy."""
        asked = [self.ask(prompt) for prompt in prompts]
        return self.generate(asked, max_new_tokens=max_new_tokens, label=label)

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        label: str = "Generating",
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[str]:
        """Answer prompts (token ids); greedy at temperature 0. Order is kept, special tokens are dropped."""
        answers = self.generate_ids(
            prompts, max_new_tokens=max_new_tokens, label=label, temperature=temperature, seed=seed
        )
        return [str(self.tokenizer.decode(ids, skip_special_tokens=True)) for ids in answers]

    @reads
    def generate_ids(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        label: str = "Generating",
        temperature: float = 0.0,
        seed: int = 0,
        keep: Callable[[int, list[int]], None] | None = None,
    ) -> list[list[int]]:
        """As ``generate``, but token ids; the end-of-turn token is kept where the model gave one.

        ``keep`` is given each answer and its prompt's place as soon as there is one.
        """
        answers: list[list[int]] = [[] for _ in prompts]
        order = sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))
        opening = Opening(self.model, prompts)
        sampler = Sampler(temperature, seed, self.device)
        with task(label, len(prompts)) as progress:
            together = pass_sizes(self.device).generated_rows
            for start in range(0, len(order), together):
                rows = order[start : start + together]
                reading, logits = read_prompts(self, opening, [prompts[row] for row in rows])
                decode(self, reading, logits, [answers[row] for row in rows], max_new_tokens, sampler)
                if keep:
                    for row in rows:
                        keep(row, answers[row])
                progress.advance(len(rows))
        return answers

    @reads
    def go_on(
        self,
        memory: Memory,
        prompts: Mapping[int, Sequence[int]],
        *,
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[str]:
        """As ``generate``, of conversations by number that the model goes on with, all in one batch."""
        reading, rest = memory.recall(prompts)
        ids, there = self.padded(rest, left=True)
        logits = reading.read(self.model, ids, there, logits_to_keep=1).logits[:, -1]
        everyone = reading.fork(torch.arange(len(rest), device=self.device))
        answers: list[list[int]] = [[] for _ in rest]
        sampler = Sampler(temperature, seed, self.device)
        decode(self, everyone, logits, answers, max_new_tokens, sampler)
        return [str(self.tokenizer.decode(answer, skip_special_tokens=True)) for answer in answers]

    def generate_agent_turns(
        self, chats: Sequence[Chat], *, max_new_tokens: int, label: str = "Answering dialogues"
    ) -> list[AgentTurns]:
        """Its own answer at each of the agent's turns after the gold history (greedy), and its loss there."""
        return answer_turns(self, chats, max_new_tokens=max_new_tokens, label=label)

    def log_likelihoods(
        self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], *, label: str = "Scoring"
    ) -> list[float]:
        """Log-probability in nats of each continuation given its context, both as token ids.

        A context of several pairs is read once.
        """
        places: dict[tuple[int, ...], list[int]] = {}
        for index, (context, _) in enumerate(pairs):
            places.setdefault(tuple(context), []).append(index)
        continuations = [[pairs[index][1] for index in indices] for indices in places.values()]
        nats = token_log_probabilities(self, list(places), continuations, label=label)
        results = [0.0] * len(pairs)
        for indices, found in zip(places.values(), nats, strict=True):
            for index, tokens in zip(indices, found, strict=True):
                results[index] = sum(tokens)
        return results

    def chat_losses(self, chats: Sequence[Chat], *, label: str = "Domain loss") -> list[tuple[float, int]]:
        """Per chat, the summed negative log-likelihood in nats of the agent's turns, and their tokens."""
        return turn_losses(self, chats, label=label)

    def head(self, states: torch.Tensor) -> torch.Tensor:
        """Logits (tokens, vocabulary) of last hidden states (tokens, width)."""
        return self._finish(self.model.get_output_embeddings()(states))

    @cached_property
    def _finish(self) -> Finish:
        return finish_of(self.model)

    @cached_property
    def bytes_per_position(self) -> int:
        """What one position of one row takes in the key/value cache, seen on a single token."""
        reading, token = Reading.blank(self.model, 1), torch.zeros(1, 1, dtype=torch.long, device=self.device)
        reading.read(backbone(self.model), token, torch.ones_like(token))
        layers = [layer for layer in reading.cache.layers if isinstance(layer, CacheLayerMixin)]
        states = [state for layer in layers for state in (layer.keys, layer.values) if state is not None]
        return int(sum(state.nbytes for state in states))

    def padded(self, rows: Sequence[Sequence[int]], left: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        """As ``reading.pad``, on the model's device."""
        ids, there = pad(rows, self.tokenizer.pad_token_id, left)
        return ids.to(self.device), there.to(self.device)

    @cached_property
    def stop_ids(self) -> set[int]:
        """Tokens that end a turn."""
        configured = self.model.generation_config.eos_token_id
        stops = set(configured) if isinstance(configured, list) else {configured}
        return {stop for stop in (*stops, self.tokenizer.eos_token_id) if stop is not None}
