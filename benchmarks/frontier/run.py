"""How much is learned for how much drift, by tether's own settings: its update whole, before any rewind.

Run as ``python benchmarks/frontier/run.py --work runs/frontier --out FILE.json as-it-is pull=10,alpha=128``:
each place is settings as ``--set`` has them, or none. Loss is of the dialogues kept aside, drift of the
anchors' select split: what certifies is not read to choose by. A finished place is not trained again.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tether import stages
from tether.anchors.drift import GroupDrift
from tether.bases import RECORD_FILE
from tether.environment import environment
from tether.files import read_json, write_json
from tether.methods.tether import BUDGET
from tether.settings import parse_settings
from tether.training.rewind import bound

ENOUGH = 1e3  # nats per token: a budget under which nothing is rewound
AS_IT_IS = "as-it-is"


def main() -> None:
    """Train what is missing, print the table, and write everything down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("places", nargs="+", metavar="key=value,...")
    parser.add_argument("--base", default="smollm2-135m-aligned")
    parser.add_argument("--data", default="sgd_hotels")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch-tokens", type=int, default=1024)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    rows = [reached(arguments, place, seed) for place in arguments.places for seed in arguments.seeds]
    print(table(rows))
    asked = {key: value for key, value in vars(arguments).items() if key not in ("work", "out")}
    write_json(arguments.out, {"asked": asked, "environment": environment(), "rows": rows})


def reached(arguments: argparse.Namespace, place: str, seed: int) -> dict[str, Any]:
    """Train at one place, or go on with it; what its update comes to."""
    settings = {
        "max_steps": arguments.steps,
        "batch_tokens": arguments.batch_tokens,
        "learning_rate": arguments.learning_rate,
        "training_budget": BUDGET,
        "seed": seed,
        **parse_settings([] if place == AS_IT_IS else place.split(",")),
    }
    out = arguments.work / f"{place}-{seed}"
    stages.tune(arguments.base, arguments.data, "tether", out, ENOUGH, None, settings)
    record = read_json(out / RECORD_FILE)
    (whole,) = (point for point in record["rewind"]["curve"] if (point["alpha"], point["pull"]) == (1, 0))
    cost = {key: record["cost"][key] for key in ("seconds", "peak_memory_bytes")}
    return {"place": place, "seed": seed, "loss": whole["loss"], "drift": whole["drift"], "cost": cost}


def table(rows: list[dict[str, Any]]) -> str:
    """For people; in brackets what the select split must show to be sure of a certificate."""
    lines = ["loss   drift by group [sure]"]
    for row in rows:
        drifts = (
            f"{name} {told['drift']:.4f} [{bound(GroupDrift(**told)):.4f}]"
            for name, told in row["drift"].items()
        )
        lines.append(f"{row['loss']:.4f}  {', '.join(drifts)}  {row['place']}, seed {row['seed']}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
