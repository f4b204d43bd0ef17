"""Rewind: fine-tuning overshoots, so choose how much of the update to keep.

Scaled to 0.4, an orthogonal update gained on both the task and general knowledge (PEFT-Arena,
arXiv:2605.28819); the domain loss is flat where the drift is steep. It is flatter still along the path taken
here: the pull of training/geometry.py gives up first what the anchors' directions carry, those of the groups
that do not fit before all others, and only where the strongest pull does not do is the rest scaled down. The
first place on the path whose drift surely fits the budget is taken, searched for from where the whole
update's drift says that it should be. A place that leaves next to none of the budget is as good, and ends the
search. What is kept of the task is told by the domain loss on what was kept aside: of dialogues, or of a
trainer's own rows, as the caller says. So with drift: nats per token on the select split, exact as the
certificate's, or how far a denoiser's outputs moved.

Looking is what costs. Along the path drift falls, so a group that fits at one place is not looked at further
along, and the first group that does not fit, most likely the one that did not last time, settles a place.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tether.progress import say
from tether.training.geometry import needed_pull
from tether.training.update import as_it_is
from tether.turns import per_token

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tether.anchors.drift import GroupDrift
    from tether.chatdata.chats import Chat
    from tether.chatdata.rendering import Renderer
    from tether.inference import LocalModel
    from tether.training.geometry import Geometry
    from tether.training.measured import Measured
    from tether.training.update import Shape, Update

SELECT_TOKENS = 12_000  # of what is kept aside, to judge an update on
LEAST_PULL, MOST_PULL = 0.01, 100.0
PULLED = 0.75  # of the path is the pull's, the rest the scale's
PLACES = 64  # of the path, from the whole update to none
FARTHEST = 16  # places to go on at once where nothing that fits is known yet
NEAR = math.log(0.9)  # what fits and uses so much of its budget ends the search
HELD = 0.8  # of its budget: beyond it a group takes part in the pull, so that what just fits does so still
# Certify's prompts are others than select's, and drift is skewed: with this many half intervals, nine in ten
# of what just fits here fit there (at the shipped anchors' numbers; simulated in the tests).
CAUTION = 2.4


@dataclass(frozen=True)
class Point:
    """One scale that was looked at.

    Attributes:
        alpha: Share of the update.
        pull: Of the geometry, before the share is taken.
        drift: On the select split, by group that was looked at; of the whole update, by every group.
        fits: Whether it surely fits the budget.
    """

    alpha: float
    pull: float
    drift: dict[str, GroupDrift]
    fits: bool


@dataclass(frozen=True)
class Choice:
    """What was taken.

    Attributes:
        alpha: Share of the update.
        pull: Of the geometry, before the share is taken.
        weights: How much each group of anchors counted in the pull.
        curve: Every scale that was looked at.
        loss: Domain loss of what was taken; None where nothing is rewound.
    """

    alpha: float
    pull: float
    weights: dict[str, float]
    curve: list[Point]
    loss: float | None = None

    def record(self) -> dict[str, Any]:
        """For the run's record."""
        return asdict(self)


WHOLE = Choice(1.0, 0.0, {}, [])
"""What is kept where nothing is rewound."""


