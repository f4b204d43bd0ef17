"""What each part of tether pays: its update whole, before any rewind, with the part and without it.

Run as ``python benchmarks/ablation/run.py --work runs/ablation --records benchmarks/ablation/records``. It is
a queue of trainings of minutes, one by switch and seed. Each that ends leaves a record, and what has one is
not trained again, on another machine either; with an empty folder of records all are. Other settings are
asked as ``--set`` has them: ``as-it-is pull=10,alpha=96``. Loss is of the dialogues kept aside, drift of the
anchors' select split: what certifies is not read to choose by, but of a group that training is blind to,
whose drift stands nowhere else.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import fmean
from typing import Any

from tether import stages
from tether.anchors.drift import GroupDrift
from tether.bases import RECORD_FILE
from tether.environment import environment
from tether.files import read_json, write_json
from tether.methods.holding import BUDGET
from tether.settings import parse_settings
from tether.training.certificate import CERTIFICATE_FILE
from tether.training.rewind import bound

ASKED = ("base", "data", "steps", "batch_tokens", "learning_rate")
ENOUGH = 1e3  # nats per token: a budget under which nothing is rewound
AS_IT_IS = "as-it-is"
# What can be told without a rewind; studies/ablation.yaml measures all axes, rewound.
SWITCHES = (
    AS_IT_IS,
    "anchor_every=0",
    "pull=0",
    "white=false",
    "anchor_tokens=192",
    "train_a=true",
    "pull=0,anchor_every=0",  # plain LoRA of the same rank
    "blind_to=safety",
    "anchor_every=8",
    "alpha=64",
    "alpha=256",
    "rank=16,alpha=32",
)


def main() -> None:
    """Train what has no record yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("places", nargs="*", default=SWITCHES, metavar="key=value,...")
    parser.add_argument("--base", default="smollm2-135m-aligned")
    parser.add_argument("--data", default="sgd_hotels")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch-tokens", type=int, default=1024)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--records", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.records.mkdir(parents=True, exist_ok=True)
    # Seed by seed, so that a queue cut short has all places to compare.
    rows = [reached(arguments, place, seed) for seed in arguments.seeds for place in arguments.places]
    print(table(rows))


def reached(arguments: argparse.Namespace, place: str, seed: int) -> dict[str, Any]:
    """What the update comes to at one place: read, or else trained."""
    file = arguments.records / f"{place}-{seed}.json"
    asked = {key: getattr(arguments, key) for key in ASKED}
    if not file.is_file():
        row = {"place": place, "seed": seed, "asked": asked, **trained(arguments, place, seed)}
        write_json(file, {**row, "environment": environment()})
    told: dict[str, Any] = read_json(file)
    if told["asked"] != asked:
        raise SystemExit(f"{file} is of another training, {told['asked']}; name another --records")
    return told


def trained(arguments: argparse.Namespace, place: str, seed: int) -> dict[str, Any]:
    """Train at one place, or go on with it."""
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
    record, certificate = read_json(out / RECORD_FILE), read_json(out / CERTIFICATE_FILE)
    (whole,) = (point for point in record["rewind"]["curve"] if (point["alpha"], point["pull"]) == (1, 0))
    cost = {key: record["cost"][key] for key in ("seconds", "peak_memory_bytes")}
    return {
        "loss": record["rewind"]["loss"],
        "drift": whole["drift"],
        "certified": certificate["groups"],
        "cost": cost,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """For people; in brackets what the select split must show to be sure of a certificate."""
    lines = ["loss by seed            drift by group [sure], mean of the seeds"]
    for place in dict.fromkeys(row["place"] for row in rows):
        seeds = [row for row in rows if row["place"] == place]
        losses = " ".join(f"{row['loss']:.4f}" for row in seeds)
        lines.append(f"{losses:23} {', '.join(_drifts(seeds))}  {place}")
    return "\n".join(lines)


def _drifts(rows: list[dict[str, Any]]) -> list[str]:
    found = []
    for group in rows[0]["certified"]:
        # Of a group that was not looked at, the certify split alone tells.
        told = [GroupDrift(**row["drift"][group]) for row in rows if group in row["drift"]]
        if told:
            sure = fmean(bound(one) for one in told)
            found.append(f"{group} {fmean(one.drift for one in told):.4f} [{sure:.4f}]")
        else:
            certified = fmean(row["certified"][group]["drift"] for row in rows)
            found.append(f"{group} {certified:.4f} (certify)")
    return found


if __name__ == "__main__":
    main()
