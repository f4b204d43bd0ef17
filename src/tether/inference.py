"""Generate and score text in batches on a live model.

Three things make this several times faster on small machines than a padded ``generate`` loop: prompts of like
length share a batch, finished rows leave it, and all the agent's turns of one dialogue are answered from a
single pass over that dialogue.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import torch
from transformers.cache_utils import CacheLayerMixin, DynamicCache, DynamicLayer

from tether.chatdata.rendering import Renderer
from tether.progress import task

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from tether.chatdata.chats import Chat

GENERATE_ROWS = 96
SCORE_TOKENS = 4096  # tokens, padding included, of one scoring pass
TURN_BYTES = 2 << 30  # key/value cache of all agent turns that are answered together
CACHE_STEP = 64  # tokens by which a key/value buffer grows


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
        sampler = _Sampler(temperature, seed, self.device)
        with task(label, len(prompts)) as progress:
            for start in range(0, len(order), GENERATE_ROWS):
                rows = order[start : start + GENERATE_ROWS]
                state = self._prefill([prompts[row] for row in rows])
                for row, ids in zip(rows, self._decode(state, max_new_tokens, sampler), strict=True):
                    answers[row] = ids
                progress.advance(len(rows))
        return answers

    @torch.inference_mode()
    def generate_agent_turns(
        self, chats: Sequence[Chat], *, max_new_tokens: int, label: str = "Answering dialogues"
    ) -> list[list[str]]:
        """The model's own answer at each of the agent's turns after the gold history (greedy, raw text)."""
        found = [self.renderer.turn_starts(chat) for chat in chats]
        results: list[list[str]] = [[] for _ in chats]
        sampler = _Sampler(0.0, 0, self.device)
        with task(label, len(chats)) as progress:
            sizes = [(len(ids), len(starts)) for ids, starts in found]
            for batch in _dialogue_batches(sizes, TURN_BYTES // self.bytes_per_position):
                state = self._prefill_turns([found[index] for index in batch])
                answers = iter(self._decode(state, max_new_tokens, sampler))
                for index in batch:
                    turns = [next(answers) for _ in found[index][1]]
                    results[index] = [str(self.tokenizer.decode(t, skip_special_tokens=True)) for t in turns]
                progress.advance(len(batch))
        return results

    def log_likelihoods(
        self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], *, label: str = "Scoring"
    ) -> list[float]:
        """Log-probability in nats of each continuation given its context, both as token ids."""
        rows = [[*context, *continuation] for context, continuation in pairs]
        counts = [len(continuation) for _, continuation in pairs]
        learned = [
            [False] * (len(row) - count) + [True] * count for row, count in zip(rows, counts, strict=True)
        ]
        return [-nats for nats, _ in self._losses(rows, learned, label)]

    def chat_losses(self, chats: Sequence[Chat], *, label: str = "Domain loss") -> list[tuple[float, int]]:
        """Per chat, the summed negative log-likelihood in nats of the agent's turns, and their tokens."""
        encoded = [self.renderer.encode(chat) for chat in chats]
        return self._losses([e.input_ids for e in encoded], [e.learned for e in encoded], label)

    @torch.inference_mode()
    def _losses(
        self, rows: Sequence[Sequence[int]], learned: Sequence[Sequence[bool]], label: str
    ) -> list[tuple[float, int]]:
        results: list[tuple[float, int]] = [(0.0, 0)] * len(rows)
        with task(label, len(rows)) as progress:
            for batch in batches_by_length([len(row) for row in rows], SCORE_TOKENS):
                ids, mask = pad([rows[index] for index in batch], self.tokenizer.pad_token_id)
                wanted, _ = pad([[int(flag) for flag in learned[index]] for index in batch], 0)
                nats = token_losses(self.model, ids.to(self.device), mask.to(self.device), wanted.bool())
                for index, value, count in zip(
                    batch, nats.tolist(), wanted[:, 1:].sum(1).tolist(), strict=True
                ):
                    results[index] = (value, count)
                progress.advance(len(batch))
        return results

    @cached_property
    def bytes_per_position(self) -> int:
        """What one position of one row takes in the key/value cache, seen on a single token."""
        cache = roomy_cache(self.model.config)
        self.model.base_model(torch.zeros(1, 1, dtype=torch.long, device=self.device), past_key_values=cache)
        layers = [layer for layer in cache.layers if isinstance(layer, CacheLayerMixin)]
        states = [state for layer in layers for state in (layer.keys, layer.values) if state is not None]
        return int(sum(state.nbytes for state in states))

    def _prefill(self, prompts: Sequence[Sequence[int]]) -> _State:
        ids, mask = pad(prompts, self.tokenizer.pad_token_id, left=True)
        ids, mask = ids.to(self.device), mask.to(self.device)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        cache = roomy_cache(self.model.config)
        out = self.model(
            ids, attention_mask=mask, position_ids=positions, past_key_values=cache, logits_to_keep=1
        )
        return _State(cache, mask, positions[:, -1] + 1, out.logits[:, -1])

    def _prefill_turns(self, dialogues: Sequence[tuple[list[int], list[int]]]) -> _State:
        """One pass over whole dialogues; each row of the state sees only what stood before one agent turn."""
        ids, _ = pad([ids for ids, _ in dialogues], self.tokenizer.pad_token_id)
        cache = roomy_cache(self.model.config)
        hidden = self.model.base_model(ids.to(self.device), past_key_values=cache).last_hidden_state
        pairs = [(row, start) for row, (_, starts) in enumerate(dialogues) for start in starts]
        rows, ends = torch.tensor(pairs, device=self.device).unbind(1)
        cache.batch_select_indices(rows)
        mask = (torch.arange(ids.shape[1], device=self.device)[None, :] < ends[:, None]).long()
        return _State(cache, mask, ends, self.model.get_output_embeddings()(hidden[rows, ends - 1]))

    def _decode(self, state: _State, max_new_tokens: int, sampler: _Sampler) -> list[list[int]]:
        stops = torch.tensor(sorted(self._stop_ids()), device=self.device)
        answers: list[list[int]] = [[] for _ in range(len(state.logits))]
        alive = torch.arange(len(state.logits), device=self.device)
        for step in range(max_new_tokens):
            tokens = sampler(state.logits)
            for row, token in zip(alive.tolist(), tokens.tolist(), strict=True):
                answers[row].append(token)
            going = ~torch.isin(tokens, stops)
            if step + 1 == max_new_tokens or not going.any():
                break
            if not going.all():
                keep = going.nonzero().squeeze(1)
                alive, tokens = alive[keep], tokens[keep]
                state.select(keep)
            state.extend(self.model, tokens)
        return answers

    def _stop_ids(self) -> set[int]:
        configured = self.model.generation_config.eos_token_id
        stops = set(configured) if isinstance(configured, list) else {configured}
        return {stop for stop in (*stops, self.tokenizer.eos_token_id) if stop is not None}


