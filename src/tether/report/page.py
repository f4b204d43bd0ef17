"""A study's folder to report.html, report.md and figures: rebuilt from the records alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml
from markupsafe import Markup

from tether.report import drawing, knowledge, markdown, sequence, tables
from tether.report import figures as charts
from tether.report.examples import examples
from tether.report.headline import headline_sentences, warnings
from tether.report.leaks import leak_warnings, leaks
from tether.report.templates import templates
from tether.report.words import AXIS_NAMES, MISSING
from tether.results import read_results, write_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

    from tether.results import StudyResults


def write_report(run_dir: Path) -> Path:
    """Build the report of a finished study; whatever an earlier report left is replaced.

    Args:
        run_dir: A folder with results.json and the per-item records.

    Returns:
        Path of report.html, which needs no other file; report.md shows figures/ beside it.

    Raises:
        UserError: results.json or a file of records is missing or malformed.
    """
    results = read_results(run_dir / "results.json")
    drawn = charts.figures(results)
    folder = run_dir / "figures"
    folder.mkdir(exist_ok=True)
    for name in set(charts.NAMES) - set(drawn):
        for ending in ("png", "svg"):
            (folder / f"{name}.{ending}").unlink(missing_ok=True)
    for name, figure in drawn.items():
        drawing.save(figure, folder, name)
    write_markdown(run_dir, results, list(drawn))
    write_text(run_dir / "report.html", _page(run_dir, results, drawn))
    return run_dir / "report.html"


def write_markdown(run_dir: Path, results: StudyResults, figures: Sequence[str]) -> None:
    """Write report.md.

    Args:
        run_dir: The study's folder, with its per-item records.
        results: The study's results.
        figures: Names of the charts that lie in figures/ as PNG.

    Raises:
        UserError: A file of records is malformed.
    """
    write_text(run_dir / "report.md", _markdown(run_dir, results, figures))


def _title(results: StudyResults) -> str:
    name = results.study.get("name") if isinstance(results.study, dict) else None
    return str(name) if name else "What fine-tuning cost, and what was kept"


def _page(run: Path, results: StudyResults, drawn: dict[str, Figure]) -> str:
    return (
        templates()
        .get_template("page.html")
        .render(
            title=_title(results),
            sentences=headline_sentences(results),
            warnings=warnings(results) + leak_warnings(results),
            overview=tables.overview(results),
            outcomes=tables.outcomes(results),
            missing=tables.missing_cells(results),
            figures=[
                # Our own charts; every name in them was escaped when matplotlib wrote the SVG.
                {"svg": Markup(drawing.inline(figure)), "words": charts.describe(name, results)}
                for name, figure in drawn.items()
            ],
            stages=sequence.stages(results) if results.stages else None,
            tables=_detail(results),
            turned=knowledge.turned_items(run, results),
            training=tables.training(results),
            examples={AXIS_NAMES[axis]: found for axis, found in examples(run, results).items()},
            facts=_facts(results),
            study=_study(results) if results.study else "",
        )
    )


def _detail(results: StudyResults) -> list[tables.Table]:
    """The tables between the charts and the answers."""
    return [
        tables.comparisons(results),
        tables.certificates(results),
        tables.sweeps(results),
        knowledge.parts(results),
        knowledge.secondary(results),
        knowledge.retained(results),
        leaks(results),
    ]


def _markdown(run: Path, results: StudyResults, drawn: Sequence[str]) -> str:
    missing = tables.missing_cells(results)
    pictures = "\n\n".join(
        f"![{markdown.escape(charts.describe(name, results))}](figures/{name}.png)" for name in drawn
    )
    facts = tables.Table(
        "How it was run", "", ("What", "Value"), tuple(tables.Row(fact) for fact in _facts(results))
    )
    return markdown.document(
        _title(results),
        headline_sentences(results),
        warnings(results) + leak_warnings(results),
        [
            tables.overview(results),
            *([sequence.stages(results)] if results.stages else []),
            tables.outcomes(results),
            *([f"Not measured: {markdown.escape(', '.join(missing))}."] if missing else []),
            *([f"## Charts\n\n{pictures}"] if drawn else []),
            *_detail(results),
            *knowledge.turned_items(run, results),
            tables.training(results),
            facts,
            *([f"### The study\n\n{markdown.fenced(_study(results), 'yaml')}"] if results.study else []),
        ],
    )


def _study(results: StudyResults) -> str:
    if isinstance(results.study, str):
        return results.study
    return yaml.safe_dump(results.study, sort_keys=False, allow_unicode=True)


def _facts(results: StudyResults) -> list[tuple[str, str]]:
    """Versions, machine, data hashes, seeds and times as name and value."""
    told = {name: value for name, value in results.provenance.items() if name != "leaks"}  # a table's own
    return flat(results.environment) + flat(told)


def flat(value: Any, name: str = "") -> list[tuple[str, str]]:
    """A nested record as rows of name and value."""
    if isinstance(value, dict):
        return [row for key, inner in value.items() for row in flat(inner, f"{name} {key}".strip())]
    if isinstance(value, list):
        return [(name, ", ".join(str(part) for part in value) or MISSING)]
    return [(name, MISSING if value is None else str(value))]
