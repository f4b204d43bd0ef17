"""tether on top of a TRL script: the budget binds where plain TRL breaks it, and the task is learned."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from tether import TetherDPOTrainer, TetherSFTTrainer, bases
from tether.anchors import store
from tether.anchors.anchors import load_anchors
from tether.anchors.build import AnchorSettings
from tether.anchors.drift import GroupDrift, summarise
from tether.anchors.reference import Reference
from tether.errors import UserError

if TYPE_CHECKING:
    from tether.anchors.anchors import AnchorSet
    from tether.bases import Base
    from tether.chatdata.chats import Chat

BUDGET = 0.05
LORA = LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM")
SETTINGS: dict[str, Any] = {
    "max_steps": 24,
    "per_device_train_batch_size": 8,
    "max_length": 128,
    "save_strategy": "no",
    "use_cpu": not torch.cuda.is_available(),
    "disable_tqdm": True,
    "report_to": "none",
}


@dataclass(frozen=True)
class Way:
    """One of TRL's trainers, ours on top of it, and what both are given."""

    plain: Any
    held: Any
    config: Any
    rate: float
    adapter: LoraConfig | None

    def given(self, rows: dict[str, Dataset], out: Path, **settings: Any) -> dict[str, Any]:
        args = self.config(str(out), learning_rate=self.rate, **{**SETTINGS, **settings})
        parts = rows["DPO" if self.config is DPOConfig else "SFT"].train_test_split(8, seed=0)
        data = {"train_dataset": parts["train"], "eval_dataset": parts["test"]}
        return {"args": args, "peft_config": self.adapter, **data}


WAYS = {
    "SFT of a LoRA": Way(SFTTrainer, TetherSFTTrainer, SFTConfig, 1e-2, LORA),
    "SFT of all weights": Way(SFTTrainer, TetherSFTTrainer, SFTConfig, 3e-3, None),
    "DPO of a LoRA": Way(DPOTrainer, TetherDPOTrainer, DPOConfig, 1e-2, LORA),
}


@pytest.fixture(scope="module")
def rows(hotels: list[Chat]) -> dict[str, Dataset]:
    """Dialogues, and answers that begin with a promise preferred to those that repeat what was said."""
    spoken = [
        [
            {"role": message["role"], "content": str(message["content"])}
            for message in chat.messages
            if message["role"] in ("user", "assistant")
        ]
        for chat in hotels
    ]
    asked = [turns[0]["content"] for turns in spoken]
    pairs = [
        {
            "prompt": [{"role": "user", "content": text}],
            "chosen": [{"role": "assistant", "content": f"I am happy to book that: {text}"}],
            "rejected": [{"role": "assistant", "content": text}],
        }
        for text in asked
    ]
    return {
        "SFT": Dataset.from_list([{"messages": turns} for turns in spoken]),
        "DPO": Dataset.from_list(pairs),
    }


