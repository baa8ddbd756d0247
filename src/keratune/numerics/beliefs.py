"""Beliefs about where good values are, as densities relative to the uniform one.

A belief shifts chance and excludes nothing: part w of it is uniform, so that its density never
falls below w, and the logarithm of the density of d beliefs never below d log w.

u: position in [0, 1]   m: believed position   s: standard deviation   w: uniform part
k: number of values   p_i: weight of value i, the sum of all is 1

    number:    q(u) = w + (1 - w) phi((u - m) / s) / (s Z),  Z = Phi((1 - m) / s) - Phi(-m / s)
    category:  q(i) = w + (1 - w) k p_i

`trust` asks the losses seen so far whether they contradict a belief: where better trials are less
likely by it, the rank correlation r of log density and loss is positive. By Fisher's transform
atanh(r) sqrt(n - 3) is about standard normal when there is no correlation; the trust is twice the
chance of a larger one, and 1 where r is not positive.

Normal laws around a value on the scale that is searched, and weights for categories, are how
Hvarfner et al. (piBO, ICLR 2022, arXiv 2204.11051) and Mallik et al. (PriorBand, NeurIPS 2023,
arXiv 2306.12370) have users state what they know.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

Array = NDArray[np.float64]

# A tenth of the mass stays uniform: one draw in ten ignores the belief, and what the belief thinks
# impossible is still a tenth as likely as without it.
UNIFORM_PART = 0.1


@dataclasses.dataclass(frozen=True)
class Around:
    """A number is believed to be good around a position of the unit interval.

    Args:
        mean: The position, in [0, 1].
        deviation: Standard deviation, in units of the interval; positive.
    """

    mean: float
    deviation: float

    @property
    def _mass(self) -> float:
        high, low = (1.0 - self.mean) / self.deviation, -self.mean / self.deviation
        return float(ndtr(high) - ndtr(low))

    def _bell(self, z: Array) -> Array:
        scale = np.sqrt(2.0 * np.pi) * self.deviation * self._mass
        return np.asarray((1.0 - UNIFORM_PART) * np.exp(-0.5 * z**2) / scale)

    def log_density(self, positions: ArrayLike) -> Array:
        """Return log q of positions, of their shape."""
        z = (np.asarray(positions, dtype=float) - self.mean) / self.deviation
        return np.asarray(np.log(UNIFORM_PART + self._bell(z)))

    def log_slope(self, positions: ArrayLike) -> Array:
        """Return the derivative of log q by the position, of the positions' shape."""
        z = (np.asarray(positions, dtype=float) - self.mean) / self.deviation
        bell = self._bell(z)
        return np.asarray(-bell * z / self.deviation / (UNIFORM_PART + bell))

    def draw(self, chances: ArrayLike) -> Array:
        """Return the positions that uniform numbers in [0, 1) draw, of their shape.

        The first w of [0, 1) draws uniformly; the rest by the normal law's inverse.
        """
        p = np.asarray(chances, dtype=float)
        share = np.clip((p - UNIFORM_PART) / (1.0 - UNIFORM_PART), 0.0, 1.0)
        low = ndtr(-self.mean / self.deviation)
        by_law = self.mean + self.deviation * ndtri(low + share * self._mass)
        return np.clip(np.where(p < UNIFORM_PART, p / UNIFORM_PART, by_law), 0.0, 1.0)


@dataclasses.dataclass(frozen=True)
class Weighted:
    """Each of several values is believed to be as good as its weight says.

    Args:
        weights: One for each value, not negative, not all zero; their scale has no meaning.
    """

    weights: Sequence[float]

    @property
    def _shares(self) -> Array:
        weights = np.asarray(self.weights, dtype=float)
        uniform = UNIFORM_PART / len(weights)
        return np.asarray(uniform + (1.0 - UNIFORM_PART) * weights / weights.sum())

    @property
    def log_densities(self) -> Array:
        """The log q of each value, (k,)."""
        return np.asarray(np.log(len(self.weights) * self._shares))

    def draw(self, chances: ArrayLike) -> NDArray[np.intp]:
        """Return the indices of the values that uniform numbers in [0, 1) draw, of their shape."""
        found = np.searchsorted(np.cumsum(self._shares), chances, side="right")
        return np.minimum(found, len(self.weights) - 1)


def trust(log_densities: Array, losses: Array) -> float:
    """Return how well a belief goes with what was seen: 1 for no contradiction, down to 0.

    Args:
        log_densities: (n,) log q of the trials.
        losses: (n,) their losses, smaller is better.
    """
    n = len(losses)
    if n < 4 or np.ptp(losses) == 0.0 or np.ptp(log_densities) == 0.0:
        return 1.0
    from scipy.stats import rankdata  # takes a third of a second to import

    ranks = [rankdata(log_densities), rankdata(losses)]
    correlation = float(np.clip(np.corrcoef(*ranks)[0, 1], -0.999, 0.999))
    return min(1.0, 2.0 * float(ndtr(-np.arctanh(correlation) * np.sqrt(n - 3.0))))
