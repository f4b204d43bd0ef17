"""The records a study leaves, and their schema."""

from tether.results.comparing import (
    Records,
    any_written,
    compare,
    compare_methods,
    summarise_drift,
    summarise_method,
)
from tether.results.items import AxisResult, Item, aggregate, mean_metric, read_items, write_items, write_text
from tether.results.pairing import Paired, pair, summarise
from tether.results.parts import SAFETY_PARTS, safety_parts, with_parts
from tether.results.record import (
    AXES,
    BeforeAfter,
    Comparison,
    GroupDrift,
    MethodResult,
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

__all__ = [
    "AXES",
    "SAFETY_PARTS",
    "AxisResult",
    "BeforeAfter",
    "Comparison",
    "GroupDrift",
    "Item",
    "MethodResult",
    "Paired",
    "Records",
    "SeedResult",
    "StageResult",
    "StudyResults",
    "Summary",
    "SweepPoint",
    "Train",
    "aggregate",
    "any_written",
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
    "with_parts",
    "write_items",
    "write_results",
    "write_text",
]
