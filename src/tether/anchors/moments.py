"""Second moments of what goes into each layer: which input directions a set of texts lives in.

For a linear layer with inputs x, C = E[x x^T]. An update dW disturbs the layer's outputs on those texts by
tr(dW C dW^T) in the mean square, which is how methods that keep to a null space (Adam-NSCL, arXiv:2103.07113;
LoRA-Null, arXiv:2503.02659) and editors (AlphaEdit, arXiv:2410.02355) tell old knowledge from free room.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.utils.rnn import pad_sequence

from tether.anchors import sketch
from tether.attention import grouped
from tether.passes import pass_sizes
from tether.progress import task
from tether.reading import Opening, batches_by_length, pad, shared_length

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from transformers import PreTrainedModel

Moments = dict[str, torch.Tensor]
"""By layer: (width, width) float32, or of a wide layer a sketch (anchors/sketch.py)."""

# A first token's activations are thousands of times the others' (massive activations, arXiv:2402.17762).
# They must count, for all later tokens attend to it, but not drown the rest in float32's rounding.
MASSIVE = 1000.0
BLOCK = 256  # columns at a time: half of a symmetric matrix is a third less work so, on one core


@torch.no_grad()
def input_moments(
    model: PreTrainedModel,
    layers: Mapping[str, torch.nn.Module],
    rows: Sequence[Sequence[int]],
    label: str,
    weights: Sequence[Sequence[float]] = (),
) -> Moments:
    """Mean x x^T over the tokens of some texts.

    Args:
        model: The model that reads them.
        layers: The layers whose inputs are wanted, modules of ``model`` that take them as first argument.
        rows: Token ids of each text.
        label: Of the progress bar.
        weights: How much each token of each text counts, from 0; all alike where it is empty.

    Returns:
        One moment a layer that took part; layers that share an input share its tensor.
    """
    counts = [torch.tensor(one) for one in weights] or [torch.ones(len(row)) for row in rows]
    with grouped(model), gathering(layers) as gatherer, task(label, len(rows)) as progress:
        # What all begin with is read once, and counts as often as it stands there.
        shared = shared_length(rows)
        gatherer.weights = torch.stack([one[:shared] for one in counts]).sum(0, keepdim=True)
        opening = Opening(model, rows)
        own = [row[opening.length :] for row in rows]
        for batch in batches_by_length([len(row) for row in own], pass_sizes(model.device)):
            counted = [counts[index][opening.length :] for index in batch]
            gatherer.weights = pad_sequence(counted, batch_first=True)
            opening.states(*pad([own[index] for index in batch], 0))
            progress.advance(len(batch))
    return gatherer.moments()


@contextmanager
def gathering(layers: Mapping[str, torch.nn.Module]) -> Iterator[Gatherer]:
    """Sum what these layers are given while the `with` block runs them."""
    gatherer = Gatherer()
    handles = [layer.register_forward_pre_hook(gatherer.hook(name)) for name, layer in layers.items()]
    try:
        yield gatherer
    finally:
        for handle in handles:
            handle.remove()


class Gatherer:
    """Sums moments batch by batch; an input that several layers are given in turn is summed once.

    Attributes:
        weights: (rows, length) float32, how much each position of a batch counts, padding nothing; None: all
            alike.
    """

    def __init__(self) -> None:
        self.weights: torch.Tensor | None = None
        self._totals: Moments = {}
        self._counts: defaultdict[str, float] = defaultdict(float)
        self._owners: dict[str, str] = {}
        self._last: tuple[torch.Tensor | None, str] = (None, "")

    def moments(self) -> Moments:
        """The means of all that was summed, once and in its place; layers that share an input share one."""
        means = {name: _whole(total).div_(self._counts[name]) for name, total in self._totals.items()}
        return {name: means[owner] for name, owner in self._owners.items()}

    def hook(self, name: str) -> Callable[[torch.nn.Module, tuple[Any, ...]], None]:
        """What a layer must be given as forward pre-hook, for its input to be summed under this name."""

        def gather(layer: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
            last, owner = self._last
            if inputs[0] is last:
                self._owners[name] = owner
                return
            self._last = (inputs[0], name)
            self._owners[name] = name
            found, weights = self._counted(inputs[0])
            self._counts[name] += float(weights.sum())
            if name not in self._totals:
                self._totals[name] = sketch.blank(found.shape[1], found.device)
            _add_moment(self._totals[name], found, weights)

        return gather

    def _counted(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What counts, (vectors, width) float32, and how much; of what a router has picked, all alike."""
        vectors = inputs.flatten(0, -2).float()
        if self.weights is None or self.weights.numel() != len(vectors):
            return vectors, vectors.new_ones(len(vectors))
        weights = self.weights.flatten().to(inputs.device)
        return vectors[weights > 0], weights[weights > 0]


def _add_moment(total: torch.Tensor, inputs: torch.Tensor, weights: torch.Tensor) -> None:
    """Add the weighted sum of x x^T over (tokens, width) inputs, those of massive energy scaled down.

    Of what is symmetric only that which lies on and above the diagonal's blocks: ``_whole`` adds the rest. In
    place, for all layers' moments together are larger than the model.
    """
    energy = inputs.square().sum(1, keepdim=True)
    scale = (MASSIVE * energy.median() / energy).clamp(max=1).nan_to_num(1.0)
    capped = inputs * (scale * weights[:, None]).sqrt()
    if sketch.is_sketch(total):
        sketch.add(total, capped)
        return
    for start in range(0, len(total), BLOCK):
        rows = slice(start, start + BLOCK)
        total[rows, start:].addmm_(capped[:, rows].T, capped[:, start:])


def _whole(total: torch.Tensor) -> torch.Tensor:
    """What `_add_moment` left out is as what it summed."""
    return total if sketch.is_sketch(total) else total.triu_().add_(total.triu(1).T)
