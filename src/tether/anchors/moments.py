"""Second moments of what goes into each layer: which input directions a set of texts lives in.

For a linear layer with inputs x, C = E[x x^T]. An update dW disturbs the layer's outputs on those texts by
tr(dW C dW^T) in the mean square, which is how methods that keep to a null space (Adam-NSCL, arXiv:2103.07113;
LoRA-Null, arXiv:2503.02659) and editors (AlphaEdit, arXiv:2410.02355) tell old knowledge from free room.
"""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from tether.anchors import sketch
from tether.attention import grouped
from tether.passes import pass_sizes
from tether.progress import task
from tether.reading import Opening, batches_by_length, pad

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
    passed_over: Sequence[int] = (),
) -> Moments:
    """Mean x x^T over the tokens of some texts.

    Args:
        model: The model that reads them.
        layers: The layers whose inputs are wanted, modules of ``model`` that take them as first argument.
        rows: Token ids of each text.
        label: Of the progress bar.
        passed_over: How many first tokens of each text are read but do not count; none where it is empty.

    Returns:
        One moment a layer that took part; layers that share an input share its tensor.
    """
    starts = passed_over or [0] * len(rows)
    with grouped(model):
        opening = Opening(model, rows, longest=min(starts))  # before anything is gathered
        own = [row[opening.length :] for row in rows]
        with gathering(layers) as gatherer, task(label, len(rows)) as progress:
            for batch in batches_by_length([len(row) for row in own], pass_sizes(model.device)):
                ids, there = pad([own[index] for index in batch], 0)
                first = torch.tensor([[starts[index] - opening.length] for index in batch])
                gatherer.real = (there.bool() & (torch.arange(ids.shape[1]) >= first)).to(model.device)
                opening.states(ids, there)
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
        real: (rows, length) booleans, which positions of a batch are no padding; None: all are real.
    """

    def __init__(self) -> None:
        self.real: torch.Tensor | None = None
        self._totals: Moments = {}
        self._counts: Counter[str] = Counter()
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
            found = self._real_of(inputs[0]).float()
            self._counts[name] += len(found)
            if name not in self._totals:
                self._totals[name] = sketch.blank(found.shape[1], found.device)
            _add_moment(self._totals[name], found)

        return gather

    def _real_of(self, inputs: torch.Tensor) -> torch.Tensor:
        """(vectors, width); of tokens that a router has picked, whose places are not known, all."""
        vectors = inputs.flatten(0, -2)
        if self.real is None or self.real.numel() != len(vectors):
            return vectors
        return vectors[self.real.flatten().to(inputs.device)]


def _add_moment(total: torch.Tensor, inputs: torch.Tensor) -> None:
    """Add the sum of x x^T over (tokens, width) inputs, those of massive energy scaled down.

    Of what is symmetric only that which lies on and above the diagonal's blocks: ``_whole`` adds the rest. In
    place, for all layers' moments together are larger than the model.
    """
    energy = inputs.square().sum(1, keepdim=True)
    capped = inputs * (MASSIVE * energy.median() / energy).clamp(max=1).nan_to_num(1.0).sqrt()
    if sketch.is_sketch(total):
        sketch.add(total, capped)
        return
    for start in range(0, len(total), BLOCK):
        rows = slice(start, start + BLOCK)
        total[rows, start:].addmm_(capped[:, rows].T, capped[:, start:])


def _whole(total: torch.Tensor) -> torch.Tensor:
    """What `_add_moment` left out is as what it summed."""
    return total if sketch.is_sketch(total) else total.triu_().add_(total.triu(1).T)
