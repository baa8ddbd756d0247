"""Designs: low-discrepancy sequences, which fill the unit cube evenly, point by point.

Both are scrambled by the seed and any point can be asked for by its number, so that a design is a
pure function of (seed, number). Sobol's is most even after 2**k points; Halton's has no such
preferred lengths, and is less even in many dimensions. See `scipy.stats.qmc`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SOBOL, HALTON = "sobol", "halton"
SEQUENCES = (SOBOL, HALTON)


def point(sequence: str, number: int, dimensions: int, seed: int) -> Array:
    """Return a point of a scrambled sequence.

    Args:
        sequence: `"sobol"` or `"halton"`.
        number: Which point, from 0.
        dimensions: Number of coordinates; 0 gives an empty point.
        seed: Decides the scrambling.

    Returns:
        (dimensions,) numbers in [0, 1). Beyond the 21,201 dimensions of Sobol's sequence they are
        Halton's.

    Example:
        ```python
        point("sobol", 3, 2, seed=0)  # the fourth point of the square
        ```
    """
    if not dimensions:
        return np.zeros(0)
    from scipy.stats import qmc  # takes a third of a second to import

    sobol = sequence == SOBOL and dimensions <= qmc.Sobol.MAXDIM
    engine = (qmc.Sobol if sobol else qmc.Halton)(dimensions, scramble=True, seed=seed)
    if number:
        engine.fast_forward(number)
    return np.asarray(engine.random(1)[0])
