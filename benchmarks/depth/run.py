"""Would a rewind that pulls harder at some depth than at another take less skill for as much drift?

Run as ``python benchmarks/depth/run.py --work runs/depth --out benchmarks/depth/results.json``. A plain
LoRA is trained, and looked at under one pull for all blocks, twice, half and four times as strong, and with
a third of the blocks, the first, the middle or the last, pulled at four times or a quarter of what the
others are. What a third's drift costs is the loss that goes with one unit of log drift: where all thirds
have one price, one pull for all is the best. Each place that was looked at stays in ``--work`` and is not
looked at again.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tether import bases, stages
from tether.config import Training
from tether.environment import environment
from tether.files import read_json, write_json
from tether.methods.run import Run
from tether.sources import load_training
from tether.training.measured import measure
from tether.training.rewind import DialogueLoss
from tether.training.update import AdapterUpdate, block_of

if TYPE_CHECKING:
    import torch

THIRDS = ("first", "middle", "last")
TIMES = 4.0

Pulls = tuple[float, float, float]


def main() -> None:
    """Look at what was not looked at yet, print the table, and write everything down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", default="smollm2-135m-aligned")
    parser.add_argument("--data", default="sgd_hotels")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--rank", type=int, default=64)
    parser.add_argument("--pull", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    found = looked_at(arguments, places(arguments.pull))
    asked = {key: value for key, value in vars(arguments).items() if key not in ("work", "out")}
    write_json(arguments.out, {"asked": asked, "environment": environment(), "places": found})
    print(table(found))


def places(pull: float) -> list[Pulls]:
    """By third, the pulls to look at."""
    even: list[Pulls] = [(by, by, by) for by in (pull, pull / 2, pull * 2, pull * TIMES)]
    apart = [
        tuple(by if place == third else pull for place in range(3))
        for third in range(3)
        for by in (pull / TIMES, pull * TIMES)
    ]
    return [*even, *apart]  # type: ignore[list-item]


def looked_at(arguments: argparse.Namespace, wanted: list[Pulls]) -> list[dict[str, Any]]:
    """Loss and drift at every place: read, or else measured."""
    files = {pulls: arguments.work / f"{'-'.join(map(str, pulls))}.json" for pulls in wanted}
    missing = [pulls for pulls, file in files.items() if not file.is_file()]
    if missing:
        adapter = arguments.work / "lora"
        settings = {"max_steps": arguments.steps, "learning_rate": arguments.learning_rate}
        of_lora = {"rank": arguments.rank, "alpha": arguments.rank, "seed": arguments.seed}
        stages.tune(arguments.base, arguments.data, "lora", adapter, None, None, {**settings, **of_lora})
        look(arguments, adapter, missing, files)
    return [read_json(file) for file in files.values()]


def look(arguments: argparse.Namespace, adapter: Path, wanted: list[Pulls], files: dict[Pulls, Path]) -> None:
    """Measure the adapter at these places."""
    train, select = load_training(arguments.data, Training())
    run = Run(bases.resolve(arguments.base), train, select, arguments.work, Training(), data=arguments.data)
    model = run.load("lora")
    reference = run.reference("select")
    geometry = measure(model, run.texts(), run.anchors, arguments.work / "measured").geometry()
    tuned = bases.put_lora(model, adapter)
    bases.to_bfloat16(tuned, held=bases.precision())
    update, loss = AdapterUpdate(tuned), DialogueLoss(run.renderer, run.select)
    blocks = {name: block_of(name) or 0 for name in geometry.domain}
    thirds = {name: 3 * block // (1 + max(blocks.values())) for name, block in blocks.items()}
    for pulls in wanted:

        def shape(name: str, rows: torch.Tensor, pulls: Pulls = pulls) -> torch.Tensor:
            return geometry.held(name, rows, pulls[thirds[name]])

        with update.scaled(1.0, shape):
            drift = {group: reference.drift(tuned, group, "select").drift for group in run.anchors.groups}
            write_json(files[pulls], {"pulls": pulls, "loss": loss(run.live(tuned)), "drift": drift})


def table(found: list[dict[str, Any]]) -> str:
    """For people: every place, and what the drift of each third costs there."""
    lines = ["pulls of the thirds   loss    drift by group"]
    for one in found:
        drift = ", ".join(f"{group} {value:.4f}" for group, value in one["drift"].items())
        lines.append(f"{', '.join(f'{pull:g}' for pull in one['pulls']):20}  {one['loss']:.4f}  {drift}")
    lines.append("loss for one unit less of log drift, mean of the groups")
    for third, price in prices(found).items():
        lines.append(f"  {third:6}  {price:.4f}")
    return "\n".join(lines)


def prices(found: list[dict[str, Any]]) -> dict[str, float]:
    """Of all blocks and each third, between the weakest and the strongest pull that was looked at."""
    centre = found[0]["pulls"][0]
    spans = {"all": [one for one in found if len(set(one["pulls"])) == 1]}
    for place, third in enumerate(THIRDS):
        spans[third] = [one for one in found if one["pulls"][place] != centre and one not in spans["all"]]
    return {name: price(min(span, key=log_drift), max(span, key=log_drift)) for name, span in spans.items()}


def price(less: dict[str, Any], more: dict[str, Any]) -> float:
    """Loss over log drift between two places."""
    return float((less["loss"] - more["loss"]) / (log_drift(more) - log_drift(less)))


def log_drift(one: dict[str, Any]) -> float:
    """Mean of the groups."""
    return sum(map(math.log, one["drift"].values())) / len(one["drift"])


if __name__ == "__main__":
    main()