@dataclass
class _State:
    """Rows under generation: cache, cached positions each row may see, next positions, next-token logits."""

    cache: DynamicCache
    mask: torch.Tensor
    positions: torch.Tensor
    logits: torch.Tensor

    def select(self, keep: torch.Tensor) -> None:
        self.cache.batch_select_indices(keep)
        self.mask, self.positions = self.mask[keep], self.positions[keep]

    def extend(self, model: PreTrainedModel, tokens: torch.Tensor) -> None:
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(tokens), 1)], dim=1)
        out = model(
            tokens[:, None],
            attention_mask=self.mask,
            position_ids=self.positions[:, None],
            past_key_values=self.cache,
            logits_to_keep=1,
        )
        self.positions, self.logits = self.positions + 1, out.logits[:, -1]


class _Sampler:
    """Greedy at temperature 0, else seeded sampling."""

    def __init__(self, temperature: float, seed: int, device: torch.device) -> None:
        self.temperature = temperature
        self.generator = torch.Generator(device=device).manual_seed(seed)

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        if self.temperature == 0:
            return logits.argmax(-1)
        weights = (logits.float() / self.temperature).softmax(-1)
        return torch.multinomial(weights, 1, generator=self.generator).squeeze(1)


class RoomyLayer(DynamicLayer):
    """A key/value layer that grows by blocks: transformers' own copies the whole cache at every new token."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append states of shape (rows, heads, new tokens, head size) and return all of them."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.keys, self.values = key_states[:, :, :0], value_states[:, :, :0]
            self.rooms = (self.keys, self.values)
        assert self.keys is not None and self.values is not None
        self.rooms = (
            _room(self.rooms[0], self.keys, key_states),
            _room(self.rooms[1], self.values, value_states),
        )
        total = self.keys.shape[2] + key_states.shape[2]
        keys, values = (room[:, :, :total] for room in self.rooms)
        self.keys, self.values = keys, values
        return keys, values


def _room(room: torch.Tensor, view: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    """Storage of ``view`` and then ``new``: ``room`` itself while ``view`` lies in it and both fit."""
    length, total = view.shape[2], view.shape[2] + new.shape[2]
    if room.data_ptr() != view.data_ptr() or room.shape[2] < total:
        room = view.new_empty(*view.shape[:2], total + CACHE_STEP, view.shape[3])
        room[:, :, :length] = view
    room[:, :, length:total] = new
    return room


def roomy_cache(config: Any) -> DynamicCache:
    """A cache whose plain layers are ``RoomyLayer``; sliding windows keep transformers' own."""
    cache = DynamicCache(config=config)
    for index, layer in enumerate(cache.layers):
        if type(layer) is DynamicLayer:
            cache.layers[index] = RoomyLayer()  # type: ignore[no-untyped-call]
    return cache


