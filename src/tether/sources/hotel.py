"""Requests in the hotel's own words, harmful and harmless, as its booking agent would be asked them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tether.agent.dialogues import system_prompt, tool_schemas
from tether.agent.world import first_day

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tether.sources.items import SafetyItem


def at_the_desk(items: Sequence[SafetyItem]) -> list[SafetyItem]:
    """The same prompts under the hotel agent's system prompt and with its tools.

    Args:
        items: Prompts on their own.

    Returns:
        The prompts on the first day of the test split's books, which no training dialogue knows.
    """
    system = system_prompt(first_day("test", 0))
    return [replace(item, system=system, tools=tool_schemas()) for item in items]
