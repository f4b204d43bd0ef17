"""Generate and score text in batches on a live model.

Four things make this several times faster on small machines than a padded ``generate`` loop: what all prompts
begin with is read once, prompts of like length share a batch, finished rows leave it, and all the agent's
turns of one dialogue are answered from a single pass over that dialogue.
"""

from __future__ import annotations

from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

import torch
from transformers.cache_utils import CacheLayerMixin

from tether.chatdata.rendering import Renderer
from tether.continuations import CACHE_BYTES, LOGIT_TOKENS, SCORE_TOKENS, token_log_probabilities, token_nats
from tether.progress import task
from tether.reading import Memory, Opening, Reading, backbone, batches_by_length, pad

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from tether.chatdata.chats import Chat

GENERATE_ROWS = 96


class Answers(Protocol):
    """What the axes ask of any model, wherever it runs; only a `LocalModel` can also score text."""

    name: str

    def answer(self, prompts: Sequence[str | Chat], *, max_new_tokens: int, label: str) -> list[str]:
        """Answers to single user turns, or to chats that end where the agent is to speak; greedy."""

    def generate_agent_turns(
        self, chats: Sequence[Chat], *, max_new_tokens: int, label: str = ...
    ) -> list[list[str]]:
        """The model's own answer at each of the agent's turns after the gold history (greedy, raw text)."""

    def chat_losses(self, chats: Sequence[Chat]) -> Sequence[tuple[float, int] | None]:
        """Per chat, the agent's turns' summed nats, and tokens; None where the model gives no likelihoods."""


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

    @torch.inference_mode()
    def generate_ids(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        label: str = "Generating",
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[list[int]]:
        """As ``generate``, but token ids; the end-of-turn token is kept where the model gave one."""
        answers: list[list[int]] = [[] for _ in prompts]
        order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
        opening = Opening(self.model, prompts)
        sampler = _Sampler(temperature, seed, self.device)
        with task(label, len(prompts)) as progress:
            for start in range(0, len(order), GENERATE_ROWS):
                rows = order[start : start + GENERATE_ROWS]
                reading = opening.readings(len(rows))
                ids, there = self._pad([prompts[row][opening.length :] for row in rows], left=True)
                logits = reading.read(self.model, ids, there, logits_to_keep=1).logits[:, -1]
                written = self._decode(reading, logits, max_new_tokens, sampler)
                for row, answer in zip(rows, written, strict=True):
                    answers[row] = answer
                progress.advance(len(rows))
        return answers

    @torch.inference_mode()
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
        ids, there = self._pad(rest, left=True)
        logits = reading.read(self.model, ids, there, logits_to_keep=1).logits[:, -1]
        everyone = reading.fork(torch.arange(len(rest), device=self.device))
        sampler = _Sampler(temperature, seed, self.device)
        answers = self._decode(everyone, logits, max_new_tokens, sampler)
        return [str(self.tokenizer.decode(answer, skip_special_tokens=True)) for answer in answers]

    @torch.inference_mode()
    def generate_agent_turns(
        self, chats: Sequence[Chat], *, max_new_tokens: int, label: str = "Answering dialogues"
    ) -> list[list[str]]:
        """The model's own answer at each of the agent's turns after the gold history (greedy, raw text)."""
        found = [self.renderer.turn_starts(chat) for chat in chats]
        results: list[list[str]] = [[] for _ in chats]
        first = min((start for _, starts in found for start in starts), default=1)
        opening = Opening(self.model, [ids for ids, _ in found], longest=first - 1)
        sampler = _Sampler(0.0, 0, self.device)
        with task(label, len(chats)) as progress:
            sizes = [(len(ids), len(starts)) for ids, starts in found]
            for batch in _dialogue_batches(sizes, CACHE_BYTES // self.bytes_per_position):
                reading, logits = self._read_turns(opening, [found[index] for index in batch])
                answers = iter(self._decode(reading, logits, max_new_tokens, sampler))
                for index in batch:
                    turns = [next(answers) for _ in found[index][1]]
                    results[index] = [str(self.tokenizer.decode(t, skip_special_tokens=True)) for t in turns]
                progress.advance(len(batch))
        return results

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
        encoded = [self.renderer.encode(chat) for chat in chats]
        return self._losses([e.input_ids for e in encoded], [e.learned for e in encoded], label)

    @torch.inference_mode()
    def _losses(
        self, rows: Sequence[Sequence[int]], learned: Sequence[Sequence[bool]], label: str
    ) -> list[tuple[float, int]]:
        """Per row, the summed negative log-likelihood in nats of its learned tokens, and their number."""
        results: list[tuple[float, int]] = [(0.0, 0)] * len(rows)
        # The first learned token is predicted by the one before it, which each row must read by itself.
        first = min((list(flags).index(True) for flags in learned if any(flags)), default=1)
        opening = Opening(self.model, rows, longest=max(0, first - 1))
        own = [row[opening.length :] for row in rows]
        with task(label, len(rows)) as progress:
            for batch in batches_by_length([len(ids) for ids in own], SCORE_TOKENS):
                ids, there = self._pad([own[index] for index in batch])
                wanted, _ = self._pad([list(map(int, learned[index][opening.length :])) for index in batch])
                hidden = opening.readings(len(batch)).read(backbone(self.model), ids, there).last_hidden_state
                for index, nats in zip(batch, self._nats(hidden, ids, wanted), strict=True):
                    results[index] = (sum(nats), len(nats))
                progress.advance(len(batch))
        return results

    def _nats(self, hidden: torch.Tensor, ids: torch.Tensor, learned: torch.Tensor) -> list[list[float]]:
        """Negative log-likelihoods of each row's learned tokens; position t is predicted from t - 1.

        Args:
            hidden: (rows, length, width), the last hidden states.
            ids: (rows, length) token ids.
            learned: (rows, length) int64, 1 at the learned tokens.
        """
        wanted = learned[:, 1:].bool()
        # The head is half the work of a small model: it sees the learned positions alone.
        parts = zip(
            hidden[:, :-1][wanted].split(LOGIT_TOKENS), ids[:, 1:][wanted].split(LOGIT_TOKENS), strict=True
        )
        head = self.model.get_output_embeddings()
        nats = [value for states, targets in parts for value in token_nats(head(states), targets).tolist()]
        ends = [0, *wanted.sum(1).cumsum(0).tolist()]
        return [nats[start:end] for start, end in pairwise(ends)]

    @cached_property
    def bytes_per_position(self) -> int:
        """What one position of one row takes in the key/value cache, seen on a single token."""
        reading, token = Reading.blank(self.model, 1), torch.zeros(1, 1, dtype=torch.long, device=self.device)
        reading.read(backbone(self.model), token, torch.ones_like(token))
        layers = [layer for layer in reading.cache.layers if isinstance(layer, CacheLayerMixin)]
        states = [state for layer in layers for state in (layer.keys, layer.values) if state is not None]
        return int(sum(state.nbytes for state in states))

    def _read_turns(
        self, opening: Opening, dialogues: Sequence[tuple[list[int], list[int]]]
    ) -> tuple[Reading, torch.Tensor]:
        """One pass over whole dialogues; each row of the result sees what stood before one agent turn."""
        reading = opening.readings(len(dialogues))
        ids, there = self._pad([ids[opening.length :] for ids, _ in dialogues])
        hidden = reading.read(backbone(self.model), ids, there).last_hidden_state
        pairs = [(row, start) for row, (_, starts) in enumerate(dialogues) for start in starts]
        rows, ends = torch.tensor(pairs, device=self.device).unbind(1)
        turns = reading.fork(rows)
        turns.seen = (torch.arange(turns.seen.shape[1], device=self.device)[None, :] < ends[:, None]).long()
        turns.positions = ends
        last = hidden[rows, ends - 1 - opening.length]
        return turns, self.model.get_output_embeddings()(last)

    def _decode(
        self, reading: Reading, logits: torch.Tensor, max_new_tokens: int, sampler: _Sampler
    ) -> list[list[int]]:
        stops = torch.tensor(sorted(self._stop_ids()), device=self.device)
        answers: list[list[int]] = [[] for _ in range(len(logits))]
        alive = torch.arange(len(logits), device=self.device)
        for step in range(max_new_tokens):
            tokens = sampler(logits)
            for row, token in zip(alive.tolist(), tokens.tolist(), strict=True):
                answers[row].append(token)
            going = ~torch.isin(tokens, stops)
            if step + 1 == max_new_tokens or not going.any():
                break
            if not going.all():
                keep = going.nonzero().squeeze(1)
                alive, tokens = alive[keep], tokens[keep]
                reading.select(keep)
            said = tokens[:, None]
            logits = reading.read(self.model, said, torch.ones_like(said), logits_to_keep=1).logits[:, -1]
        return answers

    def _pad(self, rows: Sequence[Sequence[int]], left: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        ids, there = pad(rows, self.tokenizer.pad_token_id, left)
        return ids.to(self.device), there.to(self.device)

    def _stop_ids(self) -> set[int]:
        configured = self.model.generation_config.eos_token_id
        stops = set(configured) if isinstance(configured, list) else {configured}
        return {stop for stop in (*stops, self.tokenizer.eos_token_id) if stop is not None}


class _Sampler:
    """Greedy at temperature 0, else seeded sampling."""

    def __init__(self, temperature: float, seed: int, device: torch.device) -> None:
        self.temperature = temperature
        self.generator = torch.Generator(device=device).manual_seed(seed)

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        if self.temperature == 0:
            return logits.max(-1).indices  # argmax takes four times as long in bfloat16
        weights = (logits.float() / self.temperature).softmax(-1)
        return torch.multinomial(weights, 1, generator=self.generator).squeeze(1)


def _dialogue_batches(sizes: Sequence[tuple[int, int]], room: int) -> Iterator[list[int]]:
    """Dialogues of like length together, as long as all their turns, each with a cache of its own, find room.

    Args:
        sizes: Tokens and agent turns of each dialogue.
        room: Cached positions of all turns together.
    """
    batch: list[int] = []
    positions = turns = 0
    for index in sorted(range(len(sizes)), key=lambda index: -sizes[index][0]):
        longest = sizes[batch[0]][0] if batch else sizes[index][0]
        if batch and ((turns + sizes[index][1]) * longest > room or positions + longest > SCORE_TOKENS):
            yield batch
            batch, positions, turns = [], 0, 0
        batch.append(index)
        positions, turns = positions + sizes[index][0], turns + sizes[index][1]
    if batch:
        yield batch