@pytest.fixture(scope="module")
def own(base: Base, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of anchors, enough of them for an interval to mean something."""
    out = tmp_path_factory.mktemp("own") / "anchors"
    many, few = {"train": 16, "select": 64, "certify": 64}, {"train": 16, "select": 32, "certify": 32}
    store.build(base, out, AnchorSettings(general=many, safety=many, lookalikes=few, answer_tokens=8))
    return out


@dataclass(frozen=True)
class Outcome:
    """What became of the same data with TRL's trainer and with ours."""

    held: Any
    folder: Path
    unconstrained: dict[str, GroupDrift]
    loss_before: float
    loss_unconstrained: float


@pytest.fixture(scope="module", params=WAYS)
def outcome(
    request: pytest.FixtureRequest,
    base: Base,
    rows: dict[str, Dataset],
    own: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Outcome:
    way, out = WAYS[request.param], tmp_path_factory.mktemp("out")
    plain = way.plain(base.location, **way.given(rows, out))
    reference = Reference(load_anchors(own)).ask(plain.model.eval(), ["certify"])
    before = plain.evaluate()["eval_loss"]
    plain.train()
    loss = plain.evaluate()["eval_loss"]
    unconstrained = {group: summarise(drift) for group, drift in reference.drifts(plain.model.eval()).items()}
    held = way.held(base.location, budget=BUDGET, anchors=own, **way.given(rows, out))
    held.train()
    held.save_model(str(out / "tuned"))
    return Outcome(held, out / "tuned", unconstrained, before, loss)


def test_the_budget_binds_and_the_task_is_learned(outcome: Outcome) -> None:
    assert all(group.drift > BUDGET for group in outcome.unconstrained.values())
    certificate = json.loads((outcome.folder / "drift.json").read_text())
    assert certificate["budget"] == {"general": BUDGET, "safety": BUDGET, "text": BUDGET}
    assert certificate["within_budget"]
    assert all(group["upper95"] <= BUDGET for group in certificate["groups"].values())
    learned = outcome.loss_before - outcome.held.evaluate()["eval_loss"]
    assert learned > 0.25 * (outcome.loss_before - outcome.loss_unconstrained) > 0


def test_what_was_saved_loads_without_tether_and_is_what_was_certified(
    outcome: Outcome, base: Base, own: Path
) -> None:
    plain = AutoModelForCausalLM.from_pretrained(base.location, dtype=torch.float32)
    reference = Reference(load_anchors(own)).ask(plain, ["certify"])
    if (outcome.folder / "adapter_config.json").is_file():
        reloaded: Any = PeftModel.from_pretrained(plain, outcome.folder)
    else:
        reloaded = AutoModelForCausalLM.from_pretrained(outcome.folder, dtype=torch.float32)
    certificate = json.loads((outcome.folder / "drift.json").read_text())
    assert (certificate["base"], certificate["revision"]) == (base.name, base.revision)
    for name, drifts in reference.drifts(reloaded.cpu().eval()).items():
        assert summarise(drifts).drift == pytest.approx(certificate["groups"][name]["drift"], rel=1e-3)


def test_a_trainer_trains_once(outcome: Outcome) -> None:
    with pytest.raises(UserError, match="has been trained and rewound"):
        outcome.held.train()


@pytest.mark.usefixtures("anchors")  # found by the base's name
def test_a_run_goes_on_from_its_checkpoint(base: Base, rows: dict[str, Dataset], tmp_path: Path) -> None:
    way = WAYS["SFT of a LoRA"]
    settings = {"max_steps": 6, "save_strategy": "steps", "save_steps": 3}
    whole = TetherSFTTrainer(base.location, **way.given(rows, tmp_path / "whole", **settings))
    whole.train()
    rest = TetherSFTTrainer(base.location, **way.given(rows, tmp_path / "rest", **settings))
    rest.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-3"))
    assert rest.anchoring.budget.weights() == whole.anchoring.budget.weights()
    assert rest.choice.pull == whole.choice.pull
    parts = zip(rest.model.parameters(), whole.model.parameters(), strict=True)
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in parts)
    assert not (tmp_path / "whole" / "checkpoint-6" / "drift.json").exists(), "it was not held yet"


@pytest.mark.usefixtures("anchors")
def test_without_an_evaluation_set_some_rows_are_kept_aside(
    base: Base, rows: dict[str, Dataset], tmp_path: Path
) -> None:
    given = WAYS["SFT of a LoRA"].given(rows, tmp_path)
    given |= {"train_dataset": rows["SFT"], "eval_dataset": None}
    trainer = TetherSFTTrainer(base.location, **given)
    assert len(trainer.eval_dataset) == 3
    assert len(trainer.train_dataset) == len(rows["SFT"]) - 3
    with pytest.raises(UserError, match="train_dataset: of a stream no rows can be kept aside"):
        TetherSFTTrainer(base.location, **{**given, "train_dataset": rows["SFT"].to_iterable_dataset()})


def test_a_model_without_anchors_is_told_of(base: Base, rows: dict[str, Dataset], tmp_path: Path) -> None:
    nameless = AutoModelForCausalLM.from_config(bases.load_model(base).config)
    nameless.config.name_or_path = ""
    given = WAYS["SFT of a LoRA"].given(rows, tmp_path)
    with pytest.raises(UserError, match="anchors: there are no anchors for this model .* `tether anchors"):
        TetherSFTTrainer(nameless, **given)


def test_another_models_anchors_are_told_of(
    base: Base, anchors: AnchorSet, rows: dict[str, Dataset], tmp_path: Path
) -> None:
    other = bases.load_model(base, torch.float32)
    with torch.no_grad():
        for weight in other.parameters():
            weight.mul_(1.5)
    trainer = TetherSFTTrainer(other, anchors=anchors, **WAYS["SFT of a LoRA"].given(rows, tmp_path))
    with pytest.raises(UserError, match="anchors: what .* likely to the model before training"):
        trainer.train()


def test_an_adapter_that_cannot_be_rewound_is_told_of(
    base: Base, anchors: AnchorSet, rows: dict[str, Dataset], tmp_path: Path
) -> None:
    dora = LoraConfig(target_modules="all-linear", use_dora=True, task_type="CAUSAL_LM")
    given = WAYS["SFT of a LoRA"].given(rows, tmp_path)
    with pytest.raises(UserError, match="peft_config: the adapter is no plain LoRA"):
        TetherSFTTrainer(base.location, anchors=anchors, **{**given, "peft_config": dora})
    random = LoraConfig(target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    begun: Any = get_peft_model(bases.load_model(base), random)
    with pytest.raises(UserError, match="peft_config: the adapter is no plain LoRA"):
        TetherSFTTrainer(begun, anchors=anchors, **{**given, "peft_config": None})


def test_importing_tether_brings_no_torch() -> None:
    asked = "import sys, tether; assert tether.__all__; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", asked], check=True)


