"""The picture of an inspection: three maps of the weights, blocks from left to right; two curves below."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from tether.inspection.energy import Typical, typical
from tether.inspection.tables import in_blocks, percent
from tether.report.drawing import INK, WIDTH, plain_frame
from tether.report.words import number

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from tether.inspection.inspect import Inspection

    Grid = NDArray[np.float64]

# Okabe and Ito's, for groups; YlGnBu and PuOr for maps: all told apart by colour-blind readers.
GROUP_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
GROUP_LINES = ("-", "--", "-.", ":")
AMOUNT, BALANCE = "YlGnBu", "PuOr_r"
SCALED = 0.98  # of a map's cells lie within its scale
ROW = 0.21  # inches of a map's row
CURVE = 2.2
WIDEST_BALANCES = (1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0)


def figure(found: Inspection) -> Figure:
    """Draw an inspection.

    Args:
        found: What was measured.

    Returns:
        Size, alignment and effect of the update for each projection and block; below, the change of each
        block's output and the drift by place in the answer, by anchor group.
    """
    kinds = list(dict.fromkeys(one.projection for one in in_blocks(found)))
    maps = [ROW * len(kinds) + 0.75] * (3 if kinds else 0)
    heights = [*maps, CURVE, CURVE]
    drawn = Figure(figsize=(WIDTH, sum(heights)), layout=ConstrainedLayoutEngine(hspace=0.03))
    panels = drawn.subplots(len(heights), 1, height_ratios=heights)
    if kinds:
        _maps(panels[0], panels[1], panels[2], kinds, found)
    _blocks(panels[-2], found)
    _positions(panels[-1], found)
    return drawn


def _maps(first: Axes, second: Axes, third: Axes, kinds: list[str], found: Inspection) -> None:
    sizes = grid(found, kinds, lambda cell: cell.size)
    _amounts(first, kinds, sizes, "Size of the update, % of the weight")
    _balance(second, kinds, grid(found, kinds, lambda cell: cell.alignment))
    effects = grid(found, kinds, lambda cell: cell.disturbance)
    _amounts(third, kinds, effects, "What it adds to the layer's output on anchors, %")


def grid(found: Inspection, kinds: list[str], measure: Callable[[Typical], float | None]) -> Grid:
    """A measure of the weights, (projections, blocks); not a number where nothing was updated."""
    seen = in_blocks(found)
    blocks = range(len(next(iter(found.blocks.values()))))
    cells = [[[one for one in seen if (one.projection, one.block) == (k, b)] for b in blocks] for k in kinds]
    values = [[measure(typical(cell)) for cell in row] for row in cells]
    return np.array(values, dtype=float).reshape(len(kinds), len(blocks))


def _amounts(axes: Axes, kinds: list[str], shares: Grid, title: str) -> None:
    told = 100 * shares[shares > 0]
    # One outlier must not leave all others alike: the scale ends below it, with an arrow.
    end = float(np.quantile(told, SCALED)) if told.size else 1.0
    _map(axes, kinds, 100 * shares, Normalize(0, end), AMOUNT, title)


def _balance(axes: Axes, kinds: list[str], ratios: Grid) -> None:
    told = ratios[~np.isnan(ratios) & (ratios > 0)]
    farthest = float(np.exp(np.quantile(np.abs(np.log(told)), SCALED))) if told.size else 1.0
    end = next((wide for wide in WIDEST_BALANCES if farthest <= wide), WIDEST_BALANCES[-1])
    title = "Alignment with anchors' inputs (1: as an update that knows nothing of them)"
    norm = LogNorm(1 / end, end, clip=True)
    bar = _map(axes, kinds, np.where(ratios <= 0, 1 / end, ratios), norm, BALANCE, title)
    bar.yaxis.set_major_locator(FixedLocator([1 / end, 1.0, end]))
    bar.yaxis.set_minor_locator(NullLocator())
    bar.set_yticklabels([f"1/{end:g}", "1", f"{end:g}"])


def _map(axes: Axes, kinds: list[str], values: Grid, norm: Normalize, colours: str, title: str) -> Axes:
    """Draw one map; the axes of its colour scale."""
    edges = np.arange(values.shape[1] + 1) - 0.5, np.arange(len(kinds) + 1) - 0.5
    cells = axes.pcolormesh(*edges, np.ma.masked_invalid(values), cmap=colours, norm=norm)
    axes.invert_yaxis()
    axes.set_yticks(range(len(kinds)), kinds)
    axes.set_xlabel("block", color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _title(axes, title)
    plain_frame(axes)
    axes.grid(visible=False)
    axes.tick_params(length=0)
    bar = axes.figure.colorbar(cells, ax=axes, pad=0.015, aspect=12, extend=_ends(values, norm))
    bar.outline.set_visible(False)
    assert bar.solids is not None
    bar.solids.set(rasterized=False, edgecolor="face")  # sharp, and without white seams between its steps
    bar.ax.tick_params(colors=INK, labelsize=9)
    return bar.ax


def _ends(values: Grid, norm: Normalize) -> str:
    """At which ends of a scale there are values beyond it, in matplotlib's words."""
    below = norm.vmin is not None and bool((values < norm.vmin).any())
    above = norm.vmax is not None and bool((values > norm.vmax).any())
    return {(True, True): "both", (True, False): "min", (False, True): "max"}.get((below, above), "neither")


