"""Ranks, and how well one order predicts another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def ranks(values: Array) -> Array:
    """Return the rank of each value from 0, (n,); equal values share their mean rank."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - 0.5 * (counts + 1.0))[place])


def rank_correlation(a: Array, b: Array) -> float:
    """Return Spearman's rank correlation of two series, in [-1, 1]; 0 where one is constant."""
    left, right = ranks(np.asarray(a)), ranks(np.asarray(b))
    if left.std() == 0.0 or right.std() == 0.0:
        return 0.0
    return float(np.corrcoef(left, right)[0, 1])
