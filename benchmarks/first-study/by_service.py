"""Proficiency of a run on services that were seen in training and on those that were not.

Run as ``python benchmarks/first-study/by_service.py runs/first-study --seen Hotels_1 Hotels_2 Hotels_3``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tether.results import Item, read_items
from tether.stats import cluster_bootstrap

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

METRICS = ("step_accuracy", "call_accuracy", "slot_f1", "loss")


def main() -> None:
    """Print a Markdown table: a row for each model and part, metrics with 95% intervals over dialogues."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--seen", nargs="+", required=True, help="services that stand in the training data")
    arguments = parser.parse_args()
    print("| model | services | turns | " + " | ".join(METRICS) + " |")
    print("|---|---|---|" + "---|" * len(METRICS))
    for name, items in models(arguments.run):
        for part, chosen in parts(items, set(arguments.seen)):
            cells = " | ".join(cell(chosen, metric) for metric in METRICS)
            print(f"| {name} | {part} | {len(chosen)} | {cells} |")


def models(run: Path) -> Iterable[tuple[str, list[Item]]]:
    """The base's items, then each method's over all its seeds."""
    yield "base", read_items(run / "base" / "items" / "proficiency.jsonl")
    for folder in sorted((run / "methods").iterdir()):
        files = sorted(folder.glob("seed-*/items/proficiency.jsonl"))
        if files:
            yield f"{folder.name} ({len(files)} seeds)", [item for file in files for item in read_items(file)]


def parts(items: Sequence[Item], seen: set[str]) -> list[tuple[str, list[Item]]]:
    """The items of seen and of unseen services."""
    known = [item for item in items if item.group in seen]
    return [("seen", known), ("unseen", [item for item in items if item.group not in seen])]


def cell(items: Sequence[Item], metric: str) -> str:
    """Mean of a metric with its interval, dialogues drawn whole."""
    told = [(value, item.cluster) for item in items if (value := item.metrics.get(metric)) is not None]
    if not told:
        return "–"
    values, clusters = zip(*told, strict=True)
    drawn = cluster_bootstrap(values, clusters)
    low, high = drawn.ci or (drawn.mean, drawn.mean)
    return f"{drawn.mean:.3f} [{low:.3f}, {high:.3f}]"


if __name__ == "__main__":
    main()
