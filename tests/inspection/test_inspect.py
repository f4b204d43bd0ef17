"""The whole inspection of the tiny base, as the command does it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from peft import LoraConfig, get_peft_model

from tether import bases, stages
from tether.anchors.reference import Reference
from tether.inspection import traces
from tether.inspection.figure import figure, grid
from tether.inspection.inspect import SHOWN, inspect
from tether.inspection.page import write_page
from tether.inspection.tables import by_projection, elsewhere, inspection_text
from tether.inspection.traces import FEWEST, POSITIONS, Trace, block_changes, by_position
from tether.report.drawing import inline

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tether.anchors.anchors import AnchorSet
    from tether.bases import Base

pytestmark = pytest.mark.usefixtures("anchors")

ALL = "layers"


def test_an_adapter_that_does_nothing_shows_nothing(
    base: Base, adapted: Callable[[str], Path], tmp_path: Path
) -> None:
    found = inspect(base, adapted(""))
    assert {one.energy.size for one in found.places} == {0.0}
    assert {one.energy.disturbance for one in found.places} == {0.0}
    assert found.blocks == dict.fromkeys(("general", "safety", "text"), [0.0, 0.0])
    assert {one.drift for told in found.positions.values() for one in told} == {0.0}
    page = write_page(found, found.record(), tmp_path / "page")
    assert "Nothing has changed" in page.read_text()
    assert "Nothing has changed" in inspection_text(found)


def test_an_adapter_of_the_head_alone_has_curves_and_no_maps(base: Base, tmp_path: Path) -> None:
    model = get_peft_model(bases.load_model(base), LoraConfig(r=2, target_modules=["lm_head"]))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    model.save_pretrained(str(tmp_path), save_embedding_layers=False)
    found = inspect(base, tmp_path)
    assert [(row.cells[0], row.cells[1] > "0") for row in elsewhere(found).rows] == [("lm_head", True)]
    assert found.blocks["general"] == [0, 0]
    assert found.drift["general"].drift > 0
    assert len(figure(found).axes) == 2


def test_an_update_of_one_layer_shows_up_there(base: Base, adapted: Callable[[str], Path]) -> None:
    found = inspect(base, adapted("layers.1.mlp.down_proj"))
    changed = [one for one in found.places if one.energy.size]
    assert [(one.block, one.projection) for one in changed] == [(1, "down")]
    assert changed[0].energy.disturbance
    for first, last in found.blocks.values():
        assert first == 0
        assert last > 0


def test_drift_by_position_adds_up_to_the_certificates(
    base: Base, adapted: Callable[[str], Path], anchors: AnchorSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traces, "FEWEST", 1)
    folder = adapted(ALL)
    found = inspect(base, folder)
    reference = Reference(anchors).ask(bases.load_model(base))
    model = bases.put_lora(bases.load_model(base), folder)
    for group, told in found.positions.items():
        tokens = sum(one.prompts for one in told)
        assert tokens == found.drift[group].tokens, "the tiny base's answers end before POSITIONS"
        mean = sum(one.drift * one.prompts for one in told) / tokens
        assert mean == pytest.approx(found.drift[group].drift, rel=1e-5)
        # The certificate reads what all prompts begin with once: bfloat16 is rounded otherwise.
        assert mean == pytest.approx(reference.drift(model, group, "certify").drift, rel=5e-3)


def test_a_whole_model_is_inspected_as_its_adapter_is(
    base: Base, adapted: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = adapted(ALL)
    bases.load_tuned(base, folder).save_pretrained(tmp_path / "whole")
    lora, whole = inspect(base, folder), inspect(base, tmp_path / "whole")
    sizes = {one.name: one.energy for one in whole.places}
    for one in lora.places:
        assert sizes[one.name].size == pytest.approx(one.energy.size, rel=0.02), "but for bfloat16's rounding"
        assert sizes[one.name].disturbance == pytest.approx(one.energy.disturbance, rel=0.02)
    assert [row.cells[1] for row in elsewhere(whole).rows] == ["0.00"] * len(elsewhere(whole).rows)
    assert elsewhere(lora).rows == ()
    assert whole.drift["general"].drift == pytest.approx(lora.drift["general"].drift, rel=0.1)


def test_positions_end_where_few_answers_go_on() -> None:
    def trace(tokens: int, drift: float) -> Trace:
        return Trace(torch.full((tokens,), drift), torch.zeros(tokens, 2))

    told = by_position([*[trace(2, 0.1)] * FEWEST, *[trace(POSITIONS + 8, 0.3)] * FEWEST])
    assert len(told) == POSITIONS
    assert (told[0].prompts, told[-1].prompts) == (2 * FEWEST, FEWEST)
    assert told[0].drift == pytest.approx(0.2)
    assert told[0].ci95 is not None
    assert told[0].ci95[0] < 0.2 < told[0].ci95[1]
    assert len(by_position([*[trace(2, 0.1)] * FEWEST, *[trace(9, 0.3)] * (FEWEST - 1)])) == 2


def test_a_blocks_change_is_a_root_mean_square_over_tokens() -> None:
    short, long = torch.tensor([[0.09, 1.0]]), torch.tensor([[0.0, 1.0]] * 8)
    found = block_changes([Trace(short[:, 0], short), Trace(long[:, 0], long)])
    assert found == pytest.approx([0.1, 1.0])


def test_the_command_leaves_record_picture_and_page(
    base: Base, adapted: Callable[[str], Path], tmp_path: Path
) -> None:
    out = tmp_path / "deep" / "out"
    done = stages.inspect(base.name, adapted(ALL), out)
    names = {"inspect.json", "inspect.html", "inspect.png", "inspect.svg"}
    assert {file.name for file in out.iterdir()} == names
    told = json.loads((out / "inspect.json").read_text())
    assert told == json.loads(json.dumps(done.record))
    assert {"base", "revision", "tuned", "layers", "blocks", "drift", "positions", "moved"} <= told.keys()
    assert {"name", "block", "projection", "size", "disturbance", "alignment"} <= told["layers"][0].keys()
    assert done.text.endswith(f"Page: {out / 'inspect.html'}")
    page = (out / "inspect.html").read_text()
    assert page.count("<details") == len(told["moved"]) == 3 * SHOWN
    assert "http:" not in page
    assert "https:" not in page


def test_what_models_said_is_shown_and_not_run(
    base: Base, adapted: Callable[[str], Path], tmp_path: Path
) -> None:
    found = inspect(base, adapted(ALL))
    said = replace(found.moved[0], before="<script>1</script>", after="<img src=x>")
    page = write_page(replace(found, moved=[said]), found.record(), tmp_path).read_text()
    assert "<script" not in page
    assert "<img" not in page
    assert "&lt;script&gt;1&lt;/script&gt;" in page


def test_the_maps_hold_what_was_measured(base: Base, adapted: Callable[[str], Path]) -> None:
    found = inspect(base, adapted("layers.1.mlp.down_proj"))
    kinds = [row.cells[0] for row in by_projection(found).rows]
    assert kinds == ["q", "k", "v", "o", "gate", "up", "down"]
    drawn = figure(found)
    sizes = grid(found, kinds, lambda cell: cell.size)
    assert sizes.shape == (7, 2)
    assert (sizes > 0).sum() == 1
    shown = drawn.axes[0].collections[0].get_array()
    assert shown is not None
    assert shown[6, 1] == pytest.approx(100 * sizes[6, 1])
    svg = inline(drawn)
    assert svg.startswith("<svg")
    assert "<image" not in svg, "maps are drawn as shapes, which stay sharp"
