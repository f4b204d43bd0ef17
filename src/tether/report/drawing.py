"""A chart to files and to markup: without matplotlib's global state, and the same to the byte each time."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#1f2933"  # becomes currentColor where a chart stands in the page
GRID = "#8a94a0"
WIDTH = 7.6  # inches of a chart


def plain_frame(axes: Axes) -> None:
    """Take away a chart's box, and leave a light grid behind what is drawn."""
    axes.set_facecolor("none")
    axes.set_axisbelow(True)
    axes.grid(color=GRID, alpha=0.28, linewidth=0.7)
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=9.5)


def save(figure: Figure, folder: Path, name: str) -> None:
    """Write a chart as NAME.png and NAME.svg on white.

    Args:
        figure: The chart.
        folder: An existing folder.
        name: The files' name without ending.
    """
    FigureCanvasAgg(figure)
    figure.savefig(folder / f"{name}.png", dpi=160, facecolor="white", metadata={"Software": None})
    (folder / f"{name}.svg").write_text(_svg(figure, "white"), encoding="utf-8")


def inline(figure: Figure) -> str:
    """A chart as an SVG element that takes the page's text colour and needs nothing from outside.

    Args:
        figure: The chart.

    Returns:
        Markup that can stand in an HTML page as it is.
    """
    text = _svg(figure, "none")
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)  # HTML knows svg without namespaces
    return re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', "", text, count=1)


def _svg(figure: Figure, background: str) -> str:
    held = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "tether", "svg.fonttype": "none", "font.family": ["sans-serif"]}):
        figure.savefig(held, format="svg", facecolor=background, metadata={"Date": None})
    return held.getvalue()
