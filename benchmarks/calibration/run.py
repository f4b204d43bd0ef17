"""Does the budget mean what it says: is the certified drift below it, and near it where it binds?

Run as ``python benchmarks/calibration/run.py --work runs/calibration --out FILE.json``.

A plain LoRA is trained once a seed, or taken from ``--adapter``, and rewound to each budget, the same for all
groups of anchors. With ``--train``, tether is trained at each budget as well: then the multipliers take part.
Every finished budget is a JSON in ``--work``, and is not measured again.

A budget binds where the whole update does not fit, and of what fits the domain loss would not have less. One
path holds all groups, so it binds by one of them: the group whose bound on the select split is nearest to the
budget. A calibrated budget is certified (upper 95% bound below it) and, where it binds, used (that group's
drift above half of it).
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tether import stages
from tether.anchors.drift import GroupDrift
from tether.bases import RECORD_FILE
from tether.environment import environment
from tether.files import read_json, write_json
from tether.training.rewind import bound

EPSILONS = (0.003, 0.01, 0.03, 0.1, 0.3)
USED = 0.5  # of the budget, where it binds


def main() -> None:
    """Measure what is missing, print the table, and write everything down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", default="smollm2-135m-aligned")
    parser.add_argument("--data", default="sgd_hotels")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epsilons", type=float, nargs="+", default=EPSILONS)
    parser.add_argument("--adapter", type=Path, help="rewind this LoRA and train none")
    parser.add_argument("--anchors", type=Path, help="a folder of anchors, instead of the base's own")
    parser.add_argument("--train", action="store_true", help="train tether at each budget, too")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    rows = measured(arguments)
    print(table(rows))
    asked = {key: value for key, value in vars(arguments).items() if key not in ("work", "out", "adapter")}
    found = {"asked": {**asked, "anchors": str(asked["anchors"] or "")}, "environment": environment()}
    write_json(arguments.out, {**found, "rows": rows})


def measured(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each seed, way and budget."""
    rows = []
    for seed in [0] if arguments.adapter else arguments.seeds:
        folder = arguments.work / f"seed-{seed}"
        for epsilon in arguments.epsilons:
            adapter = arguments.adapter or folder / "lora"
            if not arguments.adapter:
                tuned(arguments, seed, "lora", adapter)
            rows.append(rewound(arguments, seed, adapter, epsilon, folder / f"rewound-{epsilon:g}"))
        for epsilon in arguments.epsilons if arguments.train else ():
            out = folder / f"trained-{epsilon:g}"
            tuned(arguments, seed, "tether", out, epsilon)
            rows.append(written(out, "trained", seed, epsilon))
    return rows


def tuned(
    arguments: argparse.Namespace, seed: int, method: str, out: Path, budget: float | None = None
) -> None:
    """Train by one method, or go on with it."""
    settings = {"max_steps": arguments.steps, "learning_rate": arguments.learning_rate, "seed": seed}
    stages.tune(arguments.base, arguments.data, method, out, budget, arguments.anchors, settings)


def rewound(
    arguments: argparse.Namespace, seed: int, adapter: Path, epsilon: float, out: Path
) -> dict[str, Any]:
    """Rewind the adapter to one budget."""
    if not (out / RECORD_FILE).is_file():
        shutil.rmtree(out, ignore_errors=True)  # what a killed run left
        stages.rewind(arguments.base, adapter, arguments.data, out, epsilon, arguments.anchors)
    return written(out, "rewound", seed, epsilon)


def written(out: Path, way: str, seed: int, epsilon: float) -> dict[str, Any]:
    """The row of one budget, from a rewound adapter's or a training's own records."""
    file = out.parent / f"{out.name}.json"
    if not file.is_file():
        told = row(read_json(out / RECORD_FILE)["rewind"], read_json(out / "drift.json"))
        write_json(file, {"way": way, "seed": seed, "epsilon": epsilon, **told})
    found: dict[str, Any] = read_json(file)
    return found


def row(rewind: dict[str, Any], certificate: dict[str, Any]) -> dict[str, Any]:
    """What the rewind saw, and what the certificate says of it."""
    points = {(point["alpha"], point["pull"]): point for point in rewind["curve"]}
    kept, whole = points[rewind["alpha"], rewind["pull"]], points[1.0, 0.0]
    # Where the search ended, it had looked at the groups that had not fitted before.
    selected = {name: GroupDrift(**drift) for name, drift in kept["drift"].items()}
    groups = {
        name: {
            "certified": told["drift"],
            "upper95": told["upper95"],
            "selected": asdict(selected[name]) if name in selected else None,
            "bound": bound(selected[name]) if name in selected else None,
            "budget": told["budget"],
            "unconstrained": whole["drift"][name]["drift"],
        }
        for name, told in certificate["groups"].items()
    }
    nearest = max(selected, key=lambda name: groups[name]["bound"] / groups[name]["budget"])
    return {
        "pull": rewind["pull"],
        "alpha": rewind["alpha"],
        "loss": rewind["loss"],
        "binds": None if whole["fits"] else nearest,
        "groups": groups,
    }


def calibrated(row: dict[str, Any]) -> bool:
    """Whether every group is certified, and the one that binds uses its budget."""
    groups, binding = row["groups"].values(), row["groups"].get(row["binds"])
    used = binding is None or binding["certified"] >= USED * binding["budget"]
    return used and all(group["upper95"] <= group["budget"] for group in groups)


def table(rows: list[dict[str, Any]]) -> str:
    """For people; the group that binds is marked by a star."""
    lines = ["way      seed  budget  pull    scale  loss   calibrated  certified [upper 95% bound]"]
    for one in rows:
        cells = [
            f"{name}{'*' if name == one['binds'] else ''} {group['certified']:.4f} [{group['upper95']:.4f}]"
            for name, group in one["groups"].items()
        ]
        place = f"{one['pull']:<6.3g}  {one['alpha']:<5.2f}  {one['loss']:.3f}"
        told = "yes" if calibrated(one) else "no"
        lines.append(
            f"{one['way']:8} {one['seed']:4}  {one['epsilon']:<6g}  {place}  {told:10}  {', '.join(cells)}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
