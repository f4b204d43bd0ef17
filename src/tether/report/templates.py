"""How a page's templates are read: everything that a model said is escaped, and nothing may be missing."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tether.report.words import number


def templates(*rooms: Path) -> Environment:
    """The report's templates, `frame.html` around every page among them.

    Args:
        rooms: Folders of other rooms' own templates.
    """
    environment = Environment(
        loader=FileSystemLoader([Path(__file__).parent, *rooms]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["score"] = lambda value: number(value, 0 if value in (0, 1) else 3)
    return environment
