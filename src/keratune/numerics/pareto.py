"""The Pareto front: the points that no other point beats.

n: points   m: losses of a point, smaller is better
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def front(losses: NDArray[np.float64]) -> NDArray[np.bool_]:
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
