"""Keep of a run what was measured, in a folder small enough to commit; and go on from it elsewhere.

Run as ``python benchmarks/keep.py runs/first-study benchmarks/first-study/records``. On another machine,
``cp -r benchmarks/first-study/records runs/first-study`` and the study goes on from there.

Scores, losses, settings and certificates are kept. Weights are not: they are made again from study, seed and
versions. Nor is what a public data set asks or what a model answered it: those texts are not ours to spread.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

KEPT = ("study.json", "study.yaml", "results.json", "report.md", "*.png", "tuned.json", "drift.json")
TEXTS = dict.fromkeys(("input", "output", "reason"), "")


def main() -> None:
    """Copy what is new."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("kept", type=Path)
    arguments = parser.parse_args()
    for pattern in KEPT:
        for source in arguments.run.rglob(pattern):
            shutil.copy2(source, _place(source, arguments.run, arguments.kept))
    for source in arguments.run.rglob("items/*.jsonl"):
        without_texts(source, _place(source, arguments.run, arguments.kept))


def _place(source: Path, run: Path, kept: Path) -> Path:
    place = kept / source.relative_to(run)
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


def without_texts(source: Path, place: Path) -> None:
    """Copy per-item records, their texts left empty."""
    items = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    place.write_text("".join(json.dumps({**item, **TEXTS}) + "\n" for item in items), encoding="utf-8")


if __name__ == "__main__":
    main()
