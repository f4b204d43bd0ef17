"""The records a study leaves, and their schema."""

from tether.results.breakdown import breakdown
from tether.results.comparing import (
    Records,
    any_written,
    compare,
    compare_methods,
    summarise_drift,
    summarise_method,
    summarise_secondary,
)
from tether.results.items import AxisResult, Item, aggregate, mean_metric, read_items, write_items, write_text
from tether.results.pairing import Paired, pair, summarise
from tether.results.parts import SAFETY_PARTS, SECONDARY, safety_parts, with_parts
from tether.results.record import (
    AXES,
    BeforeAfter,
    Comparison,
    GroupDrift,
    MethodResult,
    Part,
    SeedResult,
    StageResult,
    StudyResults,
    Summary,
    SweepPoint,
    Train,
    read_results,
    write_results,
)
from tether.results.stages import stage_result
from tether.results.turned import Turned, turned

__all__ = [
    "AXES",
    "SAFETY_PARTS",
    "SECONDARY",
    "AxisResult",
    "BeforeAfter",
    "Comparison",
    "GroupDrift",
    "Item",
    "MethodResult",
    "Paired",
    "Part",
    "Records",
    "SeedResult",
    "StageResult",
    "StudyResults",
    "Summary",
    "SweepPoint",
    "Train",
    "Turned",
    "aggregate",
    "any_written",
    "breakdown",
    "compare",
    "compare_methods",
    "mean_metric",
    "pair",
    "read_items",
    "read_results",
    "safety_parts",
    "stage_result",
    "summarise",
    "summarise_drift",
    "summarise_method",
    "summarise_secondary",
    "turned",
    "with_parts",
    "write_items",
    "write_results",
    "write_text",
]
