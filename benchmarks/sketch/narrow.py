"""The ablation's trainings as a base with wide layers has them: moments above a width are sketched.

Run as ``python benchmarks/sketch/narrow.py 1024 64 as-it-is --seeds 0 --work runs/sketch-64 --records
benchmarks/sketch/records-64``: above 1,024 wide, of the embedded models the feed-forward's second layers, a
sketch of 64 columns (0: the diagonal alone); the rest as benchmarks/ablation/run.py is asked.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from tether.anchors import sketch

ABLATION = Path(__file__).parents[1] / "ablation" / "run.py"

if __name__ == "__main__":
    sketch.WIDEST, sketch.SKETCH = (int(number) for number in sys.argv[1:3])
    del sys.argv[1:3]
    runpy.run_path(str(ABLATION), run_name="__main__")
