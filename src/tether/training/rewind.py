"""Rewind: fine-tuning overshoots, so choose how much of the update to keep.

Scaled to 0.4, an orthogonal update gained on both the task and general knowledge (PEFT-Arena,
arXiv:2605.28819); the domain loss is flat where the drift is steep. Of the scales whose drift surely fits the
budget, the one with the least domain loss on dialogues kept aside is taken.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tether.anchors.drift import GroupDrift, cached_drifts, summarise
from tether.progress import say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tether.anchors.anchors import AnchorSet
    from tether.chatdata.chats import Chat
    from tether.inference import LocalModel
    from tether.training.update import Update

SELECT_TOKENS = 12_000  # tokens of kept-aside dialogues that a scale is judged on
SHARES = (1.0, 0.85, 0.7)  # of the largest scale that fits
HALVINGS = 4


@dataclass(frozen=True)
class Point:
    """One scale that was looked at: drift by group on the select split, and the domain loss where judged."""

    alpha: float
    drift: dict[str, GroupDrift]
    fits: bool
    loss: float | None = None


@dataclass(frozen=True)
class Choice:
    """The scale taken, and every scale looked at."""

    alpha: float
    curve: list[Point]

    def record(self) -> dict[str, Any]:
        """For the run's record."""
        return asdict(self)


def rewind(
    update: Update,
    live: LocalModel,
    select: Sequence[Chat],
    anchors: AnchorSet,
    epsilons: dict[str, float],
    *,
    enabled: bool = True,
) -> Choice:
    """Choose the scale of the update.

    Args:
        update: What training changed.
        live: The tuned model.
        select: Dialogues kept aside from training.
        anchors: Their select split measures the drift.
        epsilons: Budget by group, nats per token.
        enabled: Whether to rewind at all.

    Returns:
        The scale in [0, 1]; 1 where rewinding is off.
    """
    if not enabled:
        return Choice(1.0, [])
    judge = _Judge(update, live, _first_tokens(live, select), anchors, epsilons)
    curve = [judge.drift(1.0)]
    largest = 1.0 if curve[0].fits else _largest_that_fits(judge, curve)
    judged = [judge.loss(point) for point in _candidates(judge, largest, curve)]
    best = min(judged, key=lambda point: point.loss if point.loss is not None else float("inf"))
    say(
        f"Rewind: of scales {', '.join(f'{p.alpha:.2f} (loss {p.loss:.3f})' for p in judged)}, "
        f"{best.alpha:.2f} is best"
    )
    return Choice(best.alpha, sorted([*curve, *judged], key=lambda point: point.alpha))


@dataclass(frozen=True)
class _Judge:
    update: Update
    live: LocalModel
    select: Sequence[Chat]
    anchors: AnchorSet
    epsilons: dict[str, float]

    def drift(self, alpha: float) -> Point:
        pad_id = int(self.live.tokenizer.pad_token_id)
        with self.update.scaled(alpha):
            by_group = {
                group: summarise(
                    cached_drifts(
                        self.live.model, self.anchors, self.anchors.indices(group, "select"), pad_id
                    )
                )
                for group in self.epsilons
            }
        fits = all(by_group[group].upper95 <= epsilon for group, epsilon in self.epsilons.items())
        return Point(alpha, by_group, fits)

    def loss(self, point: Point) -> Point:
        with self.update.scaled(point.alpha):
            losses = self.live.chat_losses(self.select, label=f"Domain loss at scale {point.alpha:.2f}")
        mean = sum(nats for nats, _ in losses) / sum(tokens for _, tokens in losses)
        return Point(point.alpha, point.drift, point.fits, mean)


def _largest_that_fits(judge: _Judge, curve: list[Point]) -> float:
    """Halve the interval between a scale that fits and one that does not; drift grows with the scale."""
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        point = judge.drift((low + high) / 2)
        curve.append(point)
        low, high = (point.alpha, high) if point.fits else (low, point.alpha)
    return low


def _candidates(judge: _Judge, largest: float, curve: list[Point]) -> list[Point]:
    """The largest scale that fits and some below it."""
    known = {point.alpha: point for point in curve}
    alphas = sorted({round(largest * share, 4) if share < 1 else largest for share in SHARES}, reverse=True)
    return [known[alpha] if alpha in known else judge.drift(alpha) for alpha in alphas]


def _first_tokens(live: LocalModel, select: Sequence[Chat]) -> list[Chat]:
    """Dialogues kept aside, up to as many as a scale is judged on."""
    chosen: list[Chat] = []
    tokens = 0
    for chat in select:
        if chosen and tokens >= SELECT_TOKENS:
            break
        chosen.append(chat)
        tokens += len(live.renderer.encode(chat).input_ids)
    return chosen