def pad(rows: Sequence[Sequence[int]], value: int, left: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of ids as one int64 tensor of shape (rows, longest), and its mask of real positions."""
    longest = max(len(row) for row in rows)
    ids = torch.full((len(rows), longest), value)
    mask = torch.zeros(len(rows), longest, dtype=torch.long)
    for index, row in enumerate(rows):
        span = slice(longest - len(row), longest) if left else slice(0, len(row))
        ids[index, span] = torch.tensor(list(row), dtype=torch.long)
        mask[index, span] = 1
    return ids, mask


def batches_by_length(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """Indices in batches of like length, each of at most ``tokens`` positions (or one row), longest first."""
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    while order:
        rows = max(1, tokens // max(1, lengths[order[0]]))
        yield order[:rows]
        order = order[rows:]


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


def learned_logits(
    model: PreTrainedModel, ids: torch.Tensor, mask: torch.Tensor, learned: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits at the learned positions alone: the head is half the work of a small model.

    Args:
        model: A causal language model; a PEFT model counts as one.
        ids: (rows, length) token ids.
        mask: (rows, length) real positions.
        learned: (rows, length) booleans; position t is predicted from t - 1, so the first column is ignored.

    Returns:
        Logits (learned tokens, vocabulary) and their target ids (learned tokens,).
    """
    hidden = backbone(model)(input_ids=ids, attention_mask=mask).last_hidden_state[:, :-1]
    wanted = learned[:, 1:].to(hidden.device)
    return model.get_output_embeddings()(hidden[wanted]), ids[:, 1:][wanted]


def backbone(model: PreTrainedModel) -> torch.nn.Module:
    """The model without its head, adapters included."""
    from peft import PeftModel

    inner = model.get_base_model() if isinstance(model, PeftModel) else model
    return inner.base_model


def token_losses(
    model: PreTrainedModel, ids: torch.Tensor, mask: torch.Tensor, learned: torch.Tensor
) -> torch.Tensor:
    """Summed negative log-likelihood in nats over each row's learned tokens, float64 of shape (rows,)."""
    logits, targets = learned_logits(model, ids, mask, learned)
    nats = torch.nn.functional.cross_entropy(logits.float(), targets, reduction="none").double().cpu()
    rows = learned[:, 1:].nonzero()[:, 0].cpu()
    return torch.zeros(len(ids), dtype=torch.float64).index_add_(0, rows, nats)
