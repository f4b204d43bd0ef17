from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tether.config import Study
from tether.errors import UserError
from tether.settings import parse_budget, parse_settings, split_settings
from tether.studyfile import load_study

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLE = """\
base: smollm2-135m-aligned
data: builtin:hotels            # or a file
methods:
  lora: {learning_rate: [1e-4, 2e-4, 5e-4], rank: 16}
  full:
  tether: {budget: {general: 0.02, safety: 0.005}, base: other, max_steps: 7}
  gentle: {method: lora, learning_rate: 1e-5}
seeds: [0, 1, 2]
axes:
  proficiency: builtin:hotels
  safety: [builtin:safety, advbench, xstest]
  knowledge: [builtin:knowledge, dolly, arc_easy]
limits: {dolly: 300}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "study.yaml"
    path.write_text(text)
    return path


def refused(folder: Path, text: str) -> str:
    with pytest.raises(UserError) as caught:
        load_study(written(folder, text))
    return str(caught.value)


def test_the_documented_study_is_read(tmp_path: Path) -> None:
    study = load_study(written(tmp_path, EXAMPLE))
    assert study.axes.proficiency == ["builtin:hotels"]
    assert study.limits == {"dolly": 300}
    lora, full, tether = study.plan("lora"), study.plan("full"), study.plan("tether")
    assert (lora.learning_rates, lora.options, lora.base) == (
        (1e-4, 2e-4, 5e-4),
        {"rank": 16},
        "smollm2-135m-aligned",
    )
    assert (full.learning_rates, full.training.max_steps) == ((), 300)
    assert tether.options == {"budget": {"general": 0.02, "safety": 0.005}}
    assert (tether.base, tether.training.max_steps) == ("other", 7)
    assert (study.plan("gentle").method, study.plan("gentle").learning_rates) == ("lora", (1e-5,))


def test_a_named_data_set_is_tested_on_its_own_test_part(tmp_path: Path) -> None:
    study = load_study(written(tmp_path, "base: b\ndata: sgd_hotels\nmethods: {lora: }\n"))
    assert study.axes.proficiency == ["sgd_hotels"]
    assert study.axes.safety == ["builtin:safety"]
    assert (
        load_study(written(tmp_path, "base: b\ndata: own.jsonl\nmethods: {lora: }\n")).axes.proficiency == []
    )
    pairs = "base: b\ndata: builtin:hotels-preferences\nmethods: {dpo: }\n"
    assert load_study(written(tmp_path, pairs)).axes.proficiency == ["builtin:hotels"]


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("seeds:", "seed:", 8, "did you mean 'seeds'"),
        ("  safety: [", "  safty: [", 11, "did you mean 'safety'"),
        ("limits: {dolly: 300}", "limits: {doly: 300}", 13, "did you mean 'dolly'"),
        ("limits: {dolly: 300}", "limits: {dolly: 0}", 13, "limits.dolly"),
        ("limits: {dolly: 300}", "training: {max_step: 3}", 13, "did you mean 'max_steps'"),
        ("limits: {dolly: 300}", "base: again", 13, "twice, first in line 1"),
        ("max_steps: 7", "max_steps: seven", 6, "max_steps"),
        ("max_steps: 7", "max_steps: 7, epochs: 2", 6, "keep one of them"),
        ("safety: 0.005", "safety: none", 6, "nats per token"),
        ("safety: 0.005", "safty: 0.005", 6, "no anchors are called 'safty'; did you mean 'safety'"),
        ("budget: {", "training_budget: {hotels: 1, ", 6, "no anchors are called 'hotels'"),
        ("learning_rate: 1e-5", "learning_rate: fast", 7, "learning_rate"),
        ("seeds: [0, 1, 2]", "seeds: []", 8, "seeds"),
        ("seeds: [0, 1, 2]", "seeds: [0, 1, 2", 9, "not YAML"),
        ("base: smollm2-135m-aligned\n", "", 1, "'base' is missing"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, old: str, new: str, line: int, says: str) -> None:
    assert old in EXAMPLE
    message = refused(tmp_path, EXAMPLE.replace(old, new, 1))
    assert f"study.yaml:{line}: " in message
    assert says in message


def test_a_study_that_is_no_mapping_or_missing_is_refused(tmp_path: Path) -> None:
    assert "a study is a mapping" in refused(tmp_path, "- lora\n")
    assert "a study is a mapping" in refused(tmp_path, "")
    with pytest.raises(UserError, match="no such file"):
        load_study(tmp_path / "none.yaml")


def test_what_is_said_last_ends_training() -> None:
    methods = {"lora": {"epochs": 1}, "full": {"max_steps": 9}, "tether": {}}
    study = {"base": "b", "data": "d", "methods": methods}
    steps = Study.model_validate({**study, "training": {"max_steps": 50}})
    assert [steps.plan(name).training.epochs for name in methods] == [1, None, None]
    assert [steps.plan(name).training.max_steps for name in ("full", "tether")] == [9, 50]
    epochs = Study.model_validate({**study, "training": {"epochs": 2}})
    assert [epochs.plan(name).training.epochs for name in methods] == [1, None, 2]
    with pytest.raises(UserError, match="keep one of them"):
        split_settings({"max_steps": 3, "epochs": 1})


def test_settings_are_sorted_into_training_seed_and_options() -> None:
    settings = parse_settings(["rank=16", "learning_rate=1e-4", "seed=3", "name=a=b", "wide=true"])
    training, seed, options = split_settings(settings)
    assert (training.learning_rate, seed) == (1e-4, 3)
    assert options == {"rank": 16, "name": "a=b", "wide": True}


@pytest.mark.parametrize("pairs", [["rank"], ["=3"], ["a=1", "a=2"], ["a=[1"]])
def test_settings_that_are_none_are_refused(pairs: list[str]) -> None:
    with pytest.raises(UserError, match="--set"):
        parse_settings(pairs)


@pytest.mark.parametrize("settings", [{"seed": -1}, {"max_steps": "many"}, {"parametrisation": "half"}])
def test_bad_values_of_known_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(UserError, match="--set"):
        split_settings(settings)


@given(st.floats(min_value=1e-9, max_value=10), st.floats(min_value=1e-9, max_value=10))
def test_budgets_are_read_back(general: float, safety: float) -> None:
    assert parse_budget(repr(general)) == general
    assert parse_budget(f"general={general!r}, safety={safety!r}") == {"general": general, "safety": safety}


@pytest.mark.parametrize("text", ["much", "-0.1", "0", "general=", "general=0.1,general=1", "=0.1", "nan"])
def test_budgets_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="--budget"):
        parse_budget(text)
