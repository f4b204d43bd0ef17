from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch

from tether import bases
from tether.agent.preferences import preferences
from tether.chatdata.chats import split_select
from tether.methods import find
from tether.methods.run import Run
from tether.training.preference import Objective, PreferenceLoss, as_pair, collate_pairs, pair_size
from tether.training.update import linear_layers

if TYPE_CHECKING:
    from pathlib import Path

    from tether.bases import Base
    from tether.chatdata.chats import Chat
    from tether.chatdata.preferences import Preference
    from tether.config import Training
    from tether.inference import LocalModel


@pytest.fixture(scope="module")
def pairs(hotels: list[Chat]) -> list[Preference]:
    return preferences(hotels)


def test_a_row_is_the_prompt_and_both_turns_as_the_model_reads_them(
    live: LocalModel, pairs: list[Preference]
) -> None:
    for pair in pairs[:6]:
        row = as_pair(live.renderer, pair, most=10_000)
        assert row["prompt_ids"] == live.renderer.prompt_ids(pair.messages[:-1], pair.tools)
        for key, side in (("chosen_ids", pair), ("rejected_ids", pair.worse)):
            whole = live.renderer.encode(side).input_ids
            assert [*row["prompt_ids"], *row[key]] == whole[: len(row["prompt_ids"]) + len(row[key])]
            assert row[key][-1] == live.tokenizer.eos_token_id, "the end of the turn is learned too"


def test_a_row_is_cut_to_the_longest_allowed(live: LocalModel, pairs: list[Preference]) -> None:
    whole = as_pair(live.renderer, pairs[0], most=10_000)
    most = len(whole["prompt_ids"]) + 2
    row = as_pair(live.renderer, pairs[0], most)
    assert (row["chosen_ids"], row["rejected_ids"]) == (whole["chosen_ids"][:2], whole["rejected_ids"][:2])
    assert as_pair(live.renderer, pairs[0], most=1)["chosen_ids"] == []


def test_a_batch_counts_its_tokens() -> None:
    row = {"prompt_ids": [1, 2, 3], "chosen_ids": [4, 5], "rejected_ids": [6]}
    batch = collate_pairs([row], pad_id=0)
    assert batch["input_ids"].tolist() == [[1, 2, 3, 4, 5], [1, 2, 3, 6, 0]]
    assert (int(batch["tokens"]), pair_size(row)) == (9, 10)


def test_the_loss_is_log_2_at_the_reference_and_a_sigmoid_of_the_margin(
    live: LocalModel, pairs: list[Preference]
) -> None:
    pair = pairs[0]
    swapped = replace(pair, messages=pair.worse.messages, rejected=pair.messages[-1])
    loss, mirrored = (PreferenceLoss(live, [one], Objective(beta=0.1)) for one in (pair, swapped))
    assert loss(live) == pytest.approx(math.log(2))
    with torch.no_grad():
        for weight in live.model.parameters():
            weight.mul_(1.02)
    assert loss(live) != pytest.approx(math.log(2), abs=1e-4)
    assert math.exp(-loss(live)) + math.exp(-mirrored(live)) == pytest.approx(1)


@pytest.mark.usefixtures("anchors")
@pytest.mark.parametrize("name", ["dpo", "tether-dpo"])
def test_all_weights_learn_to_prefer_too(
    name: str, base: Base, pairs: list[Preference], quick: Training, tmp_path: Path
) -> None:
    settings = quick.model_copy(update={"parametrisation": "full", "max_steps": 2})
    run = Run(base, *split_select(pairs), tmp_path / "run", settings)
    find(name)(run, {"learning_rate": 1e-3})
    assert list(run.out.glob("*.safetensors"))


@pytest.mark.usefixtures("anchors")
def test_an_a_that_is_laid_stays_through_the_references_passes(
    base: Base, pairs: list[Preference], quick: Training, tmp_path: Path
) -> None:
    """They switch the adapter off and on, after which PEFT would train all of it."""
    run = Run(base, *split_select(pairs), tmp_path / "run", quick)
    tuned = find("tether-dpo")(run, {"rank": 4})
    layers = [layer for name, layer in linear_layers(bases.load_model(base)).items() if name != "lm_head"]
    assert tuned.cost.trainable_parameters == 4 * sum(layer.out_features for layer in layers)


@pytest.mark.usefixtures("anchors")
@pytest.mark.parametrize("sft", [0.0, 1.0])
def test_dpo_prefers_what_it_was_taught_to(
    base: Base, live: LocalModel, pairs: list[Preference], quick: Training, tmp_path: Path, sft: float
) -> None:
    """A few pairs, for a model this small learns what it is shown and nothing beyond."""
    taught = pairs[:4]
    loss = PreferenceLoss(live, taught, Objective(beta=0.1))
    settings = quick.model_copy(update={"max_steps": 60, "save_steps": 100})
    run = Run(base, taught, taught, tmp_path / "run", settings)
    find("dpo")(run, {"learning_rate": 5e-3, "sft": sft})
    tuned = run.live(bases.load_tuned(base, run.out))
    assert loss(tuned) < 0.8 * math.log(2)
    both = PreferenceLoss(live, taught, Objective(beta=0.1, sft=1.0))
    told = {model: both(model) - loss(model) for model in (live, tuned)}
    assert (told[tuned] < 0.9 * told[live]) == bool(sft), "the good turns themselves are learned where asked"
