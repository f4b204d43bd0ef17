"""How often the 95% intervals hold the truth, on made-up data of which the truth is known.

Run as ``python benchmarks/statistics/run.py --out benchmarks/statistics/results.json``; what a killed run has
simulated stands there already and is not simulated again.

Each world is drawn many times. "bootstrap" is `tether.stats.cluster_bootstrap` as the reports use it,
"percentile" the same draws cut at 2.5% and 97.5%, as it was before; "wilson" is of a share without clusters,
"certificate" the upper end alone, as `drift.json` tells it (nominally 97.5%).
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.special import ndtr

from tether.anchors.drift import summarise
from tether.environment import environment, now
from tether.stats import cluster_bootstrap, wilson

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

STUDIES, DRAWS, SEED = 1000, 1000, 0
# What items of one cluster have in common: a correlation of 0.1, above what our dialogues show (none).
WITHIN = 0.1
CLUSTERS = {
    "30": np.ones(30, int),
    "300": np.ones(300, int),
    "38 of 8": np.full(38, 8),
    "56 of 9 to 17": np.random.default_rng(1).integers(9, 18, 56),
    "30 of 1 to 24": np.random.default_rng(2).integers(1, 25, 30),
    "520": np.ones(520, int),
}


@dataclass(frozen=True)
class World:
    """Something to be measured, whose mean is known.

    Attributes:
        draw: One study's values, given each item's cluster and a generator.
        truth: Their true mean.
        yes_or_no: Whether the values are 0 or 1.
    """

    draw: Callable[[NDArray[np.int_], np.random.Generator], NDArray[np.float64]]
    truth: float
    yes_or_no: bool = False


def shares(rate: float, of: NDArray[np.int_], generator: np.random.Generator) -> NDArray[np.float64]:
    """Right or wrong; each cluster has a rate of its own, drawn from a beta."""
    pull = 1 / WITHIN - 1
    rates = generator.beta(rate * pull, (1 - rate) * pull, of[-1] + 1)
    return (generator.random(len(of)) < rates[of]).astype(float)


def skewed(of: NDArray[np.int_], generator: np.random.Generator) -> NDArray[np.float64]:
    """Exponential, partly the cluster's own; mean 1."""
    share = np.sqrt(WITHIN)
    return share * generator.exponential(size=of[-1] + 1)[of] + (1 - share) * generator.exponential(
        size=len(of)
    )


def turned(
    lost: float, gained: float, of: NDArray[np.int_], generator: np.random.Generator
) -> NDArray[np.float64]:
    """Paired yes or no: minus one where lost, one where gained."""
    own, shared = generator.normal(size=len(of)), generator.normal(size=of[-1] + 1)[of]
    place = ndtr(np.sqrt(1 - WITHIN) * own + np.sqrt(WITHIN) * shared)
    return (place > 1 - gained).astype(float) - (place < lost)


WORLDS = {
    "share 0.05": World(partial(shares, 0.05), 0.05, yes_or_no=True),
    "share 0.5": World(partial(shares, 0.5), 0.5, yes_or_no=True),
    "share 0.95": World(partial(shares, 0.95), 0.95, yes_or_no=True),
    "exponential": World(skewed, 1.0),
    "paired, 10% lost, 10% gained": World(partial(turned, 0.1, 0.1), 0.0),
    "paired, 20% lost, 5% gained": World(partial(turned, 0.2, 0.05), -0.15),
}


def coverage(
    world: World, sizes: NDArray[np.int_], studies: int = STUDIES, draws: int = DRAWS
) -> dict[str, float]:
    """The share of studies in which each kind of interval holds the truth."""
    generator = np.random.default_rng(SEED)
    of = np.repeat(np.arange(len(sizes)), sizes)
    weights = resamples(len(sizes), draws)
    held: dict[str, int] = {}
    for study in range(studies):
        values = world.draw(of, generator)
        found = intervals(values, of, draws, study)
        found["percentile"] = found["bootstrap"]
        if values.min() < values.max():
            found["percentile"] = percentile(values, of, weights)
        if world.yes_or_no and len(sizes) == len(of):
            found["wilson"] = wilson(float(values.sum()), len(of))
        for name, (low, high) in found.items():
            held[name] = held.get(name, 0) + bool(low <= world.truth <= high)
    return {name: count / studies for name, count in held.items()}


def intervals(
    values: NDArray[np.float64], of: NDArray[np.int_], draws: int, seed: int
) -> dict[str, tuple[float, float]]:
    """The bootstrap's interval; where all items agree, Wilson's over clusters, as the reports have it."""
    n = len(set(of))
    if values.min() < values.max():
        drawn = cluster_bootstrap(values, of.tolist(), draws=draws, seed=seed).ci
        assert drawn is not None
        return {"bootstrap": drawn}
    return {"bootstrap": wilson(values[0] * n, n) if values[0] else (-wilson(0, n)[1], wilson(0, n)[1])}


def resamples(clusters: int, draws: int) -> NDArray[np.float64]:
    """How often each cluster is taken in each draw, shape (draws, clusters)."""
    even = np.full(clusters, 1 / clusters)
    return np.random.default_rng(SEED).multinomial(clusters, even, size=draws).astype(float)


def percentile(
    values: NDArray[np.float64], of: NDArray[np.int_], weights: NDArray[np.float64]
) -> tuple[float, float]:
    """The plain percentile interval of whole clusters drawn."""
    means = (weights @ np.bincount(of, weights=values)) / (weights @ np.bincount(of))
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def certified(shape: float, prompts: int, studies: int = STUDIES, draws: int = DRAWS) -> dict[str, float]:
    """The share of certificates whose upper bound holds the true drift; gamma by prompt and by token."""
    generator = np.random.default_rng(SEED)
    weights = resamples(prompts, draws)
    held = {"percentile": 0, "certificate": 0}
    for study in range(studies):
        lengths = generator.integers(8, 49, prompts)
        of = np.repeat(np.arange(prompts), lengths)
        tokens = generator.gamma(shape, 1 / shape, prompts)[of] * generator.exponential(size=len(of))
        drifts = [torch.from_numpy(part) for part in np.split(tokens, np.cumsum(lengths)[:-1])]
        held["certificate"] += bool(summarise(drifts, seed=study).upper95 >= 1)
        held["percentile"] += bool(percentile(tokens, of, weights)[1] >= 1)
    return {name: count / studies for name, count in held.items()}


def main() -> None:
    """Simulate what is missing, and write each world down as it is done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    out: Path = parser.parse_args().out
    jobs = {
        f"{name}; {clusters}": partial(coverage, world, sizes)
        for clusters, sizes in CLUSTERS.items()
        for name, world in WORLDS.items()
    }
    jobs |= {
        f"drift, gamma of shape {shape} by prompt; {prompts}": partial(certified, shape, prompts)
        for shape in (0.5, 1.0, 4.0)
        for prompts in (30, 112)
    }
    told = json.loads(out.read_text(encoding="utf-8")) if out.is_file() else {"coverage": {}}
    for name, job in jobs.items():
        if name not in told["coverage"]:
            told["coverage"][name] = job()
            print(name, told["coverage"][name], flush=True)
            about = {"studies": STUDIES, "draws": DRAWS, "seed": SEED, "correlation_within": WITHIN}
            told = {**about, "date": now(), "environment": environment(), "coverage": told["coverage"]}
            out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
