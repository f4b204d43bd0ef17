"""An inspection to a folder: `inspect.json`, the figure, and one page that needs no other file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from markupsafe import Markup

from tether.files import write_json
from tether.inspection.figure import describe, figure
from tether.inspection.inspect import SHOWN
from tether.inspection.tables import sentences, tables
from tether.report import drawing
from tether.report.page import flat
from tether.report.templates import templates
from tether.results import write_text

if TYPE_CHECKING:
    from typing import Any

    from tether.inspection.inspect import Inspection

NAME = "inspect"


def write_page(found: Inspection, record: dict[str, Any], out: Path) -> Path:
    """Write an inspection's files; those of an earlier one are replaced.

    Args:
        found: What was measured.
        record: The same for `inspect.json`.
        out: Where to; made if missing.

    Returns:
        Path of inspect.html.
    """
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / f"{NAME}.json", record)
    drawn = figure(found)
    drawing.save(drawn, out, NAME)
    about = {key: record[key] for key in ("base", "revision", "tuned", "anchors_sha256", "environment")}
    page = templates(Path(__file__).parent).get_template(f"{NAME}.html")
    html = page.render(
        title=f"What {Path(found.tuned).name} changed in {found.base}",
        sentences=sentences(found),
        warnings=[],
        svg=Markup(drawing.inline(drawn)),  # ours; matplotlib escapes the names in it
        words=describe(found),
        shown=SHOWN,
        moved=found.moved,
        tables=tables(found),
        facts=flat(about),
    )
    write_text(out / f"{NAME}.html", html)
    return out / f"{NAME}.html"
