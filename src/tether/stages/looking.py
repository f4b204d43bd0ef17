"""Look: at the data as the model reads it, at what a fine-tuning changed, at a judge; and make anchors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tether import bases
from tether.anchors.store import build
from tether.axes.judges.agreement import agreement, agreement_lines
from tether.axes.judges.fitting import train as train_classifier
from tether.axes.judges.hosted import HostedJudge
from tether.axes.judges.labelled import parse_labelled
from tether.axes.judges.registry import open_judge
from tether.chatdata.rendering import Renderer
from tether.config import Asking
from tether.errors import UserError
from tether.inspection.inspect import inspect as find_changes
from tether.inspection.tables import inspection_text
from tether.sources import load_dialogues
from tether.sources.rows import read_rows
from tether.stages.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tether.anchors.build import AnchorSettings
    from tether.chatdata.chats import Chat

LEARNED, LEARNED_END = "\x1b[32m", "\x1b[0m"


def preview(base: str, data: str, count: int) -> Outcome:
    """The first dialogues as the model reads them, what it learns in green (or between marks in JSON)."""
    tokenizer = bases.load_tokenizer(bases.resolve(base))
    chats = load_dialogues(data, split="train")
    shown = [_marked(Renderer(tokenizer), chat) for chat in chats[:count]]
    return Outcome({"examples": shown}, "\n\n".join(text for example in shown for text in _coloured(example)))


def _marked(renderer: Renderer, chat: Chat) -> dict[str, Any]:
    """One dialogue in pieces of text, each learned or not."""
    encoded = renderer.encode(chat)
    pieces: list[tuple[list[int], bool]] = []
    for token, learned in zip(encoded.input_ids, encoded.learned, strict=True):
        if not pieces or pieces[-1][1] != learned:
            pieces.append(([], learned))
        pieces[-1][0].append(token)
    return {
        "source": chat.source,
        "tokens": len(encoded.input_ids),
        "learned_tokens": sum(encoded.learned),
        "pieces": [{"text": renderer.tokenizer.decode(ids), "learned": learned} for ids, learned in pieces],
    }


def _coloured(example: dict[str, Any]) -> tuple[str, str]:
    head = f"--- {example['source']}: {example['tokens']} tokens, {example['learned_tokens']} learned (green)"
    parts = (f"{LEARNED}{p['text']}{LEARNED_END}" if p["learned"] else p["text"] for p in example["pieces"])
    return head, "".join(parts)


def inspect(base: str, tuned: Path, out: Path | None = None, anchors: Path | None = None) -> Outcome:
    """Tell where a fine-tuning changed its base: in which weights and blocks, and at which answer tokens.

    Args:
        base: What was tuned.
        tuned: Folder of a PEFT adapter or of a whole model of the base's shape.
        out: Where page, figure and `inspect.json` go; None writes nothing.
        anchors: The user's own anchors.

    Raises:
        UserError: The folder or the anchors do not belong to the base.
    """
    found = find_changes(bases.resolve(base), tuned, anchors)
    record = found.record()
    if out is None:
        return Outcome(record, inspection_text(found))
    from tether.inspection.page import write_page  # draws with matplotlib, which the tables do not need

    return Outcome(record, f"{inspection_text(found)}\n\nPage: {write_page(found, record, out)}")


def judge(
    file: Path,
    name: str,
    asking: Asking | None = None,
    train: Path | None = None,
    fit_on: Sequence[str] = (),
) -> Outcome:
    """Compare a judge's verdicts with the labels in ``file``.

    Args:
        file: Labelled answers.
        name: Of the judge.
        asking: How a judge at a service is asked.
        train: Folder to fit a classifier into, which is then the judge.
        fit_on: Models whose answers it is fitted on; the others' are judged.

    Raises:
        UserError: The file or the judge will not do.
    """
    answers = parse_labelled(read_rows(file))
    if train:
        record = train_classifier(train, answers, fit_on)
    else:
        chosen = open_judge(name, asking or Asking())
        record = agreement(chosen, answers)
        if isinstance(chosen, HostedJudge):
            chosen.finish()
    return Outcome(record, "\n".join(agreement_lines(record)))


def anchors(
    base: str, out: Path, settings: AnchorSettings | None = None, prompts: Sequence[Path] = ()
) -> Outcome:
    """Make a base's anchors in ``out``, with a group of its own for each file of ``prompts``."""
    if out.is_dir() and any(out.iterdir()):
        raise UserError("the folder is not empty", where=str(out), fix="name another folder")
    made = build(bases.resolve(base), out, settings, prompts)
    record = {"out": str(out), "sha256": made.sha256, "counts": made.counts()}
    return Outcome(record, f"Anchors of {base}: {out}")
