"""Even filling: the first trials, from which an algorithm begins to learn.

Trial i is point i of a Sobol sequence, which fills the space evenly; where the user believes
something about good values (`surrogates.beliefs`), every other point is laid out by that. Where
such a point was tried, or the user's constraint forbids it, a random point takes its place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keratune._random import derived_seed
from keratune.algorithms.base import random_values
from keratune.history import History
from keratune.numerics import designs
from keratune.surrogates import beliefs
from keratune.surrogates.encoding import Encoding

Array = NDArray[np.float64]

SPARE_POINTS = 100  # random ones, for a point of the design that is of no use
TRUSTED = 0.5  # priors count here while the losses agree with them this much


def next_values(
    history: History,
    encoding: Encoding,
    agreement: float,
    useless: Callable[[Array], bool],
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Return the next trial's point of the design, a random configuration where that is of no use.

    Args:
        history: What has happened.
        encoding: The coordinates.
        agreement: How well the priors go with what was seen, from 0 to 1.
        useless: Tells whether a row (d,) was tried or is forbidden.
        rng: Where chance comes from.
    """
    number, d = history.next_number, len(encoding)
    point = designs.point(designs.SOBOL, number, d, derived_seed(history.seed, "design"))
    if history.discarded.get(number) or history.rejections(number):  # it was of no use before
        point = rng.random(d)
    laid = beliefs.spread if number % 2 and agreement > TRUSTED else Encoding.spread
    rows = laid(encoding, np.vstack([point, rng.random((SPARE_POINTS, d))]))
    row = next((row for row in rows if not useless(row)), None)
    return random_values(history, rng) if row is None else encoding.decode(row)
