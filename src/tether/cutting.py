"""Where to cut a bootstrap's draws, so that the interval covers as often as it says.

The plain percentile interval is too narrow with few clusters, and lies wrong where scores are skewed or a
share is rare (benchmarks/statistics). Two corrections of the quantile at which the draws are cut:

- bias and acceleration, for the skew: BCa (Efron 1987; Efron and Tibshirani 1993, equations 14.10, 14.14 and
  14.15; of several strata Davison and Hinkley 1997, section 5.3.2);
- expansion, for few clusters (Hesterberg 2015, arXiv:1411.5279): t's quantile in place of the normal's, and
  draws of G clusters spread too little, by sqrt((G - 1) / G).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtr, ndtri, stdtr, stdtrit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SMALLEST = 1e-9  # where acceleration would send a cut to infinity; and of a spread, what is no difference


@dataclass(frozen=True)
class Cut:
    """From a confidence level to a share of the draws, and back.

    Attributes:
        bias: Normal quantile of the share of draws below the mean (z0).
        acceleration: A sixth of the mean's skewness (a).
        inflation: Standard error over the draws' standard deviation; sqrt(G / (G - 1)) for G clusters.
        df: Degrees of freedom, by Satterthwaite; G - 1 of a single stratum.
    """

    bias: float
    acceleration: float
    inflation: float
    df: float

    @classmethod
    def of(cls, drawn: NDArray[np.float64], mean: float, influences: Sequence[NDArray[np.float64]]) -> Cut:
        """The cut of some draws.

        Args:
            drawn: The draws, shape (draws,).
            mean: What was drawn from has this mean.
            influences: By stratum, each cluster's pull on the mean, shape (clusters,), at least two of them.
        """
        spread = SMALLEST * float(drawn.std())
        below = float((drawn < mean - spread).mean() + 0.5 * (np.abs(drawn - mean) <= spread).mean())
        bias = float(ndtri(within(below, len(drawn))))
        squares = np.array([(pull**2).sum() for pull in influences])
        if squares.sum() == 0:  # nothing varies, so nothing is skewed
            return cls(0.0, 0.0, 1.0, float(min(len(pull) for pull in influences) - 1))
        cubes = sum(float((pull**3).sum()) for pull in influences)
        counts = np.array([len(pull) for pull in influences])
        variances = squares * counts / (counts - 1)
        return cls(
            bias=bias,
            acceleration=cubes / (6 * float(squares.sum()) ** 1.5),
            inflation=float(np.sqrt(variances.sum() / squares.sum())),
            df=float(variances.sum() ** 2 / (variances**2 / (counts - 1)).sum()),
        )

    def share(self, level: float) -> float:
        """The share of draws below the end that the mean lies below with confidence ``level``."""
        shifted = self.bias + self.inflation * float(stdtrit(self.df, level))
        return float(ndtr(self.bias + shifted / max(1 - self.acceleration * shifted, SMALLEST)))

    def level(self, share: float) -> float:
        """The confidence with which the mean lies below the end that has this share of the draws below it."""
        shifted = float(ndtri(share)) - self.bias
        normal = shifted / (1 + self.acceleration * shifted) - self.bias
        return float(stdtr(self.df, normal / self.inflation))


def influence(sums: NDArray[np.float64], sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each cluster's pull on the mean, by leaving it out (the jackknife).

    Args:
        sums: Sum of each cluster's values, shape (clusters,), at least two.
        sizes: Number of each cluster's items, shape (clusters,).

    Returns:
        Shape (clusters,); the squares add up to about the variance of the mean.
    """
    clusters = len(sums)
    without = (sums.sum() - sums) / (sizes.sum() - sizes)
    pulls: NDArray[np.float64] = (clusters - 1) / clusters * (sums.sum() / sizes.sum() - without)
    return pulls


def within(share: float, draws: int) -> float:
    """A share of the draws, kept from 0 and 1, which no number of draws can tell."""
    return min(max(share, 1 / (draws + 1)), draws / (draws + 1))
