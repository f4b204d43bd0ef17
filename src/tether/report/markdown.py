"""The report as Markdown: the page's tables, and its charts by relative path."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tether.report.tables import Table

# What would be read as markup, or would end a table's cell.
_SPECIAL = re.compile(r"([\\`*_\[\]<>|#])")


def escape(text: str) -> str:
    """Text that Markdown shows as it is, on one line.

    Args:
        text: Any text.

    Returns:
        The text with markup escaped and line breaks turned into spaces.
    """
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def table(content: Table) -> str:
    """A table in GitHub's Markdown; loud rows are bold.

    Args:
        content: What to show.

    Returns:
        Title, note and table.
    """
    lines = [
        f"## {content.title}",
        "",
        escape(content.note),
        "",
        _line(content.columns),
        _rule(len(content.columns), content.texts),
    ]
    for row in content.rows:
        lines.append(
            _line([f"**{escape(cell)}**" if row.loud and cell else escape(cell) for cell in row.cells])
        )
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _rule(columns: int, texts: int) -> str:
    """The line under a table's head, which puts numbers at the right."""
    return _line(["---" if place < texts else "---:" for place in range(columns)])


def fenced(text: str, language: str = "") -> str:
    """A code block with a fence longer than any in the text.

    Args:
        text: Any text.
        language: The fence's language.

    Returns:
        The block.
    """
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def document(
    title: str,
    sentences: Sequence[str],
    warnings: Sequence[str],
    sections: Sequence[Table | str],
) -> str:
    """The whole report.

    Args:
        title: Its heading.
        sentences: What matters, sentence by sentence.
        warnings: What a reader must know first.
        sections: Tables and ready Markdown, in order; empty tables are left out.

    Returns:
        Markdown.
    """
    parts = [f"# {escape(title)}", escape(" ".join(sentences))]
    parts += ["\n".join(f"> **Note:** {escape(warning)}  " for warning in warnings)] if warnings else []
    parts += [
        part if isinstance(part, str) else table(part)
        for part in sections
        if isinstance(part, str) or part.rows
    ]
    return "\n\n".join(parts) + "\n"