class Rewind:
    """Chooses how much of an update to keep, and keeps it.

    Args:
        update: What training changed.
        domain_loss: Measures the model as it stands on what was kept aside from training.
        drift: Measures the model as it stands on a group of anchors, on its select split.
        epsilons: Budget by group, in the drift's unit.
        measured: The base's inputs, for the pull; without them, the path is the plain scale alone.
    """

    def __init__(
        self,
        update: Update,
        domain_loss: Callable[[], float],
        drift: Callable[[str], GroupDrift],
        epsilons: dict[str, float],
        measured: Measured | None,
    ) -> None:
        self.update, self.epsilons = update, epsilons
        self._domain_loss, self._drift, self._measured = domain_loss, drift, measured
        self._geometry: Geometry | None = None
        self._weights: dict[str, float] = {}

    def __call__(self) -> Choice:
        """Find the scale and make the scaled update the update."""
        curve = [self._whole()]
        alpha, pull = (1.0, 0.0) if curve[0].fits else self._first_that_fits(curve)
        self.update.keep(alpha, self._shape(pull))
        loss = self._domain_loss()
        say(f"Rewind: {alpha:.0%} of the update is kept, at a pull of {pull:.3g}: domain loss {loss:.3f}")
        curve.sort(key=lambda point: (point.pull, -point.alpha))
        return Choice(alpha, pull, self._weights, curve, loss)

    def _first_that_fits(self, curve: list[Point]) -> tuple[float, float]:
        """The first place of the path whose drift fits; the whole update's does not, the base's does."""
        needed = self._needed(curve[0].drift)
        self._weights = {group: one / sum(needed.values()) for group, one in needed.items()}
        if self._measured:
            self._geometry = self._measured.geometry(self._weights)
        order = sorted(self._weights, key=self._weights.__getitem__, reverse=True)
        fitted = {group: 0 if self._fits(group, curve[0].drift[group]) else PLACES for group in order}

        def excess(place: int) -> float:
            point = self._point(*self._place(place), [group for group in order if fitted[group] > place])
            fitted.update({group: place for group, drift in point.drift.items() if self._fits(group, drift)})
            if not point.fits:  # by the last that was looked at
                order.sort(key=lambda group: group != list(point.drift)[-1])
            curve.append(point)
            return self._excess(point)

        way = [_way(*self._place(place)) for place in range(PLACES)]
        return self._place(first_place(excess, way, self._excess(curve[0]), self._guess(needed)))

    def _guess(self, needed: dict[str, float]) -> int:
        """The first place that takes what the groups need."""
        if self._measured is None:
            return math.ceil(PLACES * (1 - 1 / (math.sqrt(HELD) * (1 + max(needed.values())))))
        way = math.log(max(sum(needed.values()), LEAST_PULL) / LEAST_PULL) / math.log(MOST_PULL / LEAST_PULL)
        return math.ceil(PLACES * PULLED * min(1.0, way))

    def _place(self, place: int) -> tuple[float, float]:
        """Scale and pull at a place of the path: 0 is the whole update, the last is none."""
        way = place / PLACES
        if self._measured is None:
            return 1 - way, 0.0
        pull = LEAST_PULL * (MOST_PULL / LEAST_PULL) ** min(1.0, way / PULLED)
        return min(1.0, (1 - way) / (1 - PULLED)), pull

    def _point(self, alpha: float, pull: float, groups: Iterable[str]) -> Point:
        """A place as these groups see it, up to the first that does not fit."""
        drift: dict[str, GroupDrift] = {}
        with self.update.scaled(alpha, self._shape(pull)):
            for group in groups:
                drift[group] = self._drift(group)
                if not self._fits(group, drift[group]):
                    return Point(alpha, pull, drift, fits=False)
        return Point(alpha, pull, drift, fits=True)

    def _whole(self) -> Point:
        """The whole update as all groups see it."""
        drift = {group: self._drift(group) for group in self.epsilons}
        return Point(1.0, 0.0, drift, fits=all(map(self._fits, drift, drift.values())))

    def _excess(self, point: Point) -> float:
        """Of the group that is furthest over its budget, the logarithm of its bound over it."""
        used = {group: bound(one) / self.epsilons[group] for group, one in point.drift.items()}
        return math.log(max(*used.values(), 1e-9))

    def _fits(self, group: str, drift: GroupDrift) -> bool:
        return bound(drift) <= self.epsilons[group]

    def _needed(self, drift: dict[str, GroupDrift]) -> dict[str, float]:
        """The pull that each group would need if its inputs were its own."""
        return {
            group: needed_pull(bound(one) / (HELD * self.epsilons[group])) for group, one in drift.items()
        }

    def _shape(self, pull: float) -> Shape:
        geometry = self._geometry
        return as_it_is if geometry is None else lambda name, update: geometry.held(name, update, pull)


def first_place(excess: Callable[[int], float], way: Sequence[float], whole: float, guess: int) -> int:
    """The first place that fits, as all behind it do, or one that fits and is ``NEAR`` to not fitting.

    It is looked for where the line through two places crosses the budget, and half-way where that has come
    from one side twice.

    Args:
        excess: Of a place, the logarithm of its drift over the budget: what fits has none above 0.
        way: How far each place is. The logarithm of drift falls with it, nearly in a line.
        whole: The excess of the first place, above 0. What lies behind the last one, the base, fits.
        guess: Where to look first.
    """
    low, high, place, fitted = 0, PLACES, guess, None
    seen = {0: whole}
    while high - low > 1:
        place = min(max(place, low + 1), high - 1)
        seen[place] = excess(place)
        fits = seen[place] <= 0
        if fits and seen[place] >= NEAR:
            return place
        low, high = (low, place) if fits else (place, high)
        halve, fitted = fits == fitted and high in seen, fits
        place = (low + high) // 2 if halve else _crossing(seen, way, low, high)
    return high


def _crossing(seen: dict[int, float], way: Sequence[float], low: int, high: int) -> int:
    """Where the line through the places next to the budget, or the last two before it, comes down to it."""
    farthest = high if high in seen else low + FARTHEST
    first, last = (low, high) if high in seen else (max(place for place in seen if place < low), low)
    fall = seen[first] - seen[last]
    if not 0 < fall < math.inf:
        return (low + farthest) // 2
    there = way[first] + seen[first] / fall * (way[last] - way[first])
    return min(bisect_left(way, there), farthest)


def _way(alpha: float, pull: float) -> float:
    """How far a place is from the whole update: drift is to fall with the square of exp(-way)."""
    return math.log1p(pull) - math.log(alpha)


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
        return per_token(model.chat_losses(self._chats))


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
