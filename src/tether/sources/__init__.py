"""Where data come from: built in, public by name, or a file."""

from tether.sources.harness import HarnessItem
from tether.sources.items import ChoiceItem, OpenItem, SafetyItem, sample
from tether.sources.load import (
    builtin_prompts,
    fetch,
    fingerprint,
    load_dialogues,
    load_knowledge,
    load_safety,
)
from tether.sources.poison import poisoned
from tether.sources.public import PUBLIC
from tether.sources.statements import StatementItem
from tether.sources.training import load_training

__all__ = [
    "PUBLIC",
    "ChoiceItem",
    "HarnessItem",
    "OpenItem",
    "SafetyItem",
    "StatementItem",
    "builtin_prompts",
    "fetch",
    "fingerprint",
    "load_dialogues",
    "load_knowledge",
    "load_safety",
    "load_training",
    "poisoned",
    "sample",
]
