"""How the models in one folder differ from those in another, item by item, the mean of their common seeds.

Run as ``python benchmarks/method/paired.py ONE OTHER``; a folder holds ``seed-N/items/AXIS.jsonl``, or, of
the base, ``items/AXIS.jsonl``. Prints points with 95% intervals over dialogues and prompts.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import TYPE_CHECKING

from tether.results import Item, read_items
from tether.stats import cluster_bootstrap

if TYPE_CHECKING:
    from collections.abc import Sequence

AXES = ("proficiency", "safety")


def main() -> None:
    """Print a line for each axis, and each set of safety's prompts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("one", type=Path)
    parser.add_argument("other", type=Path)
    arguments = parser.parse_args()
    seeds = [folder.parent.name for folder in sorted(arguments.one.glob("seed-*/items"))]
    for axis in AXES:
        one = [read(arguments.one / seed, axis) for seed in seeds]
        base = (arguments.other / "items").is_dir()
        other = [read(arguments.other if base else arguments.other / seed, axis) for seed in seeds]
        for name in sorted({name for model in one for name in map(set_of, model.values())}):
            print(f"{name} ({', '.join(seeds)}): {difference(name, one, other)}")
        if axis == "safety":
            print(f"safety, all: {difference('', one, other)}")


def read(folder: Path, axis: str) -> dict[str, Item]:
    """Items by id."""
    return {item.id: item for item in read_items(folder / "items" / f"{axis}.jsonl")}


def set_of(item: Item) -> str:
    """The source; of safety also whether its prompts are harmful."""
    return f"{item.source}, {item.group}" if item.axis == "safety" else item.source


def difference(name: str, one: Sequence[dict[str, Item]], other: Sequence[dict[str, Item]]) -> str:
    """Points between them over the items of a set; all sets without a name."""
    common = [i for i in one[0] if all(i in model for model in [*one, *other])]
    ids = [i for i in common if not name or set_of(one[0][i]) == name]
    points = [
        100 * statistics.mean(a[i].score - b[i].score for a, b in zip(one, other, strict=True)) for i in ids
    ]
    drawn = cluster_bootstrap(points, [one[0][i].cluster for i in ids])
    interval = "" if drawn.ci is None else f" [{drawn.ci[0]:+.1f}, {drawn.ci[1]:+.1f}]"
    return f"{drawn.mean:+.1f}{interval}, n {len(ids)}"


if __name__ == "__main__":
    main()
