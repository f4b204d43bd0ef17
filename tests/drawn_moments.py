"""Second moments for tests, and sketches of them as a wide layer's are kept."""

from __future__ import annotations

import torch

from tether.anchors.sketch import directions


def drawn_moment(width: int, rank: int, seed: int) -> torch.Tensor:
    """Of so many random inputs, (width, width) float32."""
    inputs = torch.randn(rank, width, generator=torch.Generator().manual_seed(seed))
    return inputs.T @ inputs / rank


def sketched(moment: torch.Tensor, columns: int = 16) -> torch.Tensor:
    """The sketch that would have been kept of a moment."""
    shown = moment @ directions(len(moment), columns, moment.device)
    return torch.cat([shown, moment.diagonal()[:, None]], dim=1)
