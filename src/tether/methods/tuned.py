"""What a method leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tether import bases
from tether.files import read_json

if TYPE_CHECKING:
    from pathlib import Path

    from tether.training.cost import Cost


@dataclass
class Tuned:
    """A finished fine-tuning.

    Attributes:
        folder: Holds a PEFT adapter, or a whole model.
        parametrisation: "lora", another "adapter" of PEFT's, "full", or "hosted" where the weights stay at a
            service.
        learning_rate: The peak rate it was trained at; None where a service chose it.
        cost: What training took; of a service's, the tokens alone are known.
        extra: What else the method tells of itself, for the record.
    """

    folder: Path
    parametrisation: str
    learning_rate: float | None
    cost: Cost
    extra: dict[str, Any]


def read_record(folder: Path) -> dict[str, Any] | None:
    """The record of a finished fine-tuning in ``folder``; None where there is none yet."""
    record: dict[str, Any] | None = read_json(folder / bases.RECORD_FILE)
    return record
