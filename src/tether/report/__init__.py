"""Results to a page, charts, Markdown and the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tether.report.headline import headline
from tether.report.terminal import summary_text

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["headline", "summary_text", "write_report"]


def write_report(run_dir: Path) -> Path:
    """Build report.html, report.md and figures/ of a finished study.

    Args:
        run_dir: A folder with results.json and the per-item records.

    Returns:
        Path of report.html.

    Raises:
        UserError: results.json or a file of records is missing or malformed.
    """
    from tether.report import page  # draws with matplotlib, which the terminal's table does not need

    return page.write_report(run_dir)
