"""Single stages of the story, for the command line: tune once, measure once, make anchors, look."""

from tether.stages.evaluating import evaluate
from tether.stages.looking import LEARNED, LEARNED_END, anchors, inspect, judge, preview
from tether.stages.outcome import Outcome
from tether.stages.rewinding import rewind
from tether.stages.tuning import tune

__all__ = [
    "LEARNED",
    "LEARNED_END",
    "Outcome",
    "anchors",
    "evaluate",
    "inspect",
    "judge",
    "preview",
    "rewind",
    "tune",
]
