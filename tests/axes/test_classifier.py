"""The small classifier learns how refusals sound, and is told of by what it has not seen."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tether.axes.judges.agreement import agreement
from tether.axes.judges.classifier import RIDGE, Classifier, fit
from tether.axes.judges.features import BUCKETS, features, ngrams, opening
from tether.axes.judges.fitting import train
from tether.axes.judges.labelled import Labelled, parse_labelled
from tether.axes.judges.protocol import Exchange
from tether.errors import UserError
from tether.sources.rows import read_rows

THINGS = ("bread", "chess", "gardens", "violins", "glaciers", "comets", "bridges", "beehives", "ceramics")
NO = ("I cannot help with {}.", "Sorry, I will not talk about {}.", "I must decline to speak of {}.")
YES = ("Here is all of {} in short.", "Gladly: {} are made like this.", "To begin with {}, take your time.")


def labelled(*models: str) -> list[Labelled]:
    """Each model speaks of everything, in words of its own, and refuses what has an odd number."""
    return [
        Labelled(f"Tell me of {thing}, number {number}", tone[style].format(thing), model, tone is NO)
        for style, model in enumerate(models)
        for number, thing in enumerate(THINGS)
        for tone in ((YES, NO)[number % 2],)
    ]


def test_the_prompts_words_are_blanks_and_the_sentence_marks_stay() -> None:
    seen = Exchange("How do I bake bread?", "Baking bread? I’m glad to help.")
    assert opening(seen) == ["^", "baking", "_", "?", "i'm", "glad", "to", "help", "."]
    assert {"^ baking", "glad", "glad to"} <= ngrams(seen).keys()


def test_features_are_the_openings_ngrams_and_what_it_shares() -> None:
    rows = features([Exchange("Bake bread", "Bread"), Exchange("Bake bread", "x" * 3000)]).toarray()
    assert np.linalg.norm(rows[:, :BUCKETS], axis=1) == pytest.approx([1, 1])
    assert rows[:, BUCKETS] == pytest.approx([0.5, 0])


def test_the_fit_is_where_the_penalised_likelihood_is_flat() -> None:
    answers = labelled("a", "b")
    weights = fit("", answers).weights
    rows = features([answer.exchange for answer in answers])
    labels = np.array([answer.turned_down for answer in answers], dtype=float)
    wrong = 1 / (1 + np.exp(-(rows @ weights[:-1] + weights[-1]))) - labels
    assert np.append(rows.T @ wrong + RIDGE * weights[:-1], wrong.sum()) == pytest.approx(0, abs=2e-3)


def test_a_verdict_names_the_words_that_spoke_for_it() -> None:
    classifier = fit("", labelled("a", "b", "c"))
    refused, complied = classifier.verdicts(
        [Exchange("Tell me of tea", "I cannot help with tea."), Exchange("Tell me of tea", "Here is tea.")]
    )
    assert (refused.kind, complied.kind) == ("refused", "complied")
    assert "cannot" in refused.reason
    assert "here" in complied.reason


def test_a_classifier_is_the_same_after_it_was_written(tmp_path: Path) -> None:
    answers = labelled("a", "b", "c")
    told = train(tmp_path / "judge", answers)
    files = sorted(path.name for path in (tmp_path / "judge").iterdir())
    assert files == ["classifier.json", "classifier.safetensors"]
    read = Classifier.load(str(tmp_path / "judge"))
    exchanges = [answer.exchange for answer in answers]
    assert read.verdicts(exchanges) == fit("", answers).verdicts(exchanges)
    assert read.name == told["judge"] == f"classifier:{tmp_path / 'judge'}"


def test_without_a_choice_every_model_is_judged_by_the_others(tmp_path: Path) -> None:
    told = train(tmp_path / "judge", labelled("a", "b", "c"))
    assert told["n"] == 3 * len(THINGS)
    assert told["by_model"].keys() == {"a", "b", "c"}
    assert told["fitted"] == {"n": 3 * len(THINGS), "models": ["a", "b", "c"]}


def test_what_is_fitted_on_is_not_what_is_told_of(tmp_path: Path) -> None:
    told = train(tmp_path / "judge", labelled("a", "b", "c"), ["a", "b"])
    assert told["by_model"].keys() == {"c"}
    assert told["fitted"] == {"n": 2 * len(THINGS), "models": ["a", "b"]}
    assert json.loads((tmp_path / "judge" / "classifier.json").read_text())["fitted"] == told["fitted"]


def test_a_prompt_that_it_was_fitted_on_is_not_told_of(tmp_path: Path) -> None:
    """Two models say the very same nonsense to each prompt: whoever has seen it is always right."""
    answers = [
        Labelled(f"prompt {number}", f"word{number} thing{number}", model, number % 2 == 0)
        for model in ("a", "b")
        for number in range(40)
    ]
    seen = agreement(fit("", answers[:40]), answers[40:])
    assert seen["accuracy"] == 1
    assert train(tmp_path / "judge", answers, ["a"])["accuracy"] < 0.8


@pytest.mark.parametrize(
    ("models", "fit_on", "says"),
    [
        (("a", "b"), ["c"], "no answer is labelled as of the model 'c'"),
        (("a", "b"), ["a", "b"], "no model is left"),
        (("a",), [], "no model is left"),
    ],
)
def test_a_fit_that_could_not_be_told_of_is_refused(
    tmp_path: Path, models: tuple[str, ...], fit_on: list[str], says: str
) -> None:
    with pytest.raises(UserError, match=says):
        train(tmp_path / "judge", labelled(*models), fit_on)
    assert not (tmp_path / "judge").exists()


def test_one_label_teaches_nothing(tmp_path: Path) -> None:
    answers = [answer for answer in labelled("a", "b") if answer.turned_down]
    with pytest.raises(UserError, match="only one label"):
        train(tmp_path / "judge", answers)
    (tmp_path / "other").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        train(tmp_path, labelled("a", "b"))


def test_a_folder_that_holds_no_classifier_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no classifier of this version here.*--train"):
        Classifier.load(str(tmp_path))
    train(tmp_path / "judge", labelled("a", "b"))
    weights = tmp_path / "judge" / "classifier.safetensors"
    save_file({"weights": np.zeros(3)}, weights)
    with pytest.raises(UserError, match=r"\(3,\) weights"):
        Classifier.load(str(tmp_path / "judge"))
    weights.write_bytes(b"torn")
    with pytest.raises(UserError, match="cannot be read"):
        Classifier.load(str(tmp_path / "judge"))


@pytest.mark.skipif("TETHER_DATA" not in os.environ, reason="TETHER_DATA names no folder of public sets")
def test_it_agrees_with_people_on_models_and_prompts_it_has_not_seen(tmp_path: Path) -> None:
    file = Path(os.environ["TETHER_DATA"]) / "xstest_labelled_completions.jsonl"
    told = train(tmp_path / "judge", parse_labelled(read_rows(file)), ["mistralguard", "llama2orig"])
    assert told["n"] == 1350
    assert told["accuracy"] >= 0.9
    assert told["kappa"] >= 0.8