def test_the_example_of_the_docs_runs(
    tiny: Path, cache: Path, rows: dict[str, Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = AnchorSettings(general=dict.fromkeys(("train", "select", "certify"), 4), answer_tokens=4)
    monkeypatch.setattr(store, "AnchorSettings", lambda: few)
    # With bfloat16, which is TRL's default, transformers must be told that there is no GPU.
    monkeypatch.setattr("trl.SFTConfig", partial(SFTConfig, use_cpu=SETTINGS["use_cpu"]))
    monkeypatch.chdir(tmp_path)
    Path("my-model").symlink_to(tiny)
    rows["SFT"].to_json("chats.jsonl")
    text = (Path(__file__).parents[1] / "docs" / "library.md").read_text(encoding="utf-8")
    shown = text.split("```python\n")[1].split("```")[0]
    exec(compile(shown, "docs/library.md", "exec"), {})
    assert Path("tuned", "adapter_model.safetensors").is_file()
    assert json.loads(Path("tuned", "drift.json").read_text())["base"] == "my-model"


@pytest.mark.usefixtures("anchors")
def test_accumulated_batches_are_one_step(base: Base, rows: dict[str, Dataset], tmp_path: Path) -> None:
    way, trained = WAYS["SFT of a LoRA"], []
    for each, together in ((8, 1), (2, 4)):
        settings = {"per_device_train_batch_size": each, "gradient_accumulation_steps": together}
        given = way.given(rows, tmp_path / str(each), max_steps=9, **settings)
        trainer = TetherSFTTrainer(base.location, **given)
        trainer.train()
        trained.append(trainer.anchoring.budget)
    whole, parts = ({name: group.curve for name, group in budget.groups.items()} for budget in trained)
    for name, curve in whole.items():
        assert [step for step, *_ in parts[name]] == [step for step, *_ in curve] == [0, 4, 8]
        drifts, others = ([drift for _, drift, _ in one] for one in (curve, parts[name]))
        assert drifts == pytest.approx(others, rel=0.2, abs=1e-4)
