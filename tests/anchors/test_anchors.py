from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import pytest
import torch

from tether.anchors import store
from tether.anchors.anchors import load_anchors
from tether.anchors.prompts import (
    fingerprint,
    harmful_prompts,
    is_usable,
    lookalike_prompts,
    sampled_prompts,
    spread,
)
from tether.anchors.reference import Reference
from tether.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from tether.anchors.anchors import AnchorSet
    from tether.bases import Base
    from tether.inference import LocalModel


def test_every_group_has_every_split(anchors: AnchorSet) -> None:
    assert anchors.groups == ["general", "safety", "text"]
    counts = anchors.counts()
    assert {
        group: {split: cell["prompts"] for split, cell in splits.items()} for group, splits in counts.items()
    } == {group: {"train": 6, "select": 4, "certify": 5} for group in anchors.groups}
    assert all(anchor.answer_ids for anchor in anchors.anchors)


def test_no_prompt_stands_in_two_splits(anchors: AnchorSet) -> None:
    prompts = [anchor.prompt for anchor in anchors.anchors]
    assert len(set(prompts)) == len(prompts)


def test_what_certifies_safety_was_never_aligned_on(anchors: AnchorSet) -> None:
    aligned = {*harmful_prompts("align"), *lookalike_prompts("align")}
    held = {
        split: {anchors.anchors[i].prompt for i in anchors.indices("safety", split)}
        for split in ("train", "select", "certify")
    }
    assert held["train"] <= aligned
    assert not (held["select"] | held["certify"]) & aligned


@pytest.mark.parametrize("split", ["train", "select", "certify"])
def test_safety_holds_what_is_harmful_and_what_only_sounds_so(anchors: AnchorSet, split: str) -> None:
    prompts = {anchors.anchors[i].prompt for i in anchors.indices("safety", split)}
    uses = ("align",) if split == "train" else ("anchors",)
    for kind in (harmful_prompts, lookalike_prompts):
        assert prompts & {prompt for use in uses for prompt in kind(use)}


@pytest.mark.parametrize("split", ["train", "select", "certify"])
def test_text_is_asked_outside_the_chat_template(anchors: AnchorSet, live: LocalModel, split: str) -> None:
    """Half are questions of the same split's chats, half openings of their answers."""
    chats = [anchors.anchors[i] for i in anchors.indices("general", split)]
    texts = [anchors.anchors[i] for i in anchors.indices("text", split)]
    assert [list(text.prompt_ids) for text in texts] == [
        live.tokenizer(text.prompt)["input_ids"] for text in texts
    ]
    assert [text.prompt for text in texts[1::2]] == [f"Q: {chat.prompt}\nA:" for chat in chats[1::2]]
    openings = [chat.answer.split()[:10] for chat in chats[::2]]
    assert [text.prompt.split() for text in texts[::2]] == openings


def test_answers_are_the_bases_own(anchors: AnchorSet, live: LocalModel) -> None:
    """At a temperature below 1, nearly every token stands among the base's twenty likeliest."""
    reference = Reference(anchors).ask(live.model)
    likely = torch.cat([reference.logits(i).topk(20).indices for i in range(len(anchors.anchors))])
    answers = torch.tensor([token for anchor in anchors.anchors for token in anchor.answer_ids])
    assert (likely == answers[:, None]).any(1).float().mean() > 0.8


def test_by_its_answers_a_base_is_known_again(anchors: AnchorSet, live: LocalModel) -> None:
    assert anchors.nats.keys() == {"general", "safety", "text"}
    again = Reference(anchors).ask(live.model, ["select"]).nats()
    assert again == pytest.approx(anchors.nats, abs=0.01), "they were answered in bfloat16"


def test_a_folder_gives_back_what_was_saved(anchors: AnchorSet, tmp_path: Path) -> None:
    odd = dataclasses.replace(anchors.anchors[0], answer="one\u2028two\x85three\n")
    changed = dataclasses.replace(anchors, anchors=[odd, *anchors.anchors[1:]])
    changed.save(tmp_path)
    loaded = load_anchors(tmp_path)
    assert loaded == changed
    assert loaded.sha256 == changed.sha256 != anchors.sha256


def test_a_group_can_be_left_out(anchors: AnchorSet) -> None:
    blind = anchors.without("safety")
    assert blind.groups == ["general", "text"]
    for split in ("train", "certify"):
        here, there = blind.indices("text", split), anchors.indices("text", split)
        assert [blind.anchors[i] for i in here] == [anchors.anchors[i] for i in there]
    with pytest.raises(UserError, match="of general, text no group 'safety' can be left out"):
        blind.without("safety")
    with pytest.raises(UserError, match="of text no group 'text'"):
        blind.without("general").without("text")


def test_a_folder_that_is_none_or_was_changed_is_refused(anchors: AnchorSet, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"anchors\.json is missing.*tether anchors"):
        load_anchors(tmp_path)
    anchors.save(tmp_path)
    path = tmp_path / "anchors.jsonl"
    first, *rest = path.read_text().splitlines()
    path.write_text("\n".join([json.dumps({**json.loads(first), "answer": "No."}), *rest]) + "\n")
    with pytest.raises(UserError, match="changed after they were made"):
        load_anchors(tmp_path)


def test_a_group_without_a_split_is_named(anchors: AnchorSet, tmp_path: Path) -> None:
    fewer = [anchor for anchor in anchors.anchors if (anchor.group, anchor.split) != ("safety", "select")]
    dataclasses.replace(anchors, anchors=fewer).save(tmp_path)
    with pytest.raises(UserError, match="group 'safety' has nothing to select on"):
        load_anchors(tmp_path)


def test_anchors_of_another_base_are_refused(anchors: AnchorSet, base: Base, tmp_path: Path) -> None:
    anchors.save(tmp_path)
    assert store.anchors_for(base, tmp_path).sha256 == anchors.sha256
    other = dataclasses.replace(base, revision="of another day")
    with pytest.raises(UserError, match="not of .* as it is now"):
        store.anchors_for(other, tmp_path)


def test_they_are_made_once(anchors: AnchorSet, base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(store, "build")
    assert store.anchors_for(base).sha256 == anchors.sha256


def test_sampled_prompts_are_the_seeds_and_unlike_each_other(live: LocalModel) -> None:
    prompts = sampled_prompts(live, 8, temperature=1.0, seed=5)
    assert prompts == sampled_prompts(live, 8, temperature=1.0, seed=5)
    assert len({fingerprint(prompt) for prompt in prompts}) == 8
    assert all(map(is_usable, prompts))


def test_a_base_that_writes_no_prompts_is_told_of(live: LocalModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tether.anchors.prompts.is_usable", lambda text: False)
    monkeypatch.setattr("tether.anchors.prompts.ROUNDS", 1)
    with pytest.raises(UserError, match="only 0 usable user turns of 2"):
        sampled_prompts(live, 2, temperature=1.0, seed=0)


@pytest.mark.parametrize(
    ("text", "usable"),
    [
        ("How do I bake a loaf of bread?", True),
        ("Hello there", False),
        ("4 + 5 = 9, 6 + 7 = 13", False),
        ("the the the the the cat", False),
        ("Tell me of the", False),
    ],
)
def test_usable_prompts_read_like_something_asked(text: str, usable: bool) -> None:
    assert is_usable(text) is usable


def test_a_few_are_spread_over_all() -> None:
    assert spread("abcdefghij", 5) == ["a", "c", "e", "g", "i"]
    assert spread("ab", 5) == ["a", "b"]
