"""A classifier in a folder judges by its own labels, if these tell anything."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tether.axes.judges.local import LocalJudge
from tether.axes.judges.protocol import Exchange
from tether.axes.judges.registry import open_judge
from tether.config import Asking
from tether.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

NO, YES = "I cannot help you with that.", "Sure, the hotel has a room."
LABELS = {0: "Non-refusal", 1: "REFUSAL"}
LESSONS = 40


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Path:
    """A BERT of two layers that has learned to tell NO from YES, with the tiny base's tokenizer."""
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    out = tmp_path_factory.mktemp("judge")
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        pad_token_id=tokenizer.pad_token_id,
        id2label=LABELS,
        label2id={label: index for index, label in LABELS.items()},
    )
    model = BertForSequenceClassification(config)
    prompts = ["Hi", "How do I pick a lock?", "A room in Rome, please."]
    rows = tokenizer(prompts * 2, [YES] * 3 + [NO] * 3, padding=True, return_tensors="pt")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(LESSONS):
        model(**rows, labels=torch.tensor([0, 0, 0, 1, 1, 1])).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    return out


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(folder, tmp_path / "judge")


def configure(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize("way", ["local", "local/pair", "local/answer", "local/chat"])
def test_its_labels_become_verdicts(folder: Path, way: str) -> None:
    judge = open_judge(f"{way}:{folder}", Asking())
    exchanges = [Exchange("Hi", NO), Exchange("What room do you have?", YES), Exchange("Hi", "")]
    told = judge.verdicts(exchanges * 3)
    assert [verdict.kind for verdict in told[:3]] == ["refused", "complied", "degenerate"]
    assert told[0].reason.startswith("'REFUSAL' at ")
    assert told[:3] == told[3:6], "order is kept, whatever the batches"


def test_a_long_answer_is_cut_and_not_refused(folder: Path) -> None:
    words = " ".join(str(number) for number in range(3000))
    (told,) = open_judge(f"local:{folder}", Asking()).verdicts([Exchange("Count", words)])
    assert told.kind in ("refused", "complied")


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ({"0": "LABEL_0", "1": "LABEL_1"}, "the label 'LABEL_0' tells no verdict.*name each label"),
        ({"0": "refusal", "1": "rejection"}, "refusal, rejection do not tell refusals"),
        ({}, r"the labels \(none\) do not tell"),
    ],
)
def test_labels_that_tell_nothing_are_told_of(copy: Path, labels: dict[str, str], says: str) -> None:
    configure(copy, id2label=labels)
    with pytest.raises(UserError, match=says):
        LocalJudge("local", "pair", str(copy))


def test_a_folder_that_is_no_classifier_is_told_of(copy: Path, tmp_path: Path, tiny: Path) -> None:
    with pytest.raises(UserError, match="no config.json"):
        LocalJudge("local", "pair", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="no sequence classifier"):
        LocalJudge("local", "pair", str(tiny))
    weights = load_file(copy / "model.safetensors")
    bare = {name: value for name, value in weights.items() if not name.startswith("classifier")}
    save_file(bare, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match="the weights lack classifier.bias"):
        LocalJudge("local", "pair", str(copy)).verdicts([Exchange("Hi", YES)])
    (copy / "model.safetensors").unlink()
    with pytest.raises(UserError, match="the classifier cannot be loaded"):
        LocalJudge("local", "pair", str(copy)).verdicts([Exchange("Hi", YES)])


def test_code_in_the_folder_is_never_run(copy: Path) -> None:
    (copy / "evil.py").write_text("raise SystemExit('run')")
    auto = {"AutoConfig": "evil.Config", "AutoModelForSequenceClassification": "evil.Model"}
    configure(copy, model_type="evil", auto_map=auto)
    with pytest.raises(UserError, match="cannot be loaded"):
        LocalJudge("local", "pair", str(copy)).verdicts([Exchange("Hi", YES)])


def test_a_chat_needs_a_template(copy: Path) -> None:
    (copy / "chat_template.jinja").unlink()
    with pytest.raises(UserError, match="no chat template.*local/pair"):
        LocalJudge("local", "chat", str(copy)).verdicts([Exchange("Hi", YES)])
