"""Keep of a run what was measured, in a folder small enough to commit; and go on from it elsewhere.

Run as ``python benchmarks/keep.py runs/first-study benchmarks/first-study/records``. On another machine,
``cp -r benchmarks/first-study/records runs/first-study`` and the study goes on from there, as far as tether's
defaults are still those of the records.

Scores, losses, settings and certificates are kept. Weights are not: they are made again from study, seed and
versions. Nor is what a public data set asks or what a model answered it: those texts are not ours to spread,
so report.md is made anew from the records without them.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from tether.report.page import write_markdown
from tether.results import read_results, write_results

KEPT = ("study.json", "study.yaml", "*.png", "tuned.json", "drift.json")
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
    if (arguments.run / "results.json").is_file():
        keep_results(arguments.run, arguments.kept)


def _place(source: Path, run: Path, kept: Path) -> Path:
    place = kept / source.relative_to(run)
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


def without_texts(source: Path, place: Path) -> None:
    """Copy per-item records, their texts left empty."""
    items = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    place.write_text("".join(json.dumps({**item, **TEXTS}) + "\n" for item in items), encoding="utf-8")


def keep_results(run: Path, kept: Path) -> None:
    """The results, without the texts of prompts that leak, and the report that they and the records give."""
    results = read_results(run / "results.json")
    for leak in results.provenance.get("leaks", {"found": []})["found"]:
        leak["text"] = ""
    write_results(kept / "results.json", results)
    write_markdown(kept, results, [figure.stem for figure in sorted((kept / "figures").glob("*.png"))])


if __name__ == "__main__":
    main()
