"""Drift against whoever answered the anchors: exact, by split, and of several models where domains follow."""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file, save_file

from tether import bases
from tether.anchors import reference as reference_module
from tether.anchors.anchors import SPLITS, joined
from tether.anchors.reference import STATES, STATES_FILE, Reference
from tether.training.batches import IGNORED
from tether.training.trainer import logits_at

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedModel

    from tether.anchors.anchors import AnchorSet
    from tether.bases import Base


def moved(base: Base, by: float) -> PreTrainedModel:
    torch.manual_seed(0)
    model = bases.load_model(base, torch.float32)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(by * torch.randn_like(weight))
    return model


@pytest.fixture
def reference(base: Base, anchors: AnchorSet) -> Reference:
    return Reference(anchors).ask(bases.load_model(base, torch.float32))


@pytest.mark.parametrize("split", SPLITS)
def test_the_base_itself_has_not_drifted(reference: Reference, base: Base, split: str) -> None:
    drifts = reference.drifts(bases.load_model(base, torch.float32), split)
    assert drifts.keys() == {"general", "safety", "text"}
    assert all(prompt.abs().max() < 1e-5 for group in drifts.values() for prompt in group)


def test_drift_is_the_divergence_over_the_whole_vocabulary(
    reference: Reference, base: Base, anchors: AnchorSet
) -> None:
    """Against the definition, prompt by prompt."""
    model, plain = moved(base, 0.02), bases.load_model(base, torch.float32)
    total, tokens = 0.0, 0
    for index in anchors.indices("general", "certify"):
        anchor = anchors.anchors[index]
        ids, count = torch.tensor([[*anchor.prompt_ids, *anchor.answer_ids]]), len(anchor.answer_ids)
        with torch.no_grad():
            before, after = (
                one(input_ids=ids).logits[0, -count - 1 : -1].double().log_softmax(-1)
                for one in (plain, model)
            )
        total += float((before.exp() * (before - after)).sum())
        tokens += count
    general = reference.drift(model, "general", "certify")
    assert general.drift == pytest.approx(total / tokens, rel=1e-3)
    assert (general.tokens, general.prompts) == (tokens, 5)
    assert general.upper95 > general.drift > 0


def test_training_is_held_by_what_is_certified(reference: Reference, base: Base, anchors: AnchorSet) -> None:
    """The loss on anchors is the drift that the rewind and the certificate measure, and has a slope."""
    model = moved(base, 0.02)
    index = anchors.indices("text", "train")[0]
    anchor = anchors.anchors[index]
    ids = torch.tensor([[*anchor.prompt_ids, *anchor.answer_ids]])
    labels = ids.clone()
    labels[:, : len(anchor.prompt_ids)] = IGNORED
    drift = reference.divergence(logits_at(model, ids, labels)[0], [index])
    assert torch.allclose(drift, reference.drifts(model, "train")["text"][0], atol=1e-4)
    drift.mean().backward()
    assert any(weight.grad is not None and weight.grad.any() for weight in model.parameters())


def test_only_what_was_asked_is_known(base: Base, anchors: AnchorSet) -> None:
    reference = Reference(anchors).ask(bases.load_model(base), ["certify"])
    assert [split for split in SPLITS if reference.knows(split)] == ["certify"]
    reference.ask(bases.load_model(base), ["train", "select"])
    assert all(reference.knows(split) for split in SPLITS)


def test_what_a_base_was_asked_is_not_asked_again(
    base: Base, anchors: AnchorSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run on the base reads it, bit for bit."""
    model = bases.load_model(base)
    asked = Reference(anchors).ask(model, ["select"], folder=tmp_path)
    monkeypatch.delattr(reference_module, "answer_states")
    again = Reference(anchors).ask(model, ["select"], folder=tmp_path)
    indices = [index for group in anchors.groups for index in anchors.indices(group, "select")]
    assert all(torch.equal(asked.logits(index), again.logits(index)) for index in indices)
    assert again.nats() == asked.nats()


def test_what_lies_on_disk_takes_no_memory(base: Base, anchors: AnchorSet, tmp_path: Path) -> None:
    """It is read when it is needed: what another process has put in its place by then is what is found."""
    model = bases.load_model(base)
    asked = Reference(anchors).ask(model, ["select"], folder=tmp_path)
    index = anchors.indices("text", "select")[-1]
    before = asked.logits(index)
    (file,) = tmp_path.glob(f"*/text-select/{STATES_FILE}")
    save_file({STATES: torch.zeros_like(load_file(file)[STATES])}, tmp_path / "zeros")
    (tmp_path / "zeros").replace(file)
    assert before.any()
    assert not asked.logits(index).any()


def test_a_killed_asking_leaves_nothing_half_asked(
    base: Base, anchors: AnchorSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = bases.load_model(base)
    with monkeypatch.context() as patch:
        patch.setattr(reference_module, "save_file", full)
        with pytest.raises(OSError, match="No space left"):
            Reference(anchors).ask(model, ["select"], folder=tmp_path)
    asked = Reference(anchors).ask(model, ["select"], folder=tmp_path)
    assert asked.nats() == Reference(anchors).ask(model, ["select"]).nats()


def full(tensors: dict[str, torch.Tensor], file: Path) -> None:
    """A disk that is full half-way."""
    file.write_bytes(b"half")
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_group_is_compared_with_whoever_answered_it(
    reference: Reference, base: Base, anchors: AnchorSet
) -> None:
    later = moved(base, 0.02)
    hotels = [replace(anchor, group="hotels") for anchor in anchors.anchors if anchor.group == "general"]
    both = joined([anchors, replace(anchors, anchors=hotels)])
    wider = reference.over(both).ask(later, groups=["hotels"])
    drifts = wider.drifts(later)
    assert all(prompt.abs().max() < 1e-5 for prompt in drifts["hotels"])
    assert all(prompt.mean() > 1e-3 for prompt in drifts["general"])
    assert reference.anchors is anchors, "and the narrower one is as it was"
    assert reference.drifts(later).keys() == {"general", "safety", "text"}
