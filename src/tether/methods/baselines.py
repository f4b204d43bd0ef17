"""The two ways in which nearly everybody fine-tunes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tether.methods.registry import method

if TYPE_CHECKING:
    from tether.methods.run import Run, Tuned


@method("full")
def full(run: Run, *, learning_rate: float | None = None) -> Tuned:
    """All weights are trained."""
    return _plain(run, "full", learning_rate)


@method("lora", paper="arXiv:2106.09685")
def lora(run: Run, *, rank: int = 16, alpha: int = 32, learning_rate: float | None = None) -> Tuned:
    """Low-rank updates of all linear layers."""
    return _plain(run, "lora", learning_rate, rank, alpha)


def _plain(run: Run, own: str, learning_rate: float | None, rank: int = 16, alpha: int = 32) -> Tuned:
    parametrisation = run.parametrisation(own)
    model, cost, rate = run.fit(
        run.load(parametrisation), parametrisation, learning_rate, rank=rank, alpha=alpha
    )
    return run.finish(model, parametrisation, rate, cost)
