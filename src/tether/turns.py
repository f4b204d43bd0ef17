"""Whole gold dialogues in one pass: how likely the agent's turns are, and what the model itself would say.

The pass over a gold dialogue tells the model's own choice after every gold token. As long as the model would
say what the gold turn says, its own answer has been read already, so it is written on only from the first
token at which the two part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch

from tether.attention import reads
from tether.continuations import token_nats
from tether.decoding import Sampler, decode, read_prompts
from tether.passes import pass_sizes
from tether.progress import task
from tether.reading import Opening, Reading, backbone, batches_by_length

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tether.chatdata.chats import Chat
    from tether.inference import LocalModel

Dialogue = tuple[list[int], list[tuple[int, int]]]  # token ids; where the agent's turns begin and end


class AgentTurns(NamedTuple):
    """What a model makes of one gold dialogue.

    Attributes:
        answers: Its own answer at each of the agent's turns after the gold history, raw text.
        loss: Summed negative log-likelihood in nats of the agent's gold turns, and their tokens; None where
            the model gives no likelihoods.
    """

    answers: list[str]
    loss: tuple[float, int] | None


@dataclass
class _Turn:
    """A gold turn that was read: where it begins, its tokens' nats, and the first ones it agrees with."""

    row: int
    start: int
    nats: list[float]
    agreed: list[int]


@dataclass
class _Gold:
    """Gold dialogues that were read: last hidden states (rows, length, width), and turns row by row."""

    reading: Reading
    hidden: torch.Tensor
    turns: list[_Turn]

    def loss(self, row: int) -> tuple[float, int]:
        """Summed nats of one dialogue's turns, and their tokens."""
        nats = [value for turn in self.turns if turn.row == row for value in turn.nats]
        return sum(nats), len(nats)


@reads
def answer_turns(
    live: LocalModel, chats: Sequence[Chat], *, max_new_tokens: int, label: str
) -> list[AgentTurns]:
    """The model's own greedy answers at all of the agent's turns, and its loss on the gold ones."""
    dialogues, opening = _opened(live, chats)
    results = [AgentTurns([], (0.0, 0))] * len(chats)
    shapes = [(opening.length + len(ids), len(spans)) for ids, spans in dialogues]
    sizes = pass_sizes(live.device)
    room = sizes.cache_bytes // live.bytes_per_position
    with task(label, len(chats)) as progress:
        for batch in _dialogue_batches(shapes, room, sizes.dialogue_tokens):
            read = [dialogues[index] for index in batch]
            gold = _read(live, opening, read)
            answers = iter(_answers(live, opening, gold, read, max_new_tokens))
            for place, index in enumerate(batch):
                turns = [next(answers) for _ in dialogues[index][1]]
                texts = [str(live.tokenizer.decode(ids, skip_special_tokens=True)) for ids in turns]
                results[index] = AgentTurns(texts, gold.loss(place))
            progress.advance(len(batch))
    return results


@reads
def turn_losses(live: LocalModel, chats: Sequence[Chat], *, label: str) -> list[tuple[float, int]]:
    """Per chat, the summed negative log-likelihood in nats of the agent's turns, and their tokens."""
    dialogues, opening = _opened(live, chats)
    results: list[tuple[float, int]] = [(0.0, 0)] * len(chats)
    with task(label, len(chats)) as progress:
        for batch in batches_by_length([len(ids) for ids, _ in dialogues], pass_sizes(live.device)):
            gold = _read(live, opening, [dialogues[index] for index in batch])
            for place, index in enumerate(batch):
                results[index] = gold.loss(place)
            progress.advance(len(batch))
    return results


def per_token(losses: Sequence[tuple[float, int]]) -> float:
    """Mean nats per token of all turns of chats, as ``turn_losses`` gives them."""
    return sum(nats for nats, _ in losses) / sum(tokens for _, tokens in losses)


def _opened(live: LocalModel, chats: Sequence[Chat]) -> tuple[list[Dialogue], Opening]:
    """Each dialogue's ids and turns, the ids without what all of them begin with."""
    found = [live.renderer.turn_spans(chat) for chat in chats]
    # The token before a turn predicts its first one: each dialogue must read it by itself.
    first = min((start for _, spans in found for start, _ in spans), default=1)
    opening = Opening(live.model, [ids for ids, _ in found], longest=first - 1)
    cut = opening.length
    return [(ids[cut:], [(start - cut, end - cut) for start, end in spans]) for ids, spans in found], opening


