"""The matrix of a sequence, from items told by hand to its table and its chart."""

from __future__ import annotations

import pytest

from tether.report.sequence import lines, stages
from tether.results import Item, MethodResult, Records, StudyResults, stage_result

HOTELS, FLIGHTS = "builtin:hotels", "builtin:flights"


def items(axis: str, rights: dict[str, int]) -> list[Item]:
    """Eight items a source, the first so many of them right."""
    return [
        Item(
            id=f"{number}", axis=axis, source=source, cluster=f"{source} {number}", input="", output="",
            score=float(number < right), reason="",
        )
        for source, right in rights.items()
        for number in range(8)
    ]  # fmt: skip


def records(hotels: int, flights: int, refused: int) -> Records:
    before = {
        "proficiency": items("proficiency", {HOTELS: 0, FLIGHTS: 0}),
        "safety": items("safety", {"s": 8}),
    }
    after = {
        "proficiency": items("proficiency", {HOTELS: hotels, FLIGHTS: flights}),
        "safety": items("safety", {"s": refused}),
    }
    return Records("base", before, {"0": after})


@pytest.fixture
def results() -> StudyResults:
    """LoRA learns hotels, then flights, and loses half of the hotels and of its safety meanwhile."""
    return StudyResults(
        methods={"lora": MethodResult(base="base")},
        stages=[
            stage_result(HOTELS, {"lora": records(8, 1, 8)}),
            stage_result(FLIGHTS, {"lora": records(4, 6, 4)}),
        ],
    )


def test_each_domain_has_a_column_of_its_own(results: StudyResults) -> None:
    levels = [
        [row["lora"][column].after for column in (HOTELS, FLIGHTS, "safety")]
        for row in (stage.methods for stage in results.stages)
    ]
    assert levels == [[1.0, 0.125, 1.0], [0.5, 0.75, 0.5]]
    assert "proficiency" not in results.stages[0].methods["lora"]
    assert results.stages[1].methods["lora"]["safety"].delta == -0.5


def test_the_table_goes_from_the_base_over_every_domain_and_tells_what_was_forgotten(
    results: StudyResults,
) -> None:
    table = stages(results)
    assert table.columns == ("Method", "After", "hotels (%)", "flights (%)", "Safety (%)", "Forgotten")
    cells = [row.cells for row in table.rows]
    assert cells[0] == ("lora", "nothing", "0.0", "0.0", "100.0", "–")
    assert cells[1][:2] == ("lora", "hotels") and cells[1][-1] == "–"
    assert cells[2] == ("lora", "flights", "50.0*", "75.0*", "50.0*", "+50.0")


def test_the_chart_has_a_panel_a_column_and_a_line_a_method(results: StudyResults) -> None:
    panels = [axes for axes in lines(results, {"lora": "#d55e00"}).axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in panels] == ["hotels (%)", "flights (%)", "Safety (%)"]
    heights = [list(axes.get_lines()[0].get_ydata()) for axes in panels]
    assert heights == [[0, 100, 50], [0, 12.5, 75], [100, 100, 50]]
    assert [text.get_text() for text in panels[0].get_xticklabels()] == ["base", "hotels", "flights"]
