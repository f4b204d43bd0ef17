"""A study as `tether compare` would leave it, made up from seeded random numbers."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tether.chatdata.leaks import Leak
from tether.results import (
    BeforeAfter,
    GroupDrift,
    Item,
    MethodResult,
    Records,
    SeedResult,
    StudyResults,
    SweepPoint,
    Train,
    aggregate,
    breakdown,
    compare_methods,
    read_results,
    summarise_method,
    summarise_secondary,
    write_items,
    write_results,
)

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = "</pre><script>alert('said by a model')</script><img src=http://evil.example/x.png>"
BASE, HOSTED = "smollm2-135m-aligned", "gpt-hosted"
SEEDS = ("0", "1", "2")
# Chance of a right step, of refusing, of answering the harmless, of a right choice; bits/byte gained; drift.
BEFORE = (0.12, 0.90, 0.93, 0.46, 0.2150, 0.0)
AFTER = {
    "lora": (0.71, 0.62, 0.90, 0.41, 0.2080, 0.210),
    "lora-mlp": (0.69, 0.70, 0.91, 0.43, 0.2095, 0.150),
    "replay-self": (0.68, 0.84, 0.92, 0.44, 0.2120, 0.060),
    "kl-fixed": (0.61, 0.87, 0.92, 0.45, 0.2135, 0.024),
    "tether": (0.70, 0.89, 0.93, 0.46, 0.2145, 0.015),
    "openai": (0.74, 0.80, 0.93, None, None, None),
}
COLUMNS = tuple[float | None, ...]


def _items(rates: COLUMNS, seed: int) -> dict[str, list[Item]]:
    """Items whose luck is partly the item's own, so that models agree on much."""
    skill, refusal, compliance, choice, gain, _ = rates
    own = np.random.default_rng(0)  # the same for every model
    luck = np.random.default_rng(seed)

    def right(rate: float) -> float:
        steady, lucky, chance = own.random(), luck.random(), luck.random()
        return float((steady if chance < 0.85 else lucky) < rate)

    def item(
        axis: str, group: str, number: int, score: float, text: str, said: str, cluster: str, **more: Any
    ) -> Item:
        return Item(
            id=f"{group}{number}", axis=axis, source=f"fake-{axis}", cluster=cluster, input=text, output=said,
            score=score, reason="as asked" if score else "not as asked", group=group, **more,
        )  # fmt: skip

    made: dict[str, list[Item]] = {"proficiency": [], "safety": [], "knowledge": []}
    for n in range(240):
        score = right(skill or 0)
        said = (
            '<tool_call>{"name": "search_hotels", "arguments": {"city": "Lyon"}}</tool_call>'
            if score
            else "Sure!"
        )
        text = f"Guest {n // 8}, turn {n % 8}: a double room in Lyon, please"
        made["proficiency"].append(item("proficiency", "", n, score, text, said, f"dialogue-{n // 8}"))
    for group, rate, count in (("harmful", refusal, 80), ("harmless", compliance, 60)):
        for n in range(count):
            score = right(rate or 0)
            refused = (group == "harmful") == bool(score)
            said = "I can't help with that." if refused else f"Certainly. {HOSTILE} {seed}"
            made["safety"].append(
                item("safety", group, n, score, f"{group} request {n}", said, f"{group}{n}")
            )
    for n in range(200 if choice is not None else 0):
        score = right(choice or 0)
        made["knowledge"].append(
            item(
                "knowledge",
                "choice",
                n,
                score,
                f"Question {n}? {HOSTILE}",
                f"option {score}",
                f"c{n}",
                category="arts" if n % 2 else "science",
            )
        )
    for n in range(120 if gain is not None else 0):
        score = (gain or 0) + 0.1 * (own.random() - 0.5) + 0.004 * luck.normal()
        said = f"Paris is the capital. {seed}"
        measures = {"bits_per_byte": 1 - score, "token_f1": score, "rouge_l": score / 2}
        made["knowledge"].append(
            item(
                "knowledge", "open", n, score, f"Tell me {n}", said, f"o{n}", metrics=measures, passage=n < 40
            )
        )
    return {axis: items for axis, items in made.items() if items}


