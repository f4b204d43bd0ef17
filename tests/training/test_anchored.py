from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from tether.training.anchored import gradient_no_longer

NUMBERS = st.lists(st.floats(-100, 100, width=32), min_size=6, max_size=6).map(torch.tensor)


class Two(torch.nn.Module):
    """Two weights, and one that takes no part."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Parameter(torch.zeros(2, 2))
        self.second = torch.nn.Parameter(torch.zeros(2))
        self.idle = torch.nn.Parameter(torch.zeros(3))

    def pulled(self, by: torch.Tensor) -> torch.Tensor:
        """A loss whose gradient is ``by``."""
        return (self.first.flatten() * by[:4]).sum() + (self.second * by[4:]).sum()

    @property
    def gradient(self) -> torch.Tensor:
        assert self.first.grad is not None and self.second.grad is not None and self.idle.grad is None
        return torch.cat([self.first.grad.flatten(), self.second.grad])


def with_look(domain: torch.Tensor, looks: list[torch.Tensor]) -> torch.Tensor:
    """The gradient of a domain's loss and of what looks add to it."""
    model = Two()
    model.pulled(domain).backward()
    with gradient_no_longer(model):
        for look in looks:
            model.pulled(look).backward()
    return model.gradient


@given(NUMBERS, st.lists(NUMBERS, max_size=3))
def test_a_look_turns_the_gradient_and_does_not_lengthen_it(
    domain: torch.Tensor, looks: list[torch.Tensor]
) -> None:
    found, whole = with_look(domain, looks), domain + sum(looks, torch.zeros(6))
    assert found.norm() <= domain.norm() * (1 + 1e-5)
    torch.testing.assert_close(found * whole.norm(), whole * found.norm(), rtol=1e-3, atol=1e-3)


def test_a_look_that_shortens_the_gradient_is_left_alone() -> None:
    domain, look = torch.full((6,), 2.0), torch.full((6,), -0.5)
    torch.testing.assert_close(with_look(domain, [look]), domain + look)
