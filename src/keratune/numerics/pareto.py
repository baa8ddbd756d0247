"""The Pareto front, the order of points behind it, and the point to take from it.

n: points   m: losses of a point, smaller is better; all are finite

Ranks and the crowding distance are those of NSGA-II (Deb et al., 2002, A fast and elitist
multiobjective genetic algorithm, IEEE Transactions on Evolutionary Computation 6(2), sections
III-A and III-B).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def front(losses: Array) -> NDArray[np.bool_]:
    """Tell which points no other point dominates; equal points are all kept.

    A point dominates another when it is nowhere worse and somewhere better.

    Args:
        losses: (n, m) losses.

    Returns:
        (n,) whether the point is on the front.

    Example:
        ```python
        front(np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]))  # [True, True, False]
        ```
    """
    kept = np.zeros(len(losses), dtype=bool)
    # In lexicographic order no point is dominated by a later one.
    for place in np.lexsort(losses.T[::-1]):
        rivals = losses[kept]
        nowhere_worse = (rivals <= losses[place]).all(axis=1)
        somewhere_better = (rivals < losses[place]).any(axis=1)
        kept[place] = not (nowhere_worse & somewhere_better).any()
    return kept


def ranks(losses: Array) -> NDArray[np.int_]:
    """Return each point's rank: 0 on the front, 1 on the front of what is left without it, ...

    Takes O(n^2 m) time and n^2 bytes.

    Args:
        losses: (n, m) losses.

    Returns:
        (n,) ranks.

    Example:
        ```python
        ranks(np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [2.0, 2.0]]))  # [0, 0, 1, 2]
        ```
    """
    dominates = _dominates(losses)
    rivals = dominates.sum(axis=0)  # of each point: points not ranked yet that dominate it
    result = np.full(len(losses), -1)
    rank = 0
    while (result < 0).any():
        members = np.flatnonzero((rivals == 0) & (result < 0))
        result[members] = rank
        rivals -= dominates[members].sum(axis=0)
        rank += 1
    return result


def _dominates(losses: Array) -> NDArray[np.bool_]:
    """Return (n, n): whether the row's point dominates the column's."""
    n, m = losses.shape
    nowhere_worse = np.ones((n, n), dtype=bool)
    somewhere_better = np.zeros((n, n), dtype=bool)
    for j in range(m):
        one, other = losses[:, j, None], losses[None, :, j]
        nowhere_worse &= one <= other
        somewhere_better |= one < other
    return nowhere_worse & somewhere_better


def crowding(losses: Array) -> Array:
    """Return how far each point's neighbours are from each other; inf where it has none.

    For each loss, the distance between the next smaller and the next larger point, as a part of
    the range; summed over the losses. The larger, the more would be lost with the point.

    Args:
        losses: (n, m) losses of points of one rank.

    Returns:
        (n,) distances.
    """
    n, m = losses.shape
    total = np.zeros(n)
    for j in range(m):
        order = np.argsort(losses[:, j], kind="stable")
        column = losses[order, j]
        span = column[-1] - column[0] if n else 0.0
        total[order[:1]] = total[order[-1:]] = np.inf
        if span > 0.0:
            total[order[1:-1]] += (column[2:] - column[:-2]) / span
    return total


def order(losses: Array) -> NDArray[np.int_]:
    """Return the places of the points, the best first: by rank, then the least crowded.

    So the first k points are those that go on where k of them may: whole fronts, and of the last
    one the points that are farthest from others. Ties go to the earlier point.

    Args:
        losses: (n, m) losses.

    Returns:
        (n,) places.

    Example:
        ```python
        order(np.array([[2.0, 2.0], [0.0, 1.0], [1.0, 0.0]]))  # [1, 2, 0]
        ```
    """
    rank = ranks(losses)
    distance = np.empty(len(losses))
    for value in np.unique(rank):
        members = rank == value
        distance[members] = crowding(losses[members])
    return np.lexsort((-distance, rank))


def knee(losses: Array) -> int:
    """Return the place of the point that is the best compromise; the first one of equals.

    Of the front's points, each loss brought to [0, 1] over the front, it is the nearest to the
    ideal point, which has every loss 0 (Zeleny, 1973, Compromise programming).

    Args:
        losses: (n, m) losses, n >= 1.

    Returns:
        A place in `losses`.

    Example:
        ```python
        knee(np.array([[0.0, 1.0], [0.1, 0.2], [1.0, 0.0]]))  # 1
        ```
    """
    places = np.flatnonzero(front(losses))
    best, worst = losses[places].min(axis=0), losses[places].max(axis=0)
    span = np.where(worst > best, worst - best, 1.0)
    return int(places[np.argmin((((losses[places] - best) / span) ** 2).sum(axis=1))])