def _blocks(axes: Axes, found: Inspection) -> None:
    for index, (group, shares) in enumerate(found.blocks.items()):
        _line(axes, index, group, range(len(shares)), [100 * share for share in shares])
    axes.set_xlim(-0.5, len(next(iter(found.blocks.values()))) - 0.5)
    title = "Change of each block's output where answers are predicted"
    _curve(axes, "block (the last after the final norm)", "change, %", title)


def _positions(axes: Axes, found: Inspection) -> None:
    for index, (group, told) in enumerate(found.positions.items()):
        colour = _line(axes, index, group, [one.position for one in told], [one.drift for one in told])
        sure = [(one.position, *one.ci95) for one in told if one.ci95 is not None]
        if sure:
            at, low, high = zip(*sure, strict=True)
            axes.fill_between(at, low, high, color=colour, alpha=0.16, linewidth=0)
    axes.set_xlim(0.5, max(len(told) for told in found.positions.values()) + 0.5)
    _curve(axes, "token of the answer", "KL, nats", "Drift by place in the answer (band: 95% interval)")


def _line(axes: Axes, index: int, group: str, across: Sequence[int], up: Sequence[float]) -> str:
    """Draw a group's curve; its colour."""
    colour = GROUP_COLOURS[index % len(GROUP_COLOURS)]
    axes.plot(across, up, color=colour, linestyle=GROUP_LINES[index % len(GROUP_LINES)], label=group)
    return colour


def _curve(axes: Axes, across: str, up: str, title: str) -> None:
    axes.set_ylim(bottom=0)
    axes.set_xlabel(across, color=INK)
    axes.set_ylabel(up, color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _title(axes, title)
    plain_frame(axes)
    axes.legend(frameon=False, labelcolor=INK, fontsize=9.5)


def _title(axes: Axes, text: str) -> None:
    axes.set_title(text, loc="left", fontsize=10.5, fontweight="bold", color=INK)


def describe(found: Inspection) -> str:
    """The picture in words, for those who cannot see it."""
    whole = typical(in_blocks(found))
    ends = [
        f"{group} {percent(shares[0])}% after the first block and {percent(shares[-1])}% after the last"
        for group, shares in found.blocks.items()
    ]
    firsts = [f"{group} {number(told[0].drift, 3)} nats" for group, told in found.positions.items()]
    return (
        f"Maps of the update by projection and block: {percent(whole.size)}% of a weight, adding "
        f"{percent(whole.disturbance)}% to a layer's output on anchors. Change of blocks' outputs: "
        f"{'; '.join(ends)}. Drift at the first answer token: {', '.join(firsts)}."
    )
