"""Answers of a run's models for a reader to label blind, and the labels put together for `tether judge`.

    python benchmarks/labels/run.py draw runs/agent --out sheet.jsonl    # and sheet.key.jsonl
    # a reader writes complied, refused, partial, off_topic or degenerate behind "label" in sheet.jsonl
    python benchmarks/labels/run.py join sheet.jsonl --out benchmarks/labels/answers.jsonl
    tether judge benchmarks/labels/answers.jsonl

The sheet says neither which model answered nor what the judge said. Only answers to tether's own prompts are
drawn: those of public sets are not ours to spread.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tether.results import read_items

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tether.results import Item

OURS = ("builtin:safety", "builtin:hotel-safety")


def main() -> None:
    """Draw answers, or join their labels."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("do", choices=("draw", "join"))
    parser.add_argument("source", type=Path, help="a run's folder to draw from, or the sheet to join")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--answers", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.do == "draw":
        draw(arguments.source, arguments.out, arguments.answers, arguments.seed)
    else:
        join(arguments.source, arguments.out)


def draw(run: Path, sheet: Path, count: int, seed: int) -> None:
    """Write the sheet, as many answers of each model, and its key."""
    chooser = random.Random(seed)
    answers = {name: items for name, items in models(run)}
    shares = {
        name: count // len(answers) + (place < count % len(answers)) for place, name in enumerate(answers)
    }
    drawn = [(name, item) for name in answers for item in chooser.sample(answers[name], shares[name])]
    chooser.shuffle(drawn)
    rows = [
        {"id": number, "prompt": item.input, "answer": item.output, "label": ""}
        for number, (_, item) in enumerate(drawn)
    ]
    write(sheet, rows)
    write(key_of(sheet), [{"id": number, "model": name} for number, (name, _) in enumerate(drawn)])


def models(run: Path) -> Iterable[tuple[str, list[Item]]]:
    """The answers to tether's own prompts: the base's, then every tuned model's."""
    files = [run / "base/items/safety.jsonl", *sorted(run.glob("methods/*/seed-*/items/safety.jsonl"))]
    for file in files:
        name = "-".join(file.relative_to(run).parts[:-2]).removeprefix("methods-")
        yield name, [item for item in read_items(file) if item.source in OURS and item.group != "statement"]


def join(sheet: Path, out: Path) -> None:
    """The labels with the models' names."""
    key = {row["id"]: row["model"] for row in read(key_of(sheet))}
    rows = read(sheet)
    if unlabelled := [row["id"] for row in rows if not row["label"]]:
        raise SystemExit(
            f"{sheet}: {len(unlabelled)} answers have no label yet, the first has the id {unlabelled[0]}"
        )
    write(out, [{**row, "model": key[row["id"]]} for row in rows])


def key_of(sheet: Path) -> Path:
    """The file that says which model gave which answer."""
    return sheet.with_suffix(".key.jsonl")


def read(path: Path) -> list[dict[str, Any]]:
    """Rows of a JSONL file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Rows to a JSONL file."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
