"""A step's gradient in parts: what is added to the first may be no longer than a share of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn.utils import get_total_norm

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    import torch


class Gradients:
    """Collects a model's gradients, backward pass by backward pass; on leaving they are the model's again.

    Args:
        model: Has the gradient of the first pass.
        longest: Share of the first gradient's norm that any later one is cut to, over all weights together.
    """

    def __init__(self, model: torch.nn.Module, longest: float) -> None:
        self._weights = [weight for weight in model.parameters() if weight.requires_grad]
        self._sum = self._taken()
        self._longest = longest * self._norm(self._sum)

    def add(self) -> None:
        """Take what a backward pass has left, cut it, add it."""
        gradient = self._taken()
        share = min(1.0, self._longest / max(self._norm(gradient), 1e-12))
        for place, one in enumerate(gradient):
            if one is not None:
                before = self._sum[place]
                self._sum[place] = one.mul_(share) if before is None else before.add_(one, alpha=share)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        for weight, gradient in zip(self._weights, self._sum, strict=True):
            weight.grad = gradient

    def _taken(self) -> list[torch.Tensor | None]:
        """The weights' gradients, taken from them."""
        gradients = [weight.grad for weight in self._weights]
        for weight in self._weights:
            weight.grad = None
        return gradients

    @staticmethod
    def _norm(gradients: list[torch.Tensor | None]) -> float:
        return float(get_total_norm([one for one in gradients if one is not None]))
