"""The studies that tether ships say what they can say."""

from __future__ import annotations

from pathlib import Path

import pytest

from tether.studyfile import load_study

STUDIES = sorted((Path(__file__).parent.parent / "studies").glob("*.yaml"))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_shipped_study_is_read(path: Path) -> None:
    study = load_study(path)
    for name in study.methods:
        assert study.plan(name).training.batch_tokens > 0


def test_the_demo_is_small_and_needs_nothing_from_outside() -> None:
    study = load_study(STUDIES[0].with_name("demo.yaml"))
    sources = [study.data, *study.axes.proficiency, *study.axes.safety, *study.axes.knowledge]
    assert all(source.startswith("builtin:") for source in sources)
    assert study.training.max_steps == 40
    assert len(study.seeds) == 1


def test_the_first_study_tries_several_rates_and_three_seeds() -> None:
    study = load_study(STUDIES[0].with_name("first-study.yaml"))
    assert all(len(study.plan(rival).learning_rates) >= 3 for rival in ("lora", "full"))
    assert len(study.seeds) == 3
    assert study.limits == {"dolly": 300, "arc_easy": 500}


def test_the_four_columns_of_2023_stand_side_by_side() -> None:
    study = load_study(STUDIES[0].with_name("tenyx-2023.yaml"))
    assert list(study.methods) == ["openai", "together", "lora", "tether"]
    assert study.plan("openai").base != study.plan("lora").base == study.plan("tether").base


def test_under_pressure_both_methods_are_poisoned_alike() -> None:
    study = load_study(STUDIES[0].with_name("pressure.yaml"))
    plans = [study.plan(name) for name in study.methods]
    for method in ("lora", "tether"):
        assert [p.training.poison_ratio for p in plans if p.method == method] == [0, 0.01, 0.05]


def test_what_safety_in_the_domains_place_buys_is_asked_clean_and_poisoned() -> None:
    study = load_study(STUDIES[0].with_name("domain-safety.yaml"))
    plans = [study.plan(name) for name in study.methods]
    asked = [(p.training.poison_ratio, p.options.get("domain_safety")) for p in plans if p.method == "tether"]
    assert asked == [(0, None), (0, True), (0.05, None), (0.05, True)]
