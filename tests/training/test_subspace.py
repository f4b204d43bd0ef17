"""OSF's kept directions, and what Adam's rescaling does to them."""

from __future__ import annotations

import pytest
import torch
from peft import OSFConfig, get_peft_model

from tether.training.subspace import AfterStep


def leaked(after_step: bool, out: int, width: int) -> float:
    """The share of a few Adam steps' move of U_low that lies in the directions to be kept."""
    torch.manual_seed(0)
    layers = torch.nn.Sequential(torch.nn.Linear(width, out, bias=False))
    model = get_peft_model(layers, OSFConfig(effective_rank=4, target_modules=["0"]))
    layer = model.base_model.model[0]
    factors, first = layer.osf_svd_params["default"], layer._osf_U_low_init["default"].clone()
    kept = torch.linalg.svd(layers[0].base_layer.weight)[0][:, :4]
    optimizer, callback = torch.optim.Adam(factors.values(), lr=1e-2), AfterStep()
    for _ in range(5):
        optimizer.zero_grad()
        model(torch.randn(16, width)).pow(3).sum().backward()
        optimizer.step()
        if after_step:
            callback.on_optimizer_step(None, None, None, model=model)
    move = factors["U_low"].detach() - first
    return float((kept.T @ move).norm() / move.norm())


@pytest.mark.parametrize(("out", "width"), [(8, 8), (12, 8), (8, 12)], ids=["square", "tall", "wide"])
def test_adam_leaks_into_what_is_kept_and_after_the_step_nothing_does(out: int, width: int) -> None:
    assert leaked(after_step=False, out=out, width=width) > 0.05
    assert leaked(after_step=True, out=out, width=width) < 1e-5