def _read(live: LocalModel, opening: Opening, dialogues: Sequence[Dialogue]) -> _Gold:
    """One pass over dialogues without their opening."""
    reading = opening.readings(len(dialogues))
    ids, there = live.padded([ids for ids, _ in dialogues])
    hidden = reading.read(backbone(live.model), ids, there).last_hidden_state
    places = [(row, start, end) for row, (_, spans) in enumerate(dialogues) for start, end in spans]
    # The head is half the work of a small model: it sees the agent's turns alone.
    learned = [(row, t) for row, start, end in places for t in range(start, end)]
    nats: list[float] = []
    picks: list[int] = []
    together = pass_sizes(live.device).logit_tokens
    for first in range(0, len(learned), together):
        row, t = torch.tensor(learned[first : first + together], device=live.device).unbind(1)
        logits = live.head(hidden[row, t - 1])
        nats += token_nats(logits, ids[row, t]).tolist()
        picks += logits.max(-1).indices.tolist()
    turns, done = [], 0
    for place, start, end in places:
        span = slice(done, done := done + end - start)
        agreed = _agreed(dialogues[place][0][start:end], picks[span])
        turns.append(_Turn(place, start, nats[span], agreed))
    return _Gold(reading, hidden, turns)


def _agreed(gold: Sequence[int], picks: Sequence[int]) -> list[int]:
    """The gold tokens before the first that the model would not say."""
    apart = (i for i, (token, pick) in enumerate(zip(gold, picks, strict=True)) if token != pick)
    return list(gold[: next(apart, len(gold))])


def _answers(
    live: LocalModel, opening: Opening, gold: _Gold, dialogues: Sequence[Dialogue], max_new_tokens: int
) -> list[list[int]]:
    """The model's own answer to each turn, token ids."""
    answers = [turn.agreed[:max_new_tokens] for turn in gold.turns]
    unfinished = [
        number
        for number, answer in enumerate(answers)
        if len(answer) < max_new_tokens and not (answer and answer[-1] in live.stop_ids)
    ]
    if unfinished:
        turns = [gold.turns[number] for number in unfinished]
        if opening.roomy:
            reading, logits = _before(live, gold, turns)
        else:  # a sliding window has forgotten what stood before the earlier turns
            prompts = [dialogues[turn.row][0][: turn.start + len(turn.agreed)] for turn in turns]
            reading, logits = read_prompts(live, opening, prompts)
        written = [answers[number] for number in unfinished]
        decode(live, reading, logits, written, max_new_tokens, Sampler(0.0, 0, live.device))
    return answers


def _before(live: LocalModel, gold: _Gold, turns: Sequence[_Turn]) -> tuple[Reading, torch.Tensor]:
    """A row for each turn that sees what stands before its first token that is not agreed on."""
    rows = torch.tensor([turn.row for turn in turns], device=live.device)
    ends = torch.tensor([turn.start + len(turn.agreed) for turn in turns], device=live.device)
    reading, seen = gold.reading.fork(rows), gold.reading.seen.shape[1]
    reading.positions = ends + (seen - gold.hidden.shape[1])  # the opening comes before
    places = torch.arange(seen, device=live.device)
    reading.seen = (places[None, :] < reading.positions[:, None]).long()
    return reading, live.head(gold.hidden[rows, ends - 1])


def _dialogue_batches(shapes: Sequence[tuple[int, int]], room: int, most_tokens: int) -> Iterator[list[int]]:
    """Dialogues of like length together, as long as all their turns, each with a cache of its own, find room.

    Args:
        shapes: Tokens and agent turns of each dialogue.
        room: Cached positions of all turns together.
        most_tokens: Positions of the dialogues, padding included.
    """
    batch: list[int] = []
    turns = 0
    for index in sorted(range(len(shapes)), key=lambda index: -shapes[index][0]):
        longest = shapes[batch[0]][0] if batch else shapes[index][0]
        full = (turns + shapes[index][1]) * longest > room or (len(batch) + 1) * longest > most_tokens
        if batch and full:
            yield batch
            batch, turns = [], 0
        batch.append(index)
        turns += shapes[index][1]
    if batch:
        yield batch
