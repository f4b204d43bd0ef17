"""A shipped model was aligned along with these dialogues: they must come out byte for byte as they did."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest

from tether.agent import generate

if TYPE_CHECKING:
    from tether.agent.world import Split


@pytest.mark.parametrize(
    ("split", "seed", "expected"),
    [
        ("train", 7000, "0973adb3f07c2512f2c7a925500950707e471c77a7edffb55758e0953fba3b4d"),
        ("dev", 7000, "d65fe1d4f06c4f8322eb7f763ff056230a8d11cb4cb6a33188688d4ba6e7c2f4"),
        ("test", 0, "403cfe5690d551b1985b1f57e961aa8c3dd0291b6e4216659b40b216eaf692c4"),
    ],
)
def test_dialogues_of_old_seeds_stay_byte_for_byte_the_same(split: Split, seed: int, expected: str) -> None:
    chats = [asdict(chat) for chat in generate(20, seed=seed, split=split)]
    assert hashlib.sha256(json.dumps(chats, sort_keys=True).encode()).hexdigest() == expected
