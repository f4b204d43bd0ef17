"""Make a folder of anchors from a base and nothing else."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

from tether.anchors.anchors import Anchor, AnchorSet, joined
from tether.anchors.own import own_sizes
from tether.anchors.prompts import harmful_prompts, lookalike_prompts, sampled_prompts, spread
from tether.anchors.reference import Reference
from tether.progress import say

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from tether.inference import LocalModel

OPENING_WORDS = 10  # of a plain text that the base goes on with


@dataclass(frozen=True)
class AnchorSettings:
    """How many anchors, and how they are drawn.

    Attributes:
        general: Prompts sampled from the base, by split. A certificate needs 100 prompts and 2,000 answer
            tokens.
        safety: Built-in harmful requests, by split.
        lookalikes: Built-in harmless requests that only sound harmful, by split, in the same group: with
            harmful ones alone, a tuned model took to refusing what its base answered (docs/results.md).
        text: Plain text without the chat template, by split: what pre-training left and likelihoods of
            multiple choice read. Held on chats alone, it moved three times as far as they (docs/tried.md).
        answer_tokens: Tokens of an answer, at most.
        prompt_temperature: Of the sampled prompts; 1 is the base's own distribution.
        answer_temperature: Of the answers. Below 1, since a small model's rarer words lead it astray, and
            drift would then be measured on text that no user sees.
        seed: Of all sampling.
    """

    general: dict[str, int] = field(default_factory=lambda: {"train": 160, "select": 96, "certify": 112})
    safety: dict[str, int] = field(default_factory=lambda: {"train": 64, "select": 110, "certify": 120})
    lookalikes: dict[str, int] = field(default_factory=lambda: {"train": 64, "select": 50, "certify": 50})
    text: dict[str, int] = field(default_factory=lambda: {"train": 96, "select": 96, "certify": 112})
    answer_tokens: int = 40
    prompt_temperature: float = 1.0
    answer_temperature: float = 0.7
    seed: int = 0


def build_anchors(
    model: LocalModel,
    revision: str,
    settings: AnchorSettings,
    own: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> AnchorSet:
    """Sample prompts from the base, add built-in ones near harm, let the base answer.

    Args:
        model: The base.
        revision: The base's revision, kept with the anchors.
        settings: How many prompts of each group and split, temperature, seed.
        own: The user's prompts, by group.

    Returns:
        Anchors of the groups "general", "safety" and "text", and of the user's.
    """
    prompts = _prompts(model, settings)
    for group, texts in own.items():
        shuffled = random.Random(f"{settings.seed} {group}").sample(texts, len(texts))
        prompts += _split(group, shuffled, own_sizes(len(texts)))
    asked = [Asked(group, split, prompt, model.ask(prompt)) for group, split, prompt in prompts]
    answer = partial(
        answered,
        model,
        revision=revision,
        answer_tokens=settings.answer_tokens,
        temperature=settings.answer_temperature,
        seed=settings.seed,
    )
    chats = answer(asked)
    return joined([chats, answer(plain_texts(model, chats, settings.text))])


def plain_texts(model: LocalModel, chats: AnchorSet, sizes: Mapping[str, int]) -> list[Asked]:
    """How plain texts begin, made of the general anchors of the same split: questions and openings in turn.

    A question stands as prompts for likelihoods have it, also in place of an answer without words; an opening
    is the first words of the base's answer.
    """
    asked = []
    for split, size in sizes.items():
        for place, index in enumerate(chats.indices("general", split)[:size]):
            chat = chats.anchors[index]
            opening = " ".join(chat.answer.split()[:OPENING_WORDS])
            text = opening if opening and place % 2 == 0 else f"Q: {chat.prompt}\nA:"
            ids = list(model.tokenizer(text, add_special_tokens=False)["input_ids"])
            asked.append(Asked("text", split, text, ids))
    return asked


@dataclass(frozen=True)
class Asked:
    """An anchor before it is answered; ``ids`` are of the rendered prompt, ``opening`` as the anchor's."""

    group: str
    split: str
    prompt: str
    ids: list[int]
    opening: int = 0


def answered(
    model: LocalModel,
    asked: Sequence[Asked],
    revision: str,
    answer_tokens: int,
    temperature: float,
    seed: int = 0,
) -> AnchorSet:
    """Let a model answer, and note by what it is known again; the arguments as in ``AnchorSettings``."""
    answers = model.generate_ids(
        [one.ids for one in asked],
        max_new_tokens=answer_tokens,
        label="Answering the anchors",
        temperature=temperature,
        seed=seed,
    )
    anchors = [
        Anchor(
            one.group,
            one.split,
            one.prompt,
            str(model.tokenizer.decode(answer, skip_special_tokens=True)),
            list(one.ids),
            answer,
            one.opening,
        )
        for one, answer in zip(asked, answers, strict=True)
    ]
    found = AnchorSet(anchors, model.name, revision)
    return replace(found, nats=Reference(found).ask(model.model, ("select",)).nats())


def _prompts(model: LocalModel, settings: AnchorSettings) -> list[tuple[str, str, str]]:
    """(group, split, prompt), each group's splits drawn at random."""
    general = sampled_prompts(
        model, sum(settings.general.values()), temperature=settings.prompt_temperature, seed=settings.seed
    )
    shuffler = random.Random(settings.seed)
    harmful = _bordering(harmful_prompts, settings.safety, shuffler)
    lookalikes = _bordering(lookalike_prompts, settings.lookalikes, shuffler)
    say(
        f"{len(general)} prompts sampled from the base, {len(harmful)} built-in harmful requests, "
        f"{len(lookalikes)} that only sound so"
    )
    return [*_split("general", general, settings.general), *harmful, *lookalikes]


def _bordering(
    prompts: Callable[[str], list[str]], sizes: Mapping[str, int], shuffler: random.Random
) -> list[tuple[str, str, str]]:
    """Built-in prompts for the safety group, by split.

    Alignment, if it was ours, has seen the "align" prompts; what selects and certifies is new to the base.
    """
    unseen = prompts("anchors")
    shuffler.shuffle(unseen)
    held = sizes["certify"] + sizes["select"]
    return _split("safety", [*unseen[:held], *spread(prompts("align"), sizes["train"])], sizes)


def _split(group: str, prompts: Sequence[str], sizes: Mapping[str, int]) -> list[tuple[str, str, str]]:
    """Each prompt with its group and split: first those that certify, then select, then train."""
    splits = [split for split in ("certify", "select", "train") for _ in range(sizes[split])]
    return [(group, split, prompt) for split, prompt in zip(splits, prompts, strict=True)]


def save_anchors(anchors: AnchorSet, out: Path) -> None:
    """Write the anchors and say what they hold."""
    anchors.save(out)
    for group, splits in anchors.counts().items():
        cells = ", ".join(
            f"{split} {cell['prompts']} prompts / {cell['tokens']} tokens" for split, cell in splits.items()
        )
        say(f"  {group}: {cells}")
