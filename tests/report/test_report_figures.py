from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from matplotlib.patches import Rectangle
from matplotlib.text import Annotation

from tether.report.drawing import inline
from tether.report.figures import describe, figures
from tether.report.words import change
from tether.results import MethodResult, StudyResults, Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_bars_are_as_long_as_the_scores(results: StudyResults) -> None:
    drawn = figures(results)
    for axis in ("proficiency", "safety", "knowledge", "knowledge_gain"):
        axes = drawn[axis].axes[0]
        rows = [method.summary[axis] for method in results.methods.values() if axis in method.summary]
        by = 100 if rows[0].unit == "share" else 1
        lengths = [patch.get_width() for patch in axes.patches if isinstance(patch, Rectangle)]
        assert lengths[0::2] == pytest.approx([by * (row.before or 0) for row in rows])
        assert lengths[1::2] == pytest.approx([by * (row.after or 0) for row in rows])


def test_the_net_change_is_printed_and_whiskers_are_the_interval(results: StudyResults) -> None:
    axes = figures(results)["safety"].axes[0]
    rows = [method.summary["safety"] for method in results.methods.values()]
    assert texts(axes) == [change(row.delta, "share") for row in rows]
    for line, row in zip(axes.lines[0::2], rows, strict=True):
        assert row.ci95 is not None
        assert row.before is not None
        assert np.asarray(line.get_xdata()).tolist() == pytest.approx(
            [100 * (row.before + end) for end in row.ci95]
        )


def test_methods_without_the_axis_have_no_bar(results: StudyResults) -> None:
    names = [label.get_text() for label in figures(results)["knowledge"].axes[0].get_yticklabels()]
    assert names == [name for name in results.methods if name != "openai"]


def test_the_scatter_shows_each_method_once_per_panel(results: StudyResults) -> None:
    safety, knowledge = figures(results)["trade-off"].axes
    assert sorted(texts(safety)) == sorted(results.methods)
    assert sorted(texts(knowledge)) == sorted(set(results.methods) - {"openai"})
    where = {text.get_text(): text.xy for text in safety.texts if isinstance(text, Annotation)}
    tether = results.methods["tether"].summary
    expected = (100 * (tether["proficiency"].delta or 0), 100 * (tether["safety"].delta or 0))
    assert where["tether"] == pytest.approx(expected)


def test_a_method_named_in_markup_stays_text() -> None:
    summary = Summary(before=0.5, after=0.4, delta=-0.1, ci95=None, n=9)
    results = StudyResults(methods={"<script>$x$": MethodResult(base="b", summary={"safety": summary})})
    drawn = figures(results)
    assert set(drawn) == {"safety"}
    svg = inline(drawn["safety"])
    assert "<script" not in svg
    assert "&lt;script&gt;" in svg
    assert "<script>$x$ 50.0 to 40.0 (−10.0)" in describe("safety", results)


def test_inlined_charts_take_the_pages_ink_and_name_no_address(results: StudyResults) -> None:
    svg = inline(figures(results)["safety"])
    assert svg.startswith("<svg")
    assert "currentColor" in svg
    assert "http" not in svg
    assert ">lora-mlp</text>" in svg


def test_names_of_many_methods_do_not_overlap() -> None:
    def changed(delta: float) -> Summary:
        return Summary(before=0.5, after=0.5 + delta, delta=delta, ci95=(delta - 0.1, delta + 0.1), n=9)

    methods = {
        f"m{n}": MethodResult(base="b", summary={"proficiency": changed(0.3), "safety": changed(-0.001 * n)})
        for n in range(22)
    }
    figure = figures(StudyResults(methods=methods))["trade-off"]
    inline(figure)  # lays it out
    axes = figure.axes[0]
    names = [text for text in axes.texts if isinstance(text, Annotation)]
    heights = sorted(axes.transData.transform((0, text.xyann[1]))[1] for text in names)
    assert min(b - a for a, b in zip(heights, heights[1:], strict=False)) >= 9 * figure.dpi / 72