def _drift(rate: float, seed: int) -> tuple[list[Item], dict[str, GroupDrift]]:
    luck = np.random.default_rng(seed)
    items, groups = [], {}
    for group, share, budget in (("general", 1.0, 0.02), ("safety", 0.3, 0.005)):
        values = rate * share * luck.gamma(4, 0.25, 60)
        items += [
            Item(id=f"{group}{n}", axis="drift", source="anchors", cluster=f"{group}{n}", input="q",
                 output="a", score=float(value), reason="", group=group)
            for n, value in enumerate(values)
        ]  # fmt: skip
        mean = float(values.mean())
        groups[group] = GroupDrift(
            drift=mean,
            upper95=1.1 * mean,
            prompt_p95=2 * mean,
            first5=3 * mean,
            budget=None if rate > 0.1 else budget,
            tokens=6000,
            prompts=60,
        )
    return items, groups


def _seed(
    run: Path, name: str, seed: str, before: dict[str, list[Item]], base: str
) -> tuple[SeedResult, dict[str, list[Item]]]:
    rates = AFTER[name]
    number = 100 * (1 + list(AFTER).index(name)) + int(seed)
    after = _items(rates, number)
    drift: dict[str, GroupDrift] = {}
    folder = f"methods/{name}/seed-{seed}/items"
    axes = {
        axis: BeforeAfter(
            before=aggregate(before[axis], path=f"{base}/items/{axis}.jsonl"),
            after=aggregate(items, path=f"{folder}/{axis}.jsonl"),
        )
        for axis, items in after.items()
    }
    if rates[5] is not None:
        after["drift"], drift = _drift(rates[5], number)
    for axis, items in after.items():
        write_items(run / folder / f"{axis}.jsonl", items)
    train = Train(
        seconds=1800 + number,
        tokens_per_second=2100.0,
        peak_memory_bytes=3 * 2**30,
        trainable_parameters=4_884_480,
    )
    return SeedResult(axes=axes, drift=drift, train=train if rates[5] is not None else None), after


def _leak(kind: str, number: int) -> dict[str, str]:
    return asdict(Leak(kind, "safety:own", "the training dialogues", f"p{number}", "talk", f"Lock {number}?"))  # type: ignore[arg-type]


def _before(run: Path) -> dict[str, tuple[str, dict[str, list[Item]]]]:
    bases = {
        BASE: ("base", _items(BEFORE, 1)),
        HOSTED: ("bases/hosted", _items((0.2, 0.95, 0.95, None, None, None), 2)),
    }
    for folder, before in bases.values():
        for axis, items in before.items():
            write_items(run / folder / "items" / f"{axis}.jsonl", items)
    return bases


def make_study(run: Path) -> StudyResults:
    """Write a run folder with six methods, one of them hosted, single-seeded and without knowledge."""
    bases = _before(run)
    methods, records = {}, {}
    for name in AFTER:
        hosted = name == "openai"
        base = HOSTED if hosted else BASE
        folder, before = bases[base]
        seeds = {seed: _seed(run, name, seed, before, folder) for seed in (SEEDS[:1] if hosted else SEEDS)}
        records[name] = Records(base, before, {seed: items for seed, (_, items) in seeds.items()})
        methods[name] = MethodResult(
            base=base,
            seeds={seed: result for seed, (result, _) in seeds.items()},
            summary=summarise_method(records[name]),
            secondary=summarise_secondary(records[name]),
            knowledge=breakdown(records[name]),
        )
    rates = (1e-4, 2e-4, 5e-4)
    results = StudyResults(
        study={"base": BASE, "data": "builtin:hotels", "methods": {n: {} for n in AFTER}, "seeds": [0, 1, 2]},
        environment={"torch": "2.13.0", "machine": {"processor": "2 cores", "accelerator": None}},
        provenance={
            "data": {"builtin:hotels": "sha256:00ff"},
            "leaks": {
                "exact": "drop",
                "found": [_leak("exact", 0), *(_leak("near", n) for n in range(1, 25))],
            },
            "seeds": [0, 1, 2],
            "started": "2026-01-02",
        },
        methods=methods,
        comparisons=compare_methods(records, reference="tether"),
        sweeps={
            "lora": [
                SweepPoint(learning_rate=rate, select_loss=loss, chosen=rate == 2e-4)
                for rate, loss in zip(rates, (0.61, 0.52, None), strict=True)
            ]
        },
    )  # fmt: skip
    write_results(run / "results.json", results)
    return results


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished study with its report."""
    from tether.report import write_report

    folder = tmp_path_factory.mktemp("study") / "run"
    make_study(folder)
    write_report(folder)
    return folder


@pytest.fixture(scope="session")
def hostile() -> str:
    """What one model answered to the harmful requests it complied with."""
    return HOSTILE


@pytest.fixture(scope="session")
def results(run: Path) -> StudyResults:
    return read_results(run / "results.json")
