"""An inspection as tables, for the page and the terminal alike, and as the sentences above them."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table as Screen

from tether.inspection.energy import typical
from tether.inspection.inspect import SPLIT
from tether.inspection.traces import FEWEST
from tether.report.tables import Row, Table
from tether.report.words import MISSING, number

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tether.inspection.energy import Place, Typical
    from tether.inspection.inspect import Inspection
    from tether.inspection.traces import Position

SCREEN_WIDTH = 100
ENERGY_COLUMNS = ("Update, %", "Layers' outputs, %", "Alignment")
ENERGY_NOTE = (
    "Update: its Frobenius norm in % of the weights'. Layers' outputs: how far the update alone moves what "
    "these layers put out on anchors, in % (root mean square, on the base's own inputs). Alignment: that, "
    "over what an update of the same norm spread evenly over all input directions would do; below 1 it "
    "spares what anchors use. Each layer counts alike (root mean square)."
)


def sentences(found: Inspection) -> list[str]:
    """What matters first, in words."""
    seen = in_blocks(found)
    told = [_whole(typical(seen)), *_strongest(seen)]
    for group, drift in found.drift.items():
        first = found.positions[group][0].drift
        told.append(
            f"Drift on {group}: {number(drift.drift, 3)} nats per answer token, "
            f"{number(first, 3)} at the first."
        )
    return told


def _whole(seen: Typical) -> str:
    if seen.alignment is None:
        return "Nothing has changed in the layers that anchors pass through."
    return (
        f"The update is {percent(seen.size)}% of a weight that it touches (root mean square over layers). "
        f"On anchors it moves a layer's output by {percent(seen.disturbance)}%, {number(seen.alignment, 2)} "
        "times as far as an update of its size that knows nothing of them."
    )


def _strongest(places: Sequence[Place]) -> list[str]:
    moved = [one for one in places if one.energy.added > 0]
    if not moved:
        return []
    first = max(moved, key=lambda one: one.energy.disturbance or 0.0)
    by = percent(first.energy.disturbance)
    return [f"Most of all it moves {first.projection} of block {first.block}: by {by}%."]


def tables(found: Inspection) -> list[Table]:
    """Every table of the page, in order; some may be without rows."""
    return [by_group(found), by_projection(found), by_block(found), elsewhere(found), by_position(found)]


def inspection_text(found: Inspection) -> str:
    """The tables of the terminal."""
    written = io.StringIO()
    screen = Console(file=written, width=SCREEN_WIDTH)
    for table in (by_block(found), by_projection(found), by_group(found)):
        screen.print(_screen(table))
    for sentence in sentences(found):
        screen.print(sentence, highlight=False, markup=False)
    return written.getvalue().rstrip()


def _screen(table: Table) -> Screen:
    shown = Screen(title=table.title, title_justify="left")
    for place, column in enumerate(table.columns):
        shown.add_column(column, justify="left" if place < table.texts else "right")
    for row in table.rows:
        shown.add_row(*row.cells)
    return shown


def in_blocks(found: Inspection) -> list[Place]:
    """The weights within decoder blocks whose inputs on anchors were seen."""
    return [one for one in found.places if one.block is not None and one.energy.given > 0]


def by_group(found: Inspection) -> Table:
    """Drift of each anchor group."""
    rows = [
        (
            group,
            number(drift.drift, 4),
            number(drift.upper95, 4),
            number(found.positions[group][0].drift, 4),
            number(drift.first5, 4),
            str(drift.prompts),
            str(drift.tokens),
        )
        for group, drift in found.drift.items()
    ]
    return Table(
        "Drift",
        f"KL(base || tuned) in nats per token of the base's own answers, anchors' {SPLIT} split; the upper "
        "end of the 95% interval is by bootstrap over prompts.",
        ("Anchors", "Mean", "Upper 95%", "First token", "First five", "Prompts", "Tokens"),
        _rows(rows),
    )


def by_projection(found: Inspection) -> Table:
    """All blocks' weights of one kind together."""
    seen = in_blocks(found)
    rows = [
        (kind, *_energies(one for one in seen if one.projection == kind))
        for kind in dict.fromkeys(one.projection for one in seen)
    ]
    return Table("By projection", ENERGY_NOTE, ("Projection", *ENERGY_COLUMNS), _rows(rows))


def by_block(found: Inspection) -> Table:
    """Each block's weights together, and what has become of its output by then."""
    seen = in_blocks(found)
    groups = list(found.blocks)
    rows = [
        (
            str(block),
            *_energies(one for one in seen if one.block == block),
            *(percent(found.blocks[group][block]) for group in groups),
        )
        for block in range(len(found.blocks[groups[0]]))
    ]
    return Table(
        "By block",
        "As above; and the change of the block's own output where answers are predicted, all blocks before "
        "it being changed too, in % of its norm (root mean square over tokens). Block 0 is the first.",
        ("Block", *ENERGY_COLUMNS, *(f"Output, {group}, %" for group in groups)),
        _rows(rows),
    )


def elsewhere(found: Inspection) -> Table:
    """Weights that have no inputs on anchors to be measured on: embeddings, norms, the head."""
    inside = {one.name for one in in_blocks(found)}
    rest = [one for one in found.places if one.name not in inside]
    rows = [
        (kind, percent(typical(one for one in rest if one.projection == kind).size))
        for kind in dict.fromkeys(one.projection for one in rest)
    ]
    return Table("Other weights", "Sizes as above.", ("Weights", ENERGY_COLUMNS[0]), _rows(rows))


def by_position(found: Inspection) -> Table:
    """Drift at each of the first answer tokens."""
    longest = max(found.positions.values(), key=len)
    rows = [
        (str(place + 1), *(cell for told in found.positions.values() for cell in _position(told, place)))
        for place in range(len(longest))
    ]
    columns = [column for group in found.positions for column in (group, "95% interval", "Answers")]
    return Table(
        "Drift by place in the answer",
        "KL(base || tuned) in nats at the first, second ... token of the base's answers; intervals by "
        f"bootstrap over prompts. A group ends where fewer than {FEWEST} answers go on.",
        ("Token", *columns),
        _rows(rows),
    )


def _position(told: Sequence[Position], place: int) -> tuple[str, str, str]:
    if place >= len(told):
        return MISSING, MISSING, MISSING
    one = told[place]
    ends = MISSING if one.ci95 is None else f"{number(one.ci95[0], 3)} to {number(one.ci95[1], 3)}"
    return number(one.drift, 3), ends, str(one.prompts)


def _energies(places: Iterable[Place]) -> tuple[str, str, str]:
    shown = typical(places)
    return percent(shown.size), percent(shown.disturbance), number(shown.alignment, 2)


def percent(share: float | None) -> str:
    """A share in percent with two decimals; a dash where there is none."""
    return number(None if share is None else 100 * share, 2)


def _rows(cells: Iterable[tuple[str, ...]]) -> tuple[Row, ...]:
    return tuple(Row(row) for row in cells)
