"""What a command did, told twice: as a record and as text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """What a command did: a record for `--json`, and the text that says it."""

    record: dict[str, Any]
    text: str


def drifts(certificate: dict[str, Any]) -> dict[str, float]:
    """The drift of each group of a `drift.json`, nats per answer token."""
    return {name: group["drift"] for name, group in certificate["groups"].items()}


def drift_lines(certificate: dict[str, Any] | None) -> list[str]:
    """A line for each group of a `drift.json`; none where there is no certificate."""
    groups = certificate["groups"] if certificate else {}
    return [
        f"drift on {name}: {group['drift']:.4f} nats/token (upper 95% bound {group['upper95']:.4f}, "
        f"{_budget_told(group['budget'])}, {group['prompts']} prompts; 95th percentile of prompts "
        f"{group['prompt_p95']:.4f}, first five tokens {group['first5']:.4f})"
        for name, group in groups.items()
    ]


def _budget_told(budget: float | None) -> str:
    return "no budget" if budget is None else f"budget {budget:g}"
