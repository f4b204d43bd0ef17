"""Where a fine-tuning changed its base, measured on anchors' certify split, which no training has read."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tether import bases
from tether.anchors.drift import GroupDrift, summarise
from tether.anchors.layered import Mean
from tether.anchors.moments import input_moments
from tether.anchors.store import anchors_for
from tether.environment import environment
from tether.inference import LocalModel
from tether.inspection.energy import Place, place
from tether.inspection.pair import open_pair
from tether.inspection.traces import Position, Trace, block_changes, by_position, traces
from tether.progress import track

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tether.anchors.anchors import Anchor
    from tether.inspection.pair import Pair

SPLIT = "certify"
SHOWN = 5  # anchors of each group that are shown with both answers


@dataclass(frozen=True)
class Moved:
    """An anchor that moved far, in both models' words.

    Attributes:
        group: Its anchor group.
        prompt: The user's turn.
        drift: Mean over the answer's tokens, nats.
        before: The base's answer.
        after: The tuned model's own, greedy, of as many tokens as the longest of the base's at most.
    """

    group: str
    prompt: str
    drift: float
    before: str
    after: str


@dataclass(frozen=True)
class Inspection:
    """What became of a base.

    Attributes:
        base: Its name.
        revision: Its revision.
        tuned: The folder that was looked into.
        anchors_sha256: Which anchors.
        places: Every weight that may have changed.
        blocks: By anchor group and decoder block, the relative change of the block's output on answers.
        drift: By anchor group, KL(base || tuned) on the certify split.
        positions: By anchor group, the drift at each of the first answer tokens.
        moved: The anchors of each group that moved most.
    """

    base: str
    revision: str
    tuned: str
    anchors_sha256: str
    places: list[Place]
    blocks: dict[str, list[float]]
    drift: dict[str, GroupDrift]
    positions: dict[str, list[Position]]
    moved: list[Moved]

    def record(self) -> dict[str, Any]:
        """For `inspect.json`: shares are fractions, drift is in nats per answer token."""
        told = asdict(self)
        told["layers"] = [_told(one) for one in self.places]
        del told["places"]
        return {"schema": 1, **told, "environment": environment()}


def _told(one: Place) -> dict[str, Any]:
    energy = one.energy
    return {
        "name": one.name,
        "block": one.block,
        "projection": one.projection,
        "size": energy.size,
        "disturbance": energy.disturbance,
        "alignment": energy.alignment,
        "squares": asdict(energy),
    }


def inspect(base: bases.Base, tuned: Path, anchors_folder: Path | None = None) -> Inspection:
    """Compare a tuned model with its base.

    Args:
        base: The base.
        tuned: Folder of a PEFT adapter or of a whole model of the base's shape.
        anchors_folder: The user's own anchors; None is the base's own, made or shipped.

    Raises:
        UserError: The folder or the anchors do not belong to the base.
    """
    pair = open_pair(base, tuned)
    live = LocalModel(pair.tuned, bases.load_tokenizer(base), str(tuned))
    anchors = anchors_for(base, anchors_folder)
    groups = {
        group: [anchors.anchors[index] for index in anchors.indices(group, SPLIT)] for group in anchors.groups
    }
    places = _places(pair, groups)
    seen = {group: traces(pair, chosen, f"Both models on {group}") for group, chosen in groups.items()}
    return Inspection(
        base=base.name,
        revision=base.revision,
        tuned=str(tuned),
        anchors_sha256=anchors.sha256,
        places=places,
        blocks={group: block_changes(found) for group, found in seen.items()},
        drift={group: summarise([trace.drift for trace in found]) for group, found in seen.items()},
        positions={group: by_position(found) for group, found in seen.items()},
        moved=[one for group in groups for one in _moved(live, group, groups[group], seen[group])],
    )


def _places(pair: Pair, groups: Mapping[str, Sequence[Anchor]]) -> list[Place]:
    with pair.base() as model:
        moments = Mean(
            [
                input_moments(model, pair.linear, _rows(chosen), f"Inputs on {group} anchors")
                for group, chosen in groups.items()
            ]
        )
    return [place(layer, moments.get(layer.name)) for layer in track(pair.layers(), "Weights")]


def _rows(anchors: Sequence[Anchor]) -> list[list[int]]:
    return [[*anchor.prompt_ids, *anchor.answer_ids] for anchor in anchors]


def _moved(live: LocalModel, group: str, anchors: Sequence[Anchor], seen: Sequence[Trace]) -> list[Moved]:
    drifts = [float(trace.drift.mean()) for trace in seen]
    first = sorted(range(len(anchors)), key=lambda index: -drifts[index])[:SHOWN]
    answers = live.generate(
        [anchors[index].prompt_ids for index in first],
        max_new_tokens=max(len(anchor.answer_ids) for anchor in anchors),
        label=f"What became of {group} answers",
    )
    return [
        Moved(group, anchors[index].prompt, drifts[index], anchors[index].answer, answer)
        for index, answer in zip(first, answers, strict=True)
    ]
