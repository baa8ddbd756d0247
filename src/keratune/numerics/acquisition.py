"""Acquisitions: what a trial at a point promises, from a surrogate's mean and deviation there.

mu, sigma: the surrogate's mean and standard deviation   best: the incumbent's value (smaller is
    better)   beta: standard deviations of optimism

    EI(x) = sigma h(z),  z = (best - mu) / sigma,  h(z) = phi(z) + z Phi(z)
    bound(x) = beta sigma - mu

The logarithm of EI has the same optimum and a gradient where EI underflows (Ament et al., 2023,
LogEI, arXiv 2310.20708, eqs. 8 and 9).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfcx
from scipy.special import log_ndtr as log_normal_cdf

Array = NDArray[np.float64]

LOG_SQRT_2PI = 0.5 * np.log(2.0 * np.pi)


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


def log_expected_improvement_slopes(mean: Array, std: Array, best: float) -> tuple[Array, Array]:
    """Return the derivatives of log EI by mean and by standard deviation, (m,) each.

    With h' = Phi: d/dmu = -Phi(z) / EI, d/dsigma = phi(z) / EI.
    """
    z = (best - mean) / std
    log_ei = log_h(z) + np.log(std)
    by_mean = -np.exp(log_normal_cdf(z) - log_ei)
    return by_mean, np.exp(-0.5 * z**2 - LOG_SQRT_2PI - log_ei)


def log_probability_above(mean: Array, std: Array, level: float) -> Array:
    """Return log P(f > level) where f is normal with these means and deviations, (m,)."""
    return np.asarray(log_normal_cdf((mean - level) / std))


def log_probability_above_slopes(mean: Array, std: Array, level: float) -> tuple[Array, Array]:
    """Return the derivatives of log P(f > level) by mean and by deviation, (m,) each."""
    z = (mean - level) / std
    hazard = np.exp(-0.5 * z**2 - LOG_SQRT_2PI - log_normal_cdf(z))
    return hazard / std, -z * hazard / std
