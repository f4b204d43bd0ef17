"""What tether alone can be told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tether.chatdata.chats import split_select
from tether.files import read_json
from tether.methods import find
from tether.methods.run import Run, read_record

if TYPE_CHECKING:
    from pathlib import Path

    from tether.anchors.anchors import AnchorSet
    from tether.bases import Base
    from tether.chatdata.chats import Chat
    from tether.config import Training


def test_a_group_out_of_sight_is_certified_all_the_same(
    base: Base, anchors: AnchorSet, hotels: list[Chat], quick: Training, tmp_path: Path
) -> None:
    """So a study can show what a group buys."""
    run = Run(base, *split_select(hotels), tmp_path / "run", quick)
    find("tether")(run, {"blind_to": "text", "learning_rate": 5e-3})
    record = read_record(run.out)
    assert record is not None
    assert record["multipliers"].keys() == {"general", "safety"}
    assert all(point["drift"].keys() <= {"general", "safety"} for point in record["rewind"]["curve"])
    certificate = read_json(run.out / "drift.json")
    assert certificate["groups"].keys() == certificate["budget"].keys() == set(anchors.groups)
    assert certificate["anchors_sha256"] == anchors.sha256
