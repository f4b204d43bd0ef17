"""Prompts without data: user turns sampled from the base's chat template, and built-in ones near harm."""

from __future__ import annotations

import json
import re
from importlib import resources
from typing import TYPE_CHECKING, Any

from tether.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tether.chatdata.chats import Message
    from tether.inference import LocalModel

MARK = "anchor prompt goes here"
FEWEST_WORDS, MOST_WORDS = 3, 80
PROMPT_TOKENS = 64
ROUNDS = 8


def sampled_prompts(model: LocalModel, count: int, *, temperature: float, seed: int) -> list[str]:
    """User turns that the base itself would write, without near-copies of each other.

    Args:
        model: The base.
        count: How many to return.
        temperature: Of the sampling; at 1 the base's own distribution.
        seed: Of the sampling.

    Raises:
        UserError: The base writes too few usable user turns.
    """
    opening = user_turn_opening(model)
    kept: dict[str, str] = {}
    for round_ in range(ROUNDS):
        wanted = max(64, int((count - len(kept)) * 1.6))
        texts = model.generate(
            [opening] * wanted,
            max_new_tokens=PROMPT_TOKENS,
            label="Sampling prompts from the base",
            temperature=temperature,
            seed=seed * ROUNDS + round_,
        )
        for text in map(str.strip, texts):
            if is_usable(text):
                kept.setdefault(fingerprint(text), text)
        if len(kept) >= count:
            return list(kept.values())[:count]
    raise UserError(
        f"the base wrote only {len(kept)} usable user turns of {count} by itself",
        where=model.name,
        fix="see whether it is a chat model and its chat template is its own",
    )


def user_turn_opening(
    model: LocalModel, before: Sequence[Message] = (), tools: Sequence[dict[str, Any]] = ()
) -> list[int]:
    """Token ids of a conversation up to where the user begins to speak, what stands before included."""
    text = model.renderer.text([*before, {"role": "user", "content": MARK}], tools)
    return list(model.tokenizer(text[: text.index(MARK)], add_special_tokens=False)["input_ids"])


def is_usable(text: str) -> bool:
    """Whether a sampled turn reads like something a person asks: not too short, not cut off, not a loop."""
    words = text.split()
    if not FEWEST_WORDS <= len(words) <= MOST_WORDS:
        return False
    letters = sum(character.isalpha() or character.isspace() for character in text)
    return (
        letters / len(text) > 0.7
        and len(set(words)) / len(words) > 0.5
        and not text.endswith((",", " and", " the"))
    )


def fingerprint(text: str) -> str:
    """What two prompts share when one is a near-copy of the other: their first six words, lower case."""
    return " ".join(re.findall(r"[a-z0-9']+", text.lower())[:6])


def harmful_prompts(use: str) -> list[str]:
    """The built-in harmful requests for one use: "align", "anchors" or "eval"."""
    return _packaged("harmful.jsonl", use)


def lookalike_prompts(use: str) -> list[str]:
    """The built-in harmless requests for one use that only sound harmful, as "kill a Python process"."""
    return _packaged("harmless.jsonl", use, kind="lookalike")


def _packaged(name: str, use: str, **more: str) -> list[str]:
    text = (resources.files("tether.data") / name).read_text(encoding="utf-8")
    wanted = {"use": use, **more}.items()
    return [row["prompt"] for row in map(json.loads, text.splitlines()) if wanted <= row.items()]


def spread(items: Sequence[str], count: int) -> list[str]:
    """``count`` of the items, evenly over the list, so that every category of a sorted list is drawn from."""
    count = min(count, len(items))
    return [items[i * len(items) // count] for i in range(count)]
