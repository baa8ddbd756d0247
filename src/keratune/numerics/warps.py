"""Losses made ready for a Gaussian process: monotone, with mean 0 and standard deviation 1.

y: (n,) finite losses, smaller is better. Equal losses stay equal, and better ones stay better.

No single warp fits all losses. Plain standardising keeps what the losses say about distances;
a few terrible trials then flatten all others. Half-ranking places the worse half by rank (Song et
al., 2024, the Vizier Gaussian process bandit, arXiv 2408.11527, label warping): robust, but blind
to how much worse. A surrogate that averages over both (`surrogates.surrogate`) need not choose.

Half-ranking here only ever moves a loss towards the median. Where most trials are equally bad up to
tiny differences (a plateau: the model has not learnt, or has diverged), ranks alone would blow
these differences up to the size of real ones.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

Array = NDArray[np.float64]

STRETCH = 1.5  # how many times steeper the log stretch is at the best loss than at the worst
NO_SPREAD = 1e-12


def standardised(losses: Array) -> Array:
    """Return losses with mean 0 and standard deviation 1; zeros when all are equal."""
    centred = losses - losses.mean()
    largest = np.abs(centred).max()
    if largest <= NO_SPREAD * np.abs(losses).max():
        return np.zeros_like(losses)
    shrunk = centred / largest  # squares of huge losses would overflow
    return np.asarray(shrunk / shrunk.std())


def half_ranked(losses: Array) -> Array:
    """Return losses whose worse half is drawn in by rank, stretched towards the best."""
    drawn_in = _worse_half_drawn_in(losses)
    lowest, spread = drawn_in.min(), np.ptp(drawn_in)
    if spread <= NO_SPREAD * np.abs(drawn_in).max():
        return np.zeros_like(losses)
    return standardised(np.log1p((drawn_in - lowest) / spread * (STRETCH - 1.0)))


def _worse_half_drawn_in(losses: Array) -> Array:
    """Return losses with those above the median at most at the quantiles of a normal law.

    The law's standard deviation is the spread of the better half around the median. Ties share a
    rank.
    """
    median = np.median(losses)
    gaps = median - losses[losses <= median]
    largest = float(gaps.max())
    if largest > 0.0:
        deviation = largest * float(np.sqrt(np.mean((gaps / largest) ** 2)))
    else:
        deviation = float(np.abs(losses - median).mean())
    _, place, counts = np.unique(losses, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - 0.5 * counts) / len(losses)
    quantiles = median + deviation * ndtri(np.clip(ranks, 0.5, 1.0 - 1e-6))
    return np.where(losses <= median, losses, np.minimum(losses, quantiles[place]))


def noise_of(warped: Array, losses: Array, noise: Array) -> Array:
    """Return noise variances of warped losses, (n,): the warp's mean slope within a deviation.

    Args:
        warped: (n,) what a warp has made of the losses.
        losses: (n,) the losses.
        noise: (n,) their noise variances.
    """
    if not noise.any():
        return noise
    known, first = np.unique(losses, return_index=True)
    deviations = np.sqrt(noise)
    above = np.interp(losses + deviations, known, warped[first])
    below = np.interp(losses - deviations, known, warped[first])
    return np.asarray((0.5 * (above - below)) ** 2)


WARPS: tuple[Callable[[Array], Array], ...] = (standardised, half_ranked)
