"""The hypervolume of two losses, its expected improvement, and many losses as one.

n: points of the front   k: candidates   m: losses   F: (n, m) losses, smaller is better
r: (m,) reference point: what a point has to beat to count   mu, sigma: (k, m) a candidate's
    means and standard deviations, independent of each other

The hypervolume HV(F) is the area that the points of F dominate within the bounds of r. Sorted by
the first loss, a_1 < ... < a_n with second losses b_1 > ... > b_n, the front cuts what nobody
dominates into n + 1 strips: the i-th reaches from a_i to a_(i+1) and up to b_i, where a_0 = -inf,
b_0 = r_2, a_(n+1) = r_1. A point y adds to the strip's part of the area the product of two lengths,
and as the losses are independent, so do the expectations (Emmerich et al., 2011, Hypervolume-based
expected improvement, CEC; Yang et al., 2019, arXiv 1904.12672, has the cells in this form):

    EHVI = sum_i [psi_1(a_(i+1)) - psi_1(a_i)] psi_2(b_i)
    psi_j(t) = E max(t - y_j, 0) = sigma_j h((t - mu_j) / sigma_j),  h as in `acquisition`

All of it stays in logarithms (Ament et al., 2023, arXiv 2310.20708, section 3.3), so that a
candidate far behind the front still has a gradient.

For three losses and more, random weights w turn them into one (Knowles, 2006, ParEGO, IEEE
Transactions on Evolutionary Computation 10(1), eq. 2): max_j w_j f_j + 0.05 sum_j w_j f_j.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr as log_normal_cdf
from scipy.special import logsumexp

from keratune.numerics.acquisition import LOG_SQRT_2PI, log_h

Array = NDArray[np.float64]

MARGIN = 0.1  # of the front's range, that the reference point lies behind the front's worst
SUM_WEIGHT = 0.05  # Knowles's rho: weakly dominated points lose


def reference_point(front: Array) -> Array:
    """Return the front's worst losses and a tenth of their range more, (m,).

    Where the range is nothing, as of a single point, it is a tenth of the loss's size instead.

    Args:
        front: (n, m) losses, n >= 1.
    """
    worst = front.max(axis=0)
    span = worst - front.min(axis=0)
    size = np.where(worst == 0.0, 1.0, np.abs(worst))
    return np.asarray(worst + MARGIN * np.where(span > 0.0, span, size))


def hypervolume(losses: Array, reference: Array) -> float:
    """Return the area that points dominate within the bounds of the reference point.

    Args:
        losses: (n, 2) losses; dominated points and such behind the reference point add nothing.
        reference: (2,) the reference point.

    Example:
        ```python
        hypervolume(np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([2.0, 2.0]))  # 3.0
        ```
    """
    left, height = _strips(losses, reference)
    return float(((left[2:] - left[1:-1]) * (reference[1] - height[1:])).sum())


def _strips(losses: Array, reference: Array) -> tuple[Array, Array]:
    """Return the strips' borders, (n + 2,) from -inf to r_1, and their heights, (n + 1,)."""
    inside = losses[(losses < reference).all(axis=1)]
    inside = inside[np.lexsort(inside.T[::-1])]
    lowest = np.minimum.accumulate(np.append(np.inf, inside[:, 1]))[:-1]
    a, b = inside[inside[:, 1] < lowest].T
    return np.concatenate([[-np.inf], a, reference[:1]]), np.append(reference[1], b)


def log_expected_improvement(mean: Array, std: Array, front: Array, reference: Array) -> Array:
    """Return the logarithm of the hypervolume that each candidate is expected to add, (k,).

    Args:
        mean: (k, 2) means of the candidates' losses.
        std: (k, 2) standard deviations, positive.
        front: (n, 2) losses seen so far; dominated ones change nothing, n = 0 is allowed.
        reference: (2,) the reference point.

    Example:
        ```python
        front = np.array([[0.0, 1.0], [1.0, 0.0]])
        nowhere_near = np.array([[50.0, 50.0]])
        log_expected_improvement(nowhere_near, np.ones((1, 2)), front, reference_point(front))
        ```
    """
    return np.asarray(logsumexp(sum(_log_lengths(mean, std, *_strips(front, reference))), axis=1))


def log_expected_improvement_slopes(
    mean: Array, std: Array, front: Array, reference: Array
) -> tuple[Array, Array]:
    """Return the derivatives of the same at one candidate, by its means and deviations, (2,) each.

    With psi' = Phi(z) by t, dpsi/dmu = -Phi(z) and dpsi/dsigma = phi(z).

    Args:
        mean: (2,) means.
        std: (2,) standard deviations, positive.
        front: (n, 2) losses seen so far.
        reference: (2,) the reference point.
    """
    left, height = _strips(front, reference)
    log_width, log_depth = (row[0] for row in _log_lengths(mean[None], std[None], left, height))
    total = logsumexp(log_width + log_depth)
    by_border = (left - mean[0]) / std[0]
    by_height = (height - mean[1]) / std[1]
    below, density = _parts(by_border, log_depth - total, by_height, log_width - total)
    return -np.array(below), np.array(density)


def _parts(
    border: Array, depth_share: Array, height: Array, width_share: Array
) -> tuple[list[float], list[float]]:
    """Return, for both losses, the sums with Phi and with phi for psi, as parts of the EHVI."""

    def across(log_of_z: Array) -> float:  # width: of a strip, the right border less the left
        share = np.exp(log_of_z[1:] + depth_share) - np.exp(log_of_z[:-1] + depth_share)
        return float(share.sum())

    def upward(log_of_z: Array) -> float:
        return float(np.exp(log_of_z + width_share).sum())

    below = [across(log_normal_cdf(border)), upward(log_normal_cdf(height))]
    density = [across(_log_density(border)), upward(_log_density(height))]
    return below, density


def _log_density(z: Array) -> Array:
    return -0.5 * z**2 - LOG_SQRT_2PI


def _log_lengths(mean: Array, std: Array, left: Array, height: Array) -> tuple[Array, Array]:
    """Return the logarithms of the strips' expected widths and depths, (k, n + 1) each."""
    reach = _log_shortfall(left[1:], mean[:, :1], std[:, :1])
    before = np.hstack([np.full((len(mean), 1), -np.inf), reach[:, :-1]])
    with np.errstate(divide="ignore"):  # a strip so narrow that it vanishes adds nothing
        width = reach + np.log(-np.expm1(np.minimum(before - reach, 0.0)))
    return width, _log_shortfall(height, mean[:, 1:], std[:, 1:])


def _log_shortfall(bound: Array, mean: Array, std: Array) -> Array:
    """Return log E max(bound - y, 0)."""
    return np.asarray(log_h((bound - mean) / std) + np.log(std))


def chebyshev(losses: Array, weights: Array) -> Array:
    """Return many losses as one, smaller is better: the augmented Chebyshev sum, (n,).

    Each loss is first brought to [0, 1] over the points, so that units do not matter.

    Args:
        losses: (n, m) losses.
        weights: (m,) not negative, with the sum 1; drawn anew for each suggestion, all sets of
            weights being equally likely, `rng.dirichlet(np.ones(m))`.

    Example:
        ```python
        chebyshev(np.array([[0.0, 4.0], [1.0, 2.0]]), np.array([0.5, 0.5]))  # [0.525, 0.525]
        ```
    """
    best = losses.min(axis=0)
    span = losses.max(axis=0) - best
    weighted = weights * (losses - best) / np.where(span > 0.0, span, 1.0)
    return np.asarray(weighted.max(axis=1) + SUM_WEIGHT * weighted.sum(axis=1))
