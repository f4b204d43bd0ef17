"""What a sketch of a wide layer's inputs shows, where the whole moment can be kept too.

Run as ``python benchmarks/sketch/run.py --out benchmarks/sketch/results.json``. In the widest layers of a
base, of the embedded ones the feed-forward's second, random rows are laid as tether lays a LoRA's A
(training/starts.py), by sketches of several widths and by the whole moments. Told is the energy that anchors
then have in them over the domain's, both by the whole moments: of all such layers the geometric mean, the
least and the most.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

import torch

from tether import bases
from tether.anchors import sketch
from tether.anchors.store import anchors_for
from tether.chatdata.rendering import Renderer
from tether.config import Training
from tether.environment import environment
from tether.files import write_json
from tether.sources import load_training
from tether.training.geometry import Geometry
from tether.training.measured import Measured, measure
from tether.training.starts import whitened

RANK, PULL = 64, 30.0
COLUMNS = (0, 64, 128, 256, 512)  # 0: the diagonal alone
AT_RANDOM, WHOLE = "at random", "whole"


def main() -> None:
    """Measure, lay, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", default="smollm2-135m-aligned")
    parser.add_argument("--data", default="sgd_hotels")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    with TemporaryDirectory() as scratch:
        measured = moments(arguments.base, arguments.data, Path(scratch))
        ratios = {kind: laid(measured, kind) for kind in (AT_RANDOM, *COLUMNS, WHOLE)}
    asked = {"base": arguments.base, "data": arguments.data, "rank": RANK, "pull": PULL}
    write_json(arguments.out, {"asked": asked, "ratios": ratios, "environment": environment()})
    for kind, found in ratios.items():
        print(
            f"{kind!s:>10}  {math.exp(fmean(map(math.log, found))):.3f}  [{min(found):.3f}, {max(found):.3f}]"
        )


def moments(base: str, data: str, folder: Path) -> Measured:
    """The whole moments of all layers."""
    found = bases.resolve(base)
    renderer = Renderer(bases.load_tokenizer(found))
    train, _ = load_training(data, Training())
    rows = [renderer.encode(chat).input_ids for chat in train]
    return measure(bases.load_model(found), rows, anchors_for(found), folder)


def laid(measured: Measured, kind: str | int) -> list[float]:
    """Of each of the widest layers the anchors' energy over the domain's in rows laid by one kind."""
    whole = measured.geometry()
    widest = max(len(whole.domain[name]) for name in whole.domain)
    names = [name for name in whole.domain if len(whole.domain[name]) == widest]
    return [ratio(whole.domain[name], whole.anchors[name], kind) for name in names]


def ratio(domain: torch.Tensor, anchors: torch.Tensor, kind: str | int) -> float:
    """The same of one layer, rows from one seed."""
    rows = torch.randn(RANK, len(domain), generator=torch.Generator().manual_seed(0))
    if kind != AT_RANDOM:
        seen = [one if kind == WHOLE else sketched(one, int(kind)) for one in (domain, anchors)]
        geometry = Geometry({"layer": seen[0]}, {"layer": seen[1]})
        rows = whitened(geometry.shaped("layer", rows, PULL), seen[0])
    return energy(rows, anchors) / energy(rows, domain)


def sketched(moment: torch.Tensor, columns: int) -> torch.Tensor:
    """The sketch that would have been kept of a moment."""
    shown = moment @ sketch.directions(len(moment), columns, moment.device)
    return torch.cat([shown, moment.diagonal()[:, None]], dim=1)


def energy(rows: torch.Tensor, moment: torch.Tensor) -> float:
    """tr(A C A^T)."""
    return float((rows @ moment * rows).sum())


if __name__ == "__main__":
    main()
