"""The distance that new configurations keep from those that were tried.

Where a surrogate cannot be relied on, its most promising rows are twins of good trials, which teach
little. So a distance is kept from the n trials,

    rho = c sqrt(d) n^(-1/d)

which shrinks as that between evenly spread points does, and is halved as long as what is so far
away promises much less.

m: rows   d: coordinates   n: trials
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from keratune.surrogates.encoding import Encoding

Array = NDArray[np.float64]

# c: without distance the mean normalised regret of `Auto` on three TaskSet problems, after the
# epochs of 10 full trainings, was 0.48, with 0.35 it was 0.18; on six of LCBench it fell from 0.12
# to 0.09.
SPACING = 0.35
# Distance is kept as long as it costs at most this much of the logarithm of what a trial promises.
# With 8 the regret of `Auto` after 20 trainings' epochs was 0.09 instead of 0.06 on LCBench, and
# 0.09 instead of 0.10 on TaskSet.
LOG_PRICE, HALVINGS = 3.0, 5
BLOCK = 64  # rows whose distances to all trials are computed at once


def wanted(dimensions: int, count: int, spacing: float = SPACING) -> float:
    """Return rho for `count` trials; `spacing` is c."""
    return float(spacing * math.sqrt(dimensions) * max(count, 1) ** (-1.0 / dimensions))


def affordable(values: Array, gaps: Array, distance: float) -> float:
    """Return the distance, halved until what is so far away promises about as much as what is near.

    Args:
        values: (m,) logarithms of what rows promise.
        gaps: (m,) distances of the rows to the nearest trial.
        distance: The distance that is wanted.

    Returns:
        The distance; 0 where none can be kept.
    """
    for _ in range(HALVINGS):
        far = gaps >= distance
        if far.any() and values[far].max() >= values.max() - LOG_PRICE:
            return distance
        distance *= 0.5
    return 0.0


def nearest(encoding: Encoding, rows: Array, taken: Array) -> Array:
    """Return the distance of each row (m, d) to the nearest of others (n, d), inf without any.

    Different categories are 1 apart. |a - b|^2 = |a|^2 + (-2 a, 1) . (b, |b|^2): one product for
    some rows at a time, which stays in the processor's cache.
    """
    if not len(taken):
        return np.full(len(rows), np.inf)
    A, B = (_places(encoding, X) for X in (rows, taken))
    left = np.column_stack([-2.0 * A, np.ones(len(A))])
    right = np.column_stack([B, (B**2).sum(axis=1)]).T
    blocks = (left[k : k + BLOCK] @ right for k in range(0, len(left), BLOCK))
    squares = np.concatenate([np.zeros(0), *(block.min(axis=1) for block in blocks)])
    squares += (A**2).sum(axis=1)
    return np.sqrt(np.where(squares < 1e-12, 0.0, squares))  # of equal rows, but for rounding


def _places(encoding: Encoding, X: Array) -> Array:
    """Return rows (n, d) as points (n, e) at the same distances, where categories differ by 1."""
    numbers = encoding.categories == 0
    columns = [X[:, numbers]]
    for j in np.flatnonzero(~numbers):
        columns.append((X[:, [j]] == np.arange(encoding.categories[j])) * math.sqrt(0.5))
    return np.hstack(columns)
