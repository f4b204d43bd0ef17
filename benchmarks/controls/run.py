"""The axes against controls: the base again, rules that understand nothing, noise of growing size.

Run as ``python benchmarks/controls/run.py --adapter DIR --out benchmarks/controls/results.json``; what a
killed run measured is kept in ``--work`` and not measured again. The adapter is one that learned the hotel's
task: without it the base has no skill that noise could take.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tether import bases
from tether.axes.controls import RULES, with_noise
from tether.axes.registry import load_axes, measure
from tether.environment import environment
from tether.inference import LocalModel
from tether.results import Item, Records, read_items, summarise_method, write_items

if TYPE_CHECKING:
    from collections.abc import Callable

    from tether.inference import Answers

SOURCES = {
    "proficiency": ["builtin:hotels"],
    "safety": ["builtin:safety", "builtin:hotel-safety", "builtin:stereotypes"],
    "knowledge": ["builtin:knowledge"],
}
LIMITS = {
    "builtin:hotels": 6,
    "builtin:safety": 80,
    "builtin:hotel-safety": 30,
    "builtin:stereotypes": 40,
    "builtin:knowledge": 80,
}
NOISE = (0.1, 0.2, 0.4)


def main() -> None:
    """Measure what is missing, then write everything down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", default="smollm2-135m-aligned")
    parser.add_argument("--adapter", type=Path, help="what was tuned on the base, to be damaged")
    parser.add_argument("--work", type=Path, default=Path("runs/controls"))
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    loaded = load_axes(SOURCES, LIMITS)
    measured = {
        name: {
            axis: _items(arguments.work / name / f"{axis}.jsonl", make, axis, loaded[axis]) for axis in loaded
        }
        for name, make in controls(arguments.base, arguments.adapter).items()
    }
    found = {
        "base": arguments.base,
        "adapter": arguments.adapter and "/".join(arguments.adapter.parts[-2:]),
        "limits": LIMITS,
        "environment": environment(),
        "controls": {
            name: told(measured["base"], items) for name, items in measured.items() if name != "base"
        },
    }
    arguments.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def controls(name: str, adapter: Path | None) -> dict[str, Callable[[], Answers]]:
    """The model as it is, called "base", and every control by name, each made when it is needed."""
    base = bases.resolve(name)

    def live(size: float = 0.0) -> LocalModel:
        model = bases.load_tuned(base, adapter)
        return LocalModel(with_noise(model, size) if size else model, bases.load_tokenizer(base), name)

    noisy: dict[str, Callable[[], Answers]] = {
        f"noise of {size:.0%}": (lambda size=size: live(size)) for size in NOISE
    }
    return {"base": live, "base again": live, **{r.name: (lambda r=r: r) for r in RULES}, **noisy}


def _items(path: Path, make: Callable[[], Answers], axis: str, items: Any) -> list[Item]:
    if not path.is_file():
        write_items(path, measure(make(), axis, items))
    return read_items(path)


def told(before: dict[str, list[Item]], after: dict[str, list[Item]]) -> dict[str, Any]:
    """What a study would say of the control, axis by axis: before, after, change, interval, n."""
    written = any(item.group == "written" for item in after["knowledge"])
    summaries = summarise_method(Records("", before, {"0": after}), f1=written)
    fields = ("before", "after", "delta", "ci95", "p_value", "n", "unit")
    return {
        axis: {field: getattr(summary, field) for field in fields}
        for axis, summary in summaries.items()
        if summary.n
    }


if __name__ == "__main__":
    main()
