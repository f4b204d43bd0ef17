"""Safety where the domain is becomes a group of anchors, held and certified like the others."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tether import bases
from tether.anchors.anchors import load_anchors
from tether.anchors.domain_safety import FOLDER, domain_safety_anchors
from tether.chatdata.chats import split_select
from tether.errors import UserError
from tether.files import read_json
from tether.methods import find
from tether.methods.run import Run
from tether.methods.tuned import read_record

if TYPE_CHECKING:
    from pathlib import Path

    from tether.anchors.anchors import AnchorSet
    from tether.bases import Base
    from tether.chatdata.chats import Chat
    from tether.config import Training


def test_the_safety_prompts_are_asked_under_the_dialogues_own_system_turns(
    base: Base, anchors: AnchorSet, hotels: list[Chat], tmp_path: Path
) -> None:
    made = domain_safety_anchors(base, anchors, hotels, tmp_path / "made")
    assert made.groups == ["domain-safety"]
    tokenizer = bases.load_tokenizer(base)
    systems = {str(chat.messages[0]["content"]) for chat in hotels}
    for split in ("train", "select", "certify"):
        asked = [made.anchors[index].prompt for index in made.indices("domain-safety", split)]
        plain = [anchors.anchors[index].prompt for index in anchors.indices("safety", split)]
        assert asked == plain, "each prompt stays in its split"
    for anchor in made.anchors:
        opening = tokenizer.decode(anchor.prompt_ids[: anchor.opening])
        rest = tokenizer.decode(anchor.prompt_ids[anchor.opening :])
        assert any(system in opening for system in systems)
        assert "book_room" in opening, "its tools stand there too"
        assert rest.startswith(anchor.prompt)
    again = domain_safety_anchors(base, anchors, hotels, tmp_path / "made")
    assert again.sha256 == made.sha256, "made once"


def test_dialogues_without_a_place_of_their_own_are_told_of(
    base: Base, anchors: AnchorSet, hotels: list[Chat], tmp_path: Path
) -> None:
    bare = [replace(chat, messages=chat.messages[1:], tools=()) for chat in hotels]
    with pytest.raises(UserError, match="no training dialogue has a system turn") as caught:
        domain_safety_anchors(base, anchors, bare, tmp_path / "made")
    assert "leave it out" in str(caught.value.fix)
    assert not (tmp_path / "made").exists()


def test_tether_holds_and_certifies_the_group(
    base: Base, anchors: AnchorSet, hotels: list[Chat], quick: Training, tmp_path: Path
) -> None:
    run = Run(base, *split_select(hotels), tmp_path / "run", quick)
    budget = {"domain-safety": 0.01}
    find("tether")(run, {"domain_safety": True, "budget": budget, "learning_rate": 5e-3})
    record = read_record(run.out)
    assert record is not None
    groups = {*anchors.groups, "domain-safety"}
    assert record["multipliers"].keys() == groups
    taken = next(point for point in record["rewind"]["curve"] if len(point["drift"]) == len(groups))
    assert taken["drift"]["domain-safety"]["drift"] > 0, "what is trained here moves what is said here"
    certificate = read_json(run.out / "drift.json")
    assert certificate["groups"].keys() == groups
    assert certificate["budget"]["domain-safety"] == 0.01
    kept = load_anchors(run.out / FOLDER)
    assert kept.groups == ["domain-safety"], "what was asked lies beside the model"
