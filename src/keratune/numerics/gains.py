"""What training on gains: losses of short trainings as those of whole ones, and how certainly.

T: epochs of a whole training   levels: ..., T / 9, T / 3, T   y_k: best loss up to level k

Between two levels a loss moves by a linear map, learnt from the trials that have come to both:

    y_{k+1} = y_k + a_k + g_k x_k + e,   x_k = (y_k - median) / spread,   Var e = v_k

a_k and g_k are shrunk towards 0, an unchanged loss, as by `PRIOR` trials that have gained nothing.
Outliers, more than `OUTLYING` robust deviations from the median, are drawn in before. Short of a
level, a loss has the part of the map that is left on the logarithm of the epochs. Chained up to T,
the maps make what is known of a short training comparable with a whole one (the last value stands
for the curve: Salinas et al., 2023, arXiv 2305.03623), and v, carried along, says how far to trust
it. Few trials come to T, many to each next level: a chain learns from all.

n: trials   L: levels
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FACTOR = 3
PRIOR = 2.0
OUTLYING = 3.0
# Before any trial shows it, the deviation of what is gained, in spreads of the losses.
UNKNOWN = 0.5
MAD_TO_DEVIATION = 1.4826  # of a normal law


def levels_of(whole: int) -> list[int]:
    """Return the levels of a training, ascending.

    Args:
        whole: Epochs of a whole training, at least 1.

    Example:
        ```python
        levels_of(50)  # [1, 2, 6, 17, 50]
        ```
    """
    found = [whole]
    while found[-1] > 1:
        found.append(max(round(whole / FACTOR ** len(found)), 1))
    return sorted(set(found))


@dataclasses.dataclass(frozen=True)
class Gain:
    """How losses move from a level to the next.

    Attributes:
        centre, spread: Of the losses at the level; x = (y - centre) / spread.
        shift: a.
        slope: g.
        variance: v.
    """

    centre: float
    spread: float
    shift: float
    slope: float
    variance: float

    def applied(self, losses: Array, variances: Array, share: Array) -> tuple[Array, Array]:
        """Return losses (m,) and their variances (m,) after a share (m,) of the way is gone."""
        x = np.clip((losses - self.centre) / self.spread, -OUTLYING, OUTLYING)
        inside = np.abs(losses - self.centre) < OUTLYING * self.spread
        stretch = 1.0 + share * np.where(inside, self.slope / self.spread, 0.0)
        moved = losses + share * (self.shift + self.slope * x)
        return moved, stretch**2 * variances + share * self.variance


def learn(before: Array, behind: Array, everyone: Array) -> Gain:
    """Return how losses move from a level to the next.

    Args:
        before: (n,) best losses at the level, of trials that have come to the next, finite.
        behind: (n,) their best losses at the next.
        everyone: (N,) finite best losses at the level, of all trials that have come to it.
    """
    centre, spread = _middle(everyone)
    if spread == 0.0:
        spread = 1.0
    x = np.clip((before - centre) / spread, -OUTLYING, OUTLYING)
    gained = behind - before
    middle, deviation = _middle(gained)
    if deviation > 0.0:
        gained = np.clip(gained, middle - OUTLYING * deviation, middle + OUTLYING * deviation)
    n = len(x)
    design = np.column_stack([np.ones(n), x])
    shift, slope = np.linalg.solve(design.T @ design + PRIOR * np.eye(2), design.T @ gained)
    slope = max(float(slope), -spread)  # the order of two losses does not turn round
    residuals = gained - shift - slope * x
    unknown = (UNKNOWN * spread) ** 2 if n else 0.0
    variance = float(residuals @ residuals + PRIOR * unknown) / (n + PRIOR)
    return Gain(centre, spread, float(shift), slope, variance)


def _middle(values: Array) -> tuple[float, float]:
    """Return the median and a robust standard deviation; 0 of nothing."""
    if not len(values):
        return 0.0, 0.0
    median = float(np.median(values))
    deviation = MAD_TO_DEVIATION * float(np.median(np.abs(values - median)))
    return median, deviation or float(values.std())


def in_the_end(
    best: Array, levels: NDArray[np.int_], losses: Array, trained: NDArray[np.int_]
) -> tuple[Array, Array]:
    """Return what losses of short trainings come to at the end of whole ones, and the variances.

    Args:
        best: (N, L) best losses of all trials by level, not finite where they have not come to it.
        levels: (L,) ascending epochs.
        losses: (m,) finite losses of the short trainings.
        trained: (m,) their epochs.
    """
    moved, variances = losses.astype(float), np.zeros(len(losses))
    for k in range(len(levels) - 1):
        share = np.log(levels[k + 1] / np.maximum(trained, 1)) / np.log(levels[k + 1] / levels[k])
        share = np.clip(share, 0.0, 1.0)
        if not share.any():
            continue
        known = np.isfinite(best[:, k])
        both = known & np.isfinite(best[:, k + 1])
        gain = learn(best[both, k], best[both, k + 1], best[known, k])
        moved, variances = gain.applied(moved, variances, share)
    return moved, variances
