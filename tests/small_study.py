"""A study that takes seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tether.config import Study

if TYPE_CHECKING:
    from tether.bases import Base

LIMITS = {"builtin:hotels": 2, "builtin:safety": 6, "builtin:knowledge": 6}


def asked(base: Base, **changes: Any) -> Study:
    """Three methods, two steps each, a few items of every axis."""
    said: dict[str, Any] = {
        "base": base.name,
        "data": "builtin:hotels",
        "methods": {
            "lora": {"learning_rate": [1e-3, 1e-2], "rank": 4},
            "everything": {"method": "full"},
            "tether": {"budget": {"general": 0.02, "safety": 0.005}, "rank": 4, "learning_rate_of": "lora"},
        },
        "training": {"max_steps": 2, "batch_tokens": 2048, "dialogues": 12},
        "limits": LIMITS,
        "sweep_steps": 1,
    }
    return Study.model_validate({**said, **changes})
