"""Rewind: fine-tuning overshoots, so choose how much of the update to keep.

Scaled to 0.4, an orthogonal update gained on both the task and general knowledge (PEFT-Arena,
arXiv:2605.28819); the domain loss is flat where the drift is steep. It is flatter still along the path taken
here: the pull of training/geometry.py gives up first what the anchors' directions carry, and only where the
strongest pull does not do is the rest scaled down. The first place on the path whose drift surely fits the
budget is found by halving; of a few scales there, the one with the least domain loss on dialogues kept aside
is taken. What the domain loss is, its caller says: of dialogues, or of a trainer's own rows. So with drift:
nats per token on the select split (`select_drift`), or how far a denoiser's outputs moved.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from tether.anchors.drift import GroupDrift, cached_drifts, summarise
from tether.progress import say
from tether.training.update import as_it_is

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from transformers import PreTrainedModel

    from tether.anchors.anchors import AnchorSet
    from tether.chatdata.chats import Chat
    from tether.chatdata.rendering import Renderer
    from tether.inference import LocalModel
    from tether.training.geometry import Geometry
    from tether.training.update import Shape, Update

SELECT_TOKENS = 12_000  # of what is kept aside, to judge a scale on
SHARES = (1.0, 0.85, 0.7)  # of the place that fits, to be judged by domain loss
LEAST_PULL, MOST_PULL = 0.01, 100.0
PULLED = 0.75  # of the path is the pull's, the rest the scale's
HALVINGS = 6
# Certify's prompts are others than select's, and drift is skewed: with this many half intervals, nine in ten
# of what just fits here fit there (at the shipped anchors' numbers; simulated in the tests).
CAUTION = 2.4


@dataclass(frozen=True)
class Point:
    """One scale that was looked at.

    Attributes:
        alpha: Share of the update.
        pull: Of the geometry, before the share is taken.
        drift: By group on the select split.
        fits: Whether it surely fits the budget.
        loss: Domain loss, where judged.
    """

    alpha: float
    pull: float
    drift: dict[str, GroupDrift]
    fits: bool
    loss: float | None = None


@dataclass(frozen=True)
class Choice:
    """The scale taken, and every scale looked at."""

    alpha: float
    pull: float
    curve: list[Point]

    def record(self) -> dict[str, Any]:
        """For the run's record."""
        return asdict(self)


WHOLE = Choice(1.0, 0.0, [])
"""What is kept where nothing is rewound."""


class Rewind:
    """Chooses how much of an update to keep, and keeps it.

    Args:
        update: What training changed.
        domain_loss: Measures the model as it stands on what was kept aside from training.
        drift: Measures the model as it stands on every group of anchors, on their select split.
        epsilons: Budget by group, in the drift's unit.
        geometry: Of the base's inputs, for the pull; without it, the path is the plain scale alone.
    """

    def __init__(
        self,
        update: Update,
        domain_loss: Callable[[], float],
        drift: Callable[[], dict[str, GroupDrift]],
        epsilons: dict[str, float],
        geometry: Geometry | None,
    ) -> None:
        self.update, self.epsilons = update, epsilons
        self._domain_loss, self._drift, self._geometry = domain_loss, drift, geometry

    def __call__(self) -> Choice:
        """Find the scale and make the scaled update the update."""
        curve = [self._point(1.0, 0.0)]
        if curve[0].fits:
            alpha, pull = 1.0, 0.0
        else:
            alpha, pull = self._first_that_fits(curve)
        judged = self._judged(curve, alpha, pull)
        best = min(judged, key=lambda point: float("inf") if point.loss is None else point.loss)
        self.update.keep(best.alpha, self._shape(best.pull))
        losses = ", ".join(f"{point.alpha:.2f} (loss {point.loss:.3f})" for point in judged)
        say(f"Rewind: at a pull of {pull:.3g}, of scales {losses}, {best.alpha:.2f} is best")
        looked_at = {(point.alpha, point.pull): point for point in [*curve, *judged]}
        return Choice(best.alpha, best.pull, sorted(looked_at.values(), key=lambda p: (p.pull, -p.alpha)))

    def _judged(self, curve: Sequence[Point], alpha: float, pull: float) -> list[Point]:
        """Shares of the place that fits with their domain loss, until one is worse than the one before."""
        judged: list[Point] = []
        least = float("inf")
        for share in SHARES:
            point = self._known(curve, alpha * share, pull)
            loss = self._loss(point)
            judged.append(replace(point, loss=loss))
            if loss > least:
                break
            least = loss
        return judged

    def _first_that_fits(self, curve: list[Point]) -> tuple[float, float]:
        """Halve the path between a place that does not fit and one that does; its end is the base."""
        low, high = 0.0, 1.0
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            curve.append(self._point(*self._place(middle)))
            low, high = (low, middle) if curve[-1].fits else (middle, high)
        return self._place(high)

    def _place(self, way: float) -> tuple[float, float]:
        """Scale and pull at a place of the path: 0 is the whole update, 1 is none."""
        if self._geometry is None:
            return 1 - way, 0.0
        pull = LEAST_PULL * (MOST_PULL / LEAST_PULL) ** min(1.0, way / PULLED)
        return min(1.0, (1 - way) / (1 - PULLED)), pull

    def _known(self, curve: Sequence[Point], alpha: float, pull: float) -> Point:
        same = (point for point in curve if (point.alpha, point.pull) == (alpha, pull))
        return next(same, None) or self._point(alpha, pull)

    def _point(self, alpha: float, pull: float) -> Point:
        with self.update.scaled(alpha, self._shape(pull)):
            drift = self._drift()
        fits = all(bound(drift[group]) <= epsilon for group, epsilon in self.epsilons.items())
        return Point(alpha, pull, drift, fits)

    def _loss(self, point: Point) -> float:
        with self.update.scaled(point.alpha, self._shape(point.pull)):
            return self._domain_loss()

    def _shape(self, pull: float) -> Shape:
        geometry = self._geometry
        return as_it_is if geometry is None else lambda name, update: geometry.held(name, update, pull)


def select_drift(
    model: PreTrainedModel, anchors: AnchorSet, groups: Iterable[str], pad_id: int
) -> dict[str, GroupDrift]:
    """Drift of some groups on the select split, from the cache."""
    return {
        group: summarise(cached_drifts(model, anchors, anchors.indices(group, "select"), pad_id))
        for group in groups
    }


class DialogueLoss:
    """The domain's loss on dialogues kept aside.

    Args:
        renderer: Of the base.
        select: The dialogues; their first ``SELECT_TOKENS`` tokens are judged on.
    """

    def __init__(self, renderer: Renderer, select: Sequence[Chat]) -> None:
        rows = (renderer.encode(chat).input_ids for chat in select)
        self._chats = select[: len(first_rows(rows, SELECT_TOKENS))]

    def __call__(self, model: LocalModel) -> float:
        """Nats per token of the agent's turns, of the model as it stands."""
        losses = model.chat_losses(self._chats)
        return sum(nats for nats, _ in losses) / sum(tokens for _, tokens in losses)


def bound(drift: GroupDrift) -> float:
    """What the select split must show to be sure of the certificate, in the drift's unit."""
    return drift.drift + CAUTION * (drift.upper95 - drift.drift)


def first_rows(rows: Iterable[list[int]], tokens: int) -> list[list[int]]:
    """The first rows that together reach so many tokens; all where they do not."""
    first: list[list[int]] = []
    reached = 0
    for row in rows:
        if reached >= tokens:
            break
        first.append(row)
        reached += len(row)
    return first
