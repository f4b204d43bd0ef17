"""lm-eval's own tasks on the live model, and its figures against ours on the very same strings."""

from __future__ import annotations

import json
import math
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tether.axes.harness import BATCH_ROWS, main_metric
from tether.axes.knowledge import continuation, knowledge
from tether.axes.registry import load_axes, measure
from tether.errors import UserError
from tether.results import aggregate
from tether.sources import ChoiceItem, OpenItem, fingerprint, load_knowledge
from tether.sources.harness import harness_tasks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tether.inference import LocalModel

CHOICE = """
output_type: multiple_choice
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_target: answer
doc_to_choice: choices
metric_list: [{metric: acc}, {metric: acc_norm}]
"""
# Running text is scored from its first token on, which is given the end-of-text or begin-of-text token.
ROLLING = """
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{response}}"
metric_list: [{metric: bits_per_byte}]
"""
AGREEMENT = 1e-3


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The extra, with a cache of its own for the data that tasks load."""
    pytest.importorskip("lm_eval")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")
    # Describes the machine by running pip and a dozen other programs.
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda results: None)
    harness_tasks.cache_clear()
    yield
    harness_tasks.cache_clear()


def task_file(folder: Path, name: str, body: str, rows: list[dict[str, Any]]) -> str:
    """A task as a user would write it, over a JSONL file; the source's name."""
    data = folder / f"{name}.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    where = f"dataset_path: json\ndataset_kwargs: {{data_files: {{test: {data}}}}}\ntest_split: test"
    (folder / f"{name}.yaml").write_text(f"task: {name}\n{where}{body}", encoding="utf-8")
    return f"lm-eval:{folder / f'{name}.yaml'}"


def ours(kind: type) -> list[Any]:
    return [item for item in load_knowledge("builtin:knowledge") if isinstance(item, kind)][:12]


def choice_source(folder: Path) -> str:
    rows = [{"question": q.question, "choices": q.choices, "answer": q.answer} for q in ours(ChoiceItem)]
    return task_file(folder, "hotel_quiz", CHOICE, rows)


def test_without_the_extra_one_sentence_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval.tasks", None)
    harness_tasks.cache_clear()
    with pytest.raises(UserError, match=r"lm-eval:arc_easy: .* pip install 'tether\[lm-eval\]'"):
        load_knowledge("lm-eval:arc_easy")


def test_the_metric_of_a_document_is_acc_norm_or_the_first_that_fits() -> None:
    better = {"acc": True, "acc_norm": True, "exact_match": True, "perplexity": False}
    both = {"metrics": ["acc", "acc_norm"], "acc": 1.0, "acc_norm": 0.0}
    assert main_metric("t", both, better) == "acc_norm"
    assert main_metric("t", {"metrics": ["perplexity", "acc"], "perplexity": -3.2, "acc": 1}, better) == "acc"
    with pytest.raises(UserError, match="no metric of lm-eval's task 't' \\(mcc\\)"):
        main_metric("t", {"metrics": ["mcc"], "mcc": (0, 1)}, {"mcc": True})


@pytest.mark.usefixtures("harness")
def test_multiple_choice_agrees_with_lm_eval(live: LocalModel, tmp_path: Path) -> None:
    questions = ours(ChoiceItem)
    theirs = measure(live, "knowledge", load_axes({"knowledge": [choice_source(tmp_path)]}, {})["knowledge"])
    assert [item.score for item in theirs] == [item.score for item in knowledge(live, questions)]

    pairs = [
        (f"Question: {question.question}\nAnswer:", f" {choice}")
        for question in questions
        for choice in question.choices
    ]
    found = live.log_likelihoods([continuation(live, *pair) for pair in pairs])
    assert found == pytest.approx(lm_eval_nats(live, pairs), abs=AGREEMENT)


@pytest.mark.usefixtures("harness")
def test_bits_per_byte_agree_with_lm_eval(live: LocalModel) -> None:
    from lm_eval.api.metrics import bits_per_byte

    questions = ours(OpenItem)
    pairs = [
        (live.tokenizer.decode(live.ask(f"{q.instruction}\n\n{q.context}".strip())), q.response)
        for q in questions
    ]
    theirs = [
        bits_per_byte([(nats, len(text.encode()))])
        for nats, (_, text) in zip(lm_eval_nats(live, pairs), pairs, strict=True)
    ]
    found = [item.metrics["bits_per_byte"] for item in knowledge(live, questions)]
    assert found == pytest.approx(theirs, abs=AGREEMENT)


@pytest.mark.usefixtures("harness")
def test_running_text_is_scored_by_its_bits_per_byte(live: LocalModel, tmp_path: Path) -> None:
    texts = [question.response for question in ours(OpenItem)]
    source = task_file(tmp_path, "prose", ROLLING, [{"response": text} for text in texts])
    items = knowledge(live, load_knowledge(source))
    start = live.tokenizer.bos_token_id
    ids = [live.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    nats = live.log_likelihoods([([start], row) for row in ids])
    bits = [-n / len(text.encode()) / math.log(2) for n, text in zip(nats, texts, strict=True)]
    assert [item.metrics["bits_per_byte"] for item in items] == pytest.approx(bits, abs=AGREEMENT)
    assert aggregate(items).score == pytest.approx(-sum(bits) / len(bits), abs=AGREEMENT)


@pytest.mark.usefixtures("harness")
def test_a_sample_is_asked_alone_and_pairs_with_the_whole(live: LocalModel, tmp_path: Path) -> None:
    source = choice_source(tmp_path)
    whole = {item.id: item for item in knowledge(live, load_knowledge(source))}
    few = knowledge(live, load_knowledge(source, limit=3))
    assert len(few) == 3
    assert all(item.score == whole[item.id].score and item.input == whole[item.id].input for item in few)
    (name,) = fingerprint(source)
    assert name.endswith(": hotel_quiz")


@pytest.mark.usefixtures("harness")
def test_an_unknown_task_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Its own 15,000 files are not looked through here.
    monkeypatch.setattr("lm_eval.tasks._index.TaskIndex.build", lambda index, paths: {})
    with pytest.raises(UserError, match="lm-eval knows no task 'arc_esay'"):
        load_knowledge("lm-eval:arc_esay")
    lost = task_file(tmp_path, "lost", CHOICE, [])
    (tmp_path / "lost.jsonl").unlink()
    with pytest.raises(UserError, match="the task's data cannot be had"):
        load_knowledge(lost)


def lm_eval_nats(live: LocalModel, pairs: list[tuple[str, str]]) -> list[float]:
    """Log-likelihood of each continuation after its context, as lm-eval has it."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    lm = HFLM(pretrained=live.model, tokenizer=live.tokenizer, batch_size=BATCH_ROWS)
    asked = [Instance("loglikelihood", {}, pair, index) for index, pair in enumerate(pairs)]
    return [nats for nats, _ in lm.loglikelihood(asked, disable_tqdm=True)]
