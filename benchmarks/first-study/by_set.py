"""How each method changed on every set, in points and paired with the base, and what each seed came to.

Of free questions, whose score is a gain and no share, a point is a hundredth of a bit a byte.

Run as ``python benchmarks/first-study/by_set.py runs/first-study``; of a sequence, after each domain.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tether.results import Item, read_items, summarise

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

AXES = ("proficiency", "safety", "knowledge")


def main() -> None:
    """Print a Markdown table: points of change with 95% intervals, and what each seed came to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    run = parser.parse_args().run
    measured = [axis for axis in AXES if (run / "base" / "items" / f"{axis}.jsonl").exists()]
    print("| method | set | n | base | change | by seed |\n|---|---|---|---|---|---|")
    seeds = [*run.glob("methods/*/seed-*"), *run.glob("stages/*/*/seed-*")]
    for folder in sorted({seed.parent for seed in seeds}):
        for axis in measured:
            before = read_items(run / "base" / "items" / f"{axis}.jsonl")
            after = {
                path.name: read_items(path / "items" / f"{axis}.jsonl")
                for path in sorted(folder.glob("seed-*"))
            }
            for name in dict.fromkeys(map(set_of, before)):
                print(row("/".join(folder.relative_to(run).parts[1:]), name, before, after))


def set_of(item: Item) -> str:
    """The source; of safety also whether its prompts are harmful."""
    return f"{item.source}, {item.group}" if item.axis == "safety" else item.source


def row(method: str, name: str, before: Sequence[Item], after: Mapping[str, Sequence[Item]]) -> str:
    """One line of the table."""
    base = [item for item in before if set_of(item) == name]
    tuned = {seed: [item for item in items if set_of(item) == name] for seed, items in after.items()}
    whole = summarise(base, tuned)
    low, high = whole.ci95 or (whole.delta, whole.delta)
    seeds = ", ".join(f"{100 * summarise(base, {seed: items}).after:.1f}" for seed, items in tuned.items())
    change = f"{100 * whole.delta:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
    return f"| {method} | {name} | {whole.n} | {100 * whole.before:.1f} | {change} | {seeds} |"


if __name__ == "__main__":
    main()
