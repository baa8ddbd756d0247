"""Quasi-random search: trial number k tries point k of a scrambled low-discrepancy sequence.

The points fill the space evenly at any moment, so the best of n of them is as good as the best of
more random ones where few hyperparameters matter, and no region is left out by bad luck (Bousquet
et al., 2017, arXiv 1706.03200). A point decides a value for every hyperparameter known so far;
those that turn out to be inactive are dropped. What the user believes (`surrogates.beliefs`) makes
the points denser where good values are expected. Nothing is learnt from results, so many workers at
once lose nothing. See `keratune.numerics.designs` for the sequences.
"""

from __future__ import annotations

from typing import Any, final

import numpy as np

from keratune._random import derived_seed
from keratune.algorithms.base import Algorithm
from keratune.history import History
from keratune.numerics import designs
from keratune.surrogates import beliefs
from keratune.surrogates.encoding import Encoding

SPARE_POINTS = 20  # random ones, for a point that was tried already or that is forbidden


@final
class QuasiRandom(Algorithm):
    """Tries the points of a sequence that fills the space evenly.

    Args:
        sequence: `"sobol"`, or `"halton"`, whose points are even in runs of any length and less so
            in many dimensions.

    Raises:
        ValueError: There is no such sequence.

    Example:
        ```python
        algorithm = QuasiRandom("halton")
        ```
    """

    learns = False

    def __init__(self, sequence: str = designs.SOBOL) -> None:
        """Check the name and keep it."""
        if sequence not in designs.SEQUENCES:
            raise ValueError(
                f"`sequence` must be one of {list(designs.SEQUENCES)}. "
                f"Received: sequence={sequence!r}."
            )
        self.sequence = sequence

    def suggest(self, history: History, rng: np.random.Generator) -> dict[str, Any] | None:
        """Return the point whose place is the trial's number, a random one if it is of no use."""
        encoding = Encoding(history.space)
        encoding.pin(history.shared)
        d, seed = len(encoding), derived_seed(history.seed, "design")
        point = designs.point(self.sequence, history.next_number, d, seed)
        rows = beliefs.spread(encoding, np.vstack([point, rng.random((SPARE_POINTS, d))]))
        values: dict[str, Any] = {}
        for row in rows:
            values = encoding.decode(row)
            if history.allowed(values) and not history.tree.covers(values):
                break
        return values
