"""tether: fine-tune a chat model on a domain and keep what it already knew and refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tether.trainers import TetherDPOTrainer, TetherSFTTrainer

__all__ = ["TetherDPOTrainer", "TetherSFTTrainer"]


def __getattr__(name: str) -> Any:
    # Only who asks for a trainer waits for torch and TRL: `tether --help` answers at once.
    if name not in __all__:
        raise AttributeError(f"module 'tether' has no attribute '{name}'")
    from tether import trainers

    return getattr(trainers, name)
