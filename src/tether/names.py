"""The names by which studies, sources and anchors know built-in things, and what goes with each."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# How many dialogues a built-in domain gives for each use where a study names no number.
HOTEL_DIALOGUES: Mapping[str, int] = {"train": 400, "dev": 60, "test": 60}

# Whole conversations by source: how often each case is tried, and at what temperature.
CONVERSATION_TRIALS: Mapping[str, tuple[int, float]] = {
    "builtin:conversations": (1, 0.0),
    "builtin:conversations-x4": (4, 0.7),
}

# The small domains by source, as the room `domains` names them.
SMALL_DOMAINS: Mapping[str, str] = {"builtin:restaurants": "restaurants", "builtin:flights": "flights"}

# The domains of Schema-Guided Dialogue that are known by name.
SCHEMA_GUIDED = ("sgd_hotels", "sgd_restaurants", "sgd_flights")

# Named data sets with a test part of their own.
WITH_TESTS = ("builtin:hotels", "builtin:conversations", *SMALL_DOMAINS, *SCHEMA_GUIDED)

# Pairs of a good and a bad turn by source: whose dialogues they are made of, and tested on.
PREFERENCES: Mapping[str, str] = {
    "builtin:hotels-preferences": "builtin:hotels",
    "builtin:conversations-preferences": "builtin:conversations",
}

# The groups of anchors that tether makes itself; no domain of a sequence, and no file, can be called so.
DOMAIN_SAFETY = "domain-safety"
ANCHOR_GROUPS = ("general", "safety", "text", DOMAIN_SAFETY)


def domain_name(source: str) -> str:
    """What the anchors of a domain are called: hotels for builtin:hotels, talks for data/talks.jsonl."""
    return PurePath(source.removeprefix("builtin:")).stem
