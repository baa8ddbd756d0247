"""Expected improvement, and targets made ready for a Gaussian process.

mu, sigma: the surrogate's mean and standard deviation   best: the incumbent's value (smaller is
    better)

    EI(x) = sigma h(z),  z = (best - mu) / sigma,  h(z) = phi(z) + z Phi(z)

Its logarithm has the same optimum and a gradient where EI underflows (Ament et al., 2023, LogEI,
arXiv 2310.20708, eqs. 8 and 9). Targets are warped: the worse half by rank, then a log stretch
(Song et al., 2024, the Vizier Gaussian process bandit, arXiv 2408.11527, appendix on label
warping), so that a few terrible trials do not flatten the rest.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfcx, ndtri
from scipy.special import log_ndtr as log_normal_cdf

Array = NDArray[np.float64]

LOG_SQRT_2PI = 0.5 * np.log(2.0 * np.pi)
STRETCH = 1.5  # offset of the log stretch


def log_h(z: Array) -> Array:
    """Return log(phi(z) + z Phi(z)), stable for every z."""
    z = np.asarray(z, dtype=float)
    result = np.empty_like(z)
    upper = z > -1.0
    plain = z[upper]
    density = np.exp(-0.5 * plain**2 - LOG_SQRT_2PI)
    result[upper] = np.log(density + plain * np.exp(log_normal_cdf(plain)))
    lower = np.minimum(z[~upper], -1.0)
    # phi(z) (1 + z Phi(z)/phi(z)), the ratio by the scaled complementary error function
    ratio = np.sqrt(np.pi / 2.0) * erfcx(-lower / np.sqrt(2.0)) * np.abs(lower)
    far = lower < -1e5
    tail = np.where(far, -2.0 * np.log(np.abs(lower)), np.log(np.maximum(1.0 - ratio, 1e-300)))
    result[~upper] = -0.5 * lower**2 - LOG_SQRT_2PI + tail
    return result


def log_expected_improvement(mean: Array, std: Array, best: float) -> Array:
    """Return log EI of points with these means and standard deviations, (m,)."""
    return np.asarray(log_h((best - mean) / std) + np.log(std))


def log_expected_improvement_slopes(mean: float, std: float, best: float) -> tuple[float, float]:
    """Return the derivatives of log EI by mean and by standard deviation.

    With h' = Phi: d/dmu = -Phi(z) / EI, d/dsigma = phi(z) / EI.
    """
    z = np.array([(best - mean) / std])
    log_ei = log_h(z)[0] + np.log(std)
    by_mean = -np.exp(log_normal_cdf(z[0]) - log_ei)
    by_std = np.exp(-0.5 * z[0] ** 2 - LOG_SQRT_2PI - log_ei)
    return float(by_mean), float(by_std)


def warped(losses: Array) -> Array:
    """Return losses made ready for a Gaussian process: (n,) with mean 0 and standard deviation 1.

    Args:
        losses: (n,) finite values, smaller is better; equal losses stay equal.
    """
    spread = half_rank(-np.asarray(losses, dtype=float))
    highest, lowest = spread.max(), spread.min()
    if highest - lowest < 1e-12:
        return np.zeros_like(spread)
    place = (highest - spread) / (highest - lowest)  # 0 for the best, 1 for the worst
    stretched = 0.5 - np.log1p(place * (STRETCH - 1.0)) / np.log(STRETCH)
    return np.asarray(-(stretched - stretched.mean()) / stretched.std())


def half_rank(scores: Array) -> Array:
    """Return scores (larger is better) whose worse half lies at the quantiles of a normal law.

    The better half stays; its spread around the median sets the normal law's. Ties share a rank.
    """
    median = np.median(scores)
    better = scores[scores >= median]
    deviation = float(np.sqrt(np.mean((better - median) ** 2)))
    if deviation <= 0.0:
        deviation = float(np.abs(scores - median).mean()) or 1.0
    distinct, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - 0.5 * counts) / len(scores)
    quantiles = median + deviation * ndtri(np.clip(ranks, 1e-6, 0.5))
    return np.where(scores >= median, scores, quantiles[place])
