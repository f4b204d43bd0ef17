from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from tether import bases
from tether.anchors import moments as module
from tether.anchors.moments import input_moments
from tether.training.measured import group_moments
from tether.training.update import linear_layers

if TYPE_CHECKING:
    from tether.anchors.anchors import AnchorSet
    from tether.bases import Base


@pytest.mark.parametrize("share", [0.3, 0.5])
def test_a_share_of_an_anchor_groups_moments_is_of_where_its_answers_begin(
    base: Base, anchors: AnchorSet, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    monkeypatch.setattr(module, "MASSIVE", 1e9)  # nothing is scaled down
    model = bases.load_model(base, torch.float32)
    chosen = [anchors.anchors[index] for index in anchors.indices("safety", "train")]
    # The last token of a prompt tells the first one of its answer.
    rows = [[*anchor.prompt_ids, *anchor.answer_ids[:4]] for anchor in chosen]
    weights = [
        [
            float(0 <= at + 1 - len(anchor.prompt_ids) < min(5, len(anchor.answer_ids)))
            for at in range(len(row))
        ]
        for anchor, row in zip(chosen, rows, strict=True)
    ]
    first = input_moments(model, linear_layers(model), rows, "", weights)
    even, found = (group_moments(model, anchors, "safety", by) for by in (0.0, share))
    for name in ("model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj"):
        wanted = (1 - share) * even[name] + share * first[name]
        assert torch.allclose(found[name], wanted, atol=1e-5 * float(wanted.trace()))
        assert not torch.allclose(found[name], even[name], atol=1e-3 * float(wanted.trace()))
