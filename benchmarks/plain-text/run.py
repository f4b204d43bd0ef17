"""How far models moved on the same questions asked in the chat template and as plain text.

Run as ``TETHER_DATA=... python benchmarks/plain-text/run.py MODEL ...``, each an adapter's folder,
as `tether compare` leaves them under RUN/methods. By model it prints the mean KL(base || model) in
nats per token of the right answer, both ways, and by how many nats a character right and wrong
answers have become likelier as plain text.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import torch

from tether import bases
from tether.anchors.drift import divergence
from tether.axes.knowledge import choice_continuations
from tether.inference import LocalModel
from tether.sources import ChoiceItem, load_knowledge

if TYPE_CHECKING:
    from collections.abc import Sequence


def main() -> None:
    """Measure every model on the same questions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--base", default="smollm2-135m-aligned")
    parser.add_argument("--knowledge", default="arc_easy")
    parser.add_argument("--sample", type=int, default=500, help="as the study draws it")
    parser.add_argument("--questions", type=int, default=150, help="the first so many of the sample")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    base = bases.resolve(given.base)
    before = LocalModel(bases.load_model(base), bases.load_tokenizer(base))
    items = load_knowledge(given.knowledge, limit=given.sample)[: given.questions]
    questions = [item for item in items if isinstance(item, ChoiceItem)]
    found = {
        str(folder): measured(before, LocalModel(bases.load_tuned(base, folder), before.tokenizer), questions)
        for folder in given.models
    }
    text = json.dumps({"questions": len(questions), "models": found}, indent=2)
    print(text)
    if given.out:
        given.out.write_text(text + "\n", encoding="utf-8")


def measured(before: LocalModel, after: LocalModel, questions: Sequence[ChoiceItem]) -> dict[str, float]:
    """One model's figures."""
    parts: dict[str, list[float]] = {"chat": [], "plain": [], "right": [], "wrong": []}
    for question in questions:
        right = question.choices[question.answer]
        chat = before.ask(question.question), before.tokenizer(right, add_special_tokens=False)["input_ids"]
        plain = choice_continuations(before, question)
        parts["chat"].append(moved(before, after, *chat))
        parts["plain"].append(moved(before, after, *plain[question.answer]))
        gains = [
            b - a for a, b in zip(*(model.log_likelihoods(plain) for model in (before, after)), strict=True)
        ]
        for place, (choice, gain) in enumerate(zip(question.choices, gains, strict=True)):
            parts["right" if place == question.answer else "wrong"].append(gain / len(choice))
    return {name: fmean(values) for name, values in parts.items()}


@torch.inference_mode()
def moved(before: LocalModel, after: LocalModel, context: Sequence[int], answer: Sequence[int]) -> float:
    """Mean KL per token of an answer."""
    ids = torch.tensor([[*context, *answer]], device=before.device)
    logits = [model.model(input_ids=ids).logits[0, len(context) - 1 : -1] for model in (before, after)]
    return float(divergence(*logits).mean())


if __name__ == "__main__":
    main()
