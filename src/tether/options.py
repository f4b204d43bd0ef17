"""The options that several commands share, and how what they say is read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tether.errors import UserError

if TYPE_CHECKING:
    from tether.config import Asking
    from tether.requirements import Requirement

Base = Annotated[
    str,
    typer.Option(help="Hub id, folder, .gguf file, smollm2-135m[-aligned], or openai:MODEL, together:MODEL."),
]
Out = Annotated[Path, typer.Option(help="Where to write.")]
Adapter = Annotated[Path | None, typer.Option(metavar="DIR", help="An adapter or a model folder.")]
Anchors = Annotated[Path | None, typer.Option(metavar="DIR", help="From `tether anchors`.")]
Budget = Annotated[str | None, typer.Option(help="Drift allowed: 0.02, or general=0.02,safety=0.005.")]
Source = Annotated[list[str], typer.Option(metavar="FILE", help="A file, or a set by name; may be repeated.")]
Judge = Annotated[
    str,
    typer.Option("--judge", metavar="NAME", help="rules, classifier:FOLDER, local:FOLDER or openai:MODEL."),
]
Leaks = Annotated[
    Literal["refuse", "drop", "allow"],
    typer.Option(help="Prompts that the model was trained on: refuse to measure, leave out, or keep."),
]
Require = Annotated[
    list[str], typer.Option(metavar="AXIS.FIELD>=N", help="Exit with 3 unless it holds; may be repeated.")
]
MaxPrice = Annotated[float | None, typer.Option(min=0, help="Dollars that asking a hosted model may cost.")]
PerMinute = Annotated[int | None, typer.Option(min=1, help="Requests to a hosted model, at most.")]
Yes = Annotated[bool, typer.Option("--yes", help="Agree to what hosted fine-tuning costs.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]


def read_requirements(texts: list[str]) -> list[Requirement]:
    """What ``--require`` asks for."""
    from tether.requirements import parse_requirement

    return [parse_requirement(text) for text in texts]


def read_asking(max_price: float | None, requests_per_minute: int | None) -> Asking:
    """How a hosted model is asked; what is not said is as ``Asking`` has it."""
    from tether.config import Asking

    limits = {"max_price": max_price, "requests_per_minute": requests_per_minute}
    return Asking.model_validate({key: value for key, value in limits.items() if value is not None})


def read_names(text: str | None) -> list[str] | None:
    """Names between commas."""
    return None if text is None else [name.strip() for name in text.split(",")]


def read_seeds(text: str | None) -> list[int] | None:
    """Seeds between commas.

    Raises:
        UserError: One is no whole number.
    """
    try:
        return None if text is None else [int(number) for number in text.split(",")]
    except ValueError:
        raise UserError(f"'{text}' is no list of seeds", where="--seeds", fix="write --seeds 0,1,2") from None
