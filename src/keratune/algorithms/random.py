"""Random search (Bergstra & Bengio, 2012): each value at a uniformly random position.

A position is uniform in [0, 1], so a hyperparameter with log sampling is uniform on the log
scale, and one with a step takes each of its values with the same probability.
"""

from __future__ import annotations

from typing import Any, final

import numpy as np

from keratune.algorithms.base import Algorithm, random_values
from keratune.history import History


@final
class RandomSearch(Algorithm):
    """Draws every configuration independently of all others."""

    learns = False

    def suggest(self, history: History, rng: np.random.Generator) -> dict[str, Any] | None:
        """Return a random configuration."""
        return random_values(history, rng)
