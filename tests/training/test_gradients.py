from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from tether.training.gradients import Gradients

NUMBERS = st.lists(st.floats(-100, 100, width=32), min_size=6, max_size=6).map(torch.tensor)


class Two(torch.nn.Module):
    """Two weights, one that takes no part, and one that is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Parameter(torch.zeros(2, 2))
        self.second = torch.nn.Parameter(torch.zeros(2))
        self.idle = torch.nn.Parameter(torch.zeros(3))
        self.frozen = torch.nn.Parameter(torch.zeros(3), requires_grad=False)

    def pulled(self, by: torch.Tensor) -> torch.Tensor:
        """A loss whose gradient is ``by``."""
        return (self.first.flatten() * by[:4]).sum() + (self.second * by[4:]).sum()

    @property
    def gradient(self) -> torch.Tensor:
        assert self.first.grad is not None and self.second.grad is not None and self.idle.grad is None
        return torch.cat([self.first.grad.flatten(), self.second.grad])


def collected(domain: torch.Tensor, looks: list[torch.Tensor], longest: float) -> torch.Tensor:
    """The gradient of a domain's loss and of what looks add to it."""
    model = Two()
    model.pulled(domain).backward()
    with Gradients(model, longest) as gradients:
        for look in looks:
            model.pulled(look).backward()
            gradients.add()
    return model.gradient


@given(NUMBERS, st.lists(NUMBERS, max_size=3), st.floats(0, 2))
def test_each_look_adds_its_direction_and_no_more_than_its_share(
    domain: torch.Tensor, looks: list[torch.Tensor], longest: float
) -> None:
    def cut(look: torch.Tensor) -> torch.Tensor:
        return look * min(1.0, float(longest * domain.norm() / max(look.norm(), torch.tensor(1e-12))))

    expected = domain + sum(map(cut, looks), torch.zeros(6))
    torch.testing.assert_close(collected(domain, looks, longest), expected, rtol=1e-3, atol=1e-3)


def test_without_a_share_looks_are_added_as_they_are() -> None:
    domain, look = torch.ones(6), torch.full((6,), 50.0)
    torch.testing.assert_close(collected(domain, [look, look], math.inf), domain + 2 * look)
