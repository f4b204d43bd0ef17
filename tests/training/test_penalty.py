"""Penalties on the distance from the base's weights, and how much each weight matters to the anchors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from tether import bases
from tether.training.penalty import Penalty, fisher

if TYPE_CHECKING:
    from tether.anchors.anchors import AnchorSet
    from tether.bases import Base


def test_the_gradient_is_the_penaltys_own() -> None:
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    importance = {name: torch.rand_like(weight) for name, weight in model.named_parameters()}
    start = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    penalty = Penalty(model, 0.7, importance)
    for weight in model.parameters():
        weight.data += torch.randn_like(weight)
        weight.grad = torch.zeros_like(weight)
    distances = [(importance[name] * (w - start[name]) ** 2).sum() for name, w in model.named_parameters()]
    wanted = torch.autograd.grad(0.7 / 2 * torch.stack(distances).sum(), list(model.parameters()))
    penalty.on_pre_optimizer_step(None, None, None, model=model)
    for weight, gradient in zip(model.parameters(), wanted, strict=True):
        assert weight.grad is not None
        assert torch.allclose(weight.grad, gradient, atol=1e-6)


def test_what_the_anchors_do_not_use_does_not_matter(base: Base, anchors: AnchorSet) -> None:
    model = bases.load_model(base, torch.float32)
    found = fisher(model, anchors)
    everything = torch.cat([part.flatten() for part in found.values()])
    assert torch.isclose(everything.mean(), torch.tensor(1.0), atol=1e-3)
    assert all(weight.grad is None or not weight.grad.any() for weight in model.parameters())
    used = {token for one in anchors.anchors for token in (*one.prompt_ids, *one.answer_ids)}
    embedding = model.get_input_embeddings().weight
    (name,) = (name for name, weight in model.named_parameters() if weight is embedding)
    if not model.config.tie_word_embeddings:
        unused = [token for token in range(len(embedding)) if token not in used]
        assert not found[name][unused].any()
