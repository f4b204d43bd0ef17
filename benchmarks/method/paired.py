"""How the models in one folder differ from those in another, on the same items and at the same seeds.

Run as ``python benchmarks/method/paired.py ONE [OTHER]``; a folder holds ``seed-N/items/AXIS.jsonl``. Without
another, the difference is that from the base. Prints points with 95% intervals, as the reports have them.
All of ARC-Easy: ``benchmarks/method/arc-easy --base benchmarks/method/arc-easy/base --axes knowledge``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tether.results import Item, compare, pair, read_items

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

AXES = ("proficiency", "safety")
BASE = Path("benchmarks/first-study/records/base")


def main() -> None:
    """Print a line for each axis, and one for each kind of its items."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("one", type=Path)
    parser.add_argument("other", type=Path, nargs="?")
    parser.add_argument("--base", type=Path, default=BASE)
    parser.add_argument("--axes", nargs="+", default=AXES)
    arguments = parser.parse_args()
    seeds = [folder.parent.name for folder in sorted(arguments.one.glob("seed-*/items"))]
    for axis in arguments.axes:
        base = read(arguments.base, axis)
        one = {seed: read(arguments.one / seed, axis) for seed in seeds}
        other = {seed: read(arguments.other / seed, axis) if arguments.other else base for seed in seeds}
        print(f"{axis} ({', '.join(seeds)}): {difference(base, one, other)}")
        for source, group in dict.fromkeys((item.source, item.group) for item in pair(base, one).items):
            kind = [item for item in base if (item.source, item.group) == (source, group)]
            print(f"  {source}, {group}: {difference(kind, one, other)}")


def read(folder: Path, axis: str) -> list[Item]:
    """One axis's items."""
    return read_items(folder / "items" / f"{axis}.jsonl")


def difference(
    base: Sequence[Item], one: Mapping[str, Sequence[Item]], other: Mapping[str, Sequence[Item]]
) -> str:
    """Points between them on the base's items."""
    found = compare(pair(base, one), pair(base, other))
    low, high = found.ci95 or (found.delta, found.delta)
    return f"{100 * found.delta:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}], n {found.n}"


if __name__ == "__main__":
    main()
