"""Where an acquisition is largest: a search over the rows of an encoding.

Random rows and small moves around the best ones find the region; the numbers of the best few are
then polished by gradient (L-BFGS-B, all of them as one problem), and values that are discrete by
trying all or the nearest of them, one coordinate at a time, as long as something moves.

m: rows   d: coordinates   n: trials
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from keratune.surrogates import spacing
from keratune.surrogates.encoding import Encoding

Array = NDArray[np.float64]

RANDOM, AROUND = 1000, 400  # rows drawn
JITTER = 0.1  # standard deviation of a move around a good row, in units of the cube
MOVED = 3  # coordinates that a move changes, on average
POLISHED = 5
POLISHING_STEPS = 20
ROUNDS = 2  # of discrete moves
NEIGHBOURS = 2  # values on each side that a discrete number with many values tries
FEW_VALUES = 12


class Acquisition(Protocol):
    """What is to be maximised."""

    def __call__(self, rows: Array) -> Array:
        """Return the values at rows (m, d)."""

    def slopes(self, rows: Array) -> tuple[Array, Array]:
        """Return the values at rows (m, d), and their gradients (m, d), zero for categories."""


def draw(encoding: Encoding, best_rows: Array, rng: np.random.Generator) -> Array:
    """Return random rows, and rows around good ones (b, d)."""
    d = len(encoding)
    moved = best_rows[rng.integers(len(best_rows), size=AROUND)]
    elsewhere = encoding.spread(rng.random((AROUND, d)))
    steps = np.where(
        encoding.categories > 0, elsewhere, moved + JITTER * rng.normal(size=(AROUND, d))
    )
    changes = rng.random((AROUND, d)) < min(1.0, MOVED / d)
    around = encoding.snap(np.where(changes, steps, moved))
    return np.vstack([encoding.spread(rng.random((RANDOM, d))), around])


def maximise(
    acquisition: Acquisition,
    encoding: Encoding,
    rows: Array,
    tried: Callable[[Array], bool],
    taken: Array | None = None,
) -> Array:
    """Return the row with the largest acquisition among those that no trial has.

    Args:
        acquisition: What is to be maximised.
        encoding: The coordinates.
        rows: (m, d) where to start.
        tried: Tells whether a trial has a row.
        taken: (n, d) rows to keep a distance from, see `surrogates.spacing`; None: from none.

    Returns:
        (d,) the row; a tried one when no other was met.
    """
    order = np.argsort(-acquisition(rows), kind="stable")
    top = rows[order[:POLISHED]]
    polished = [encoding.snap(polish(acquisition, encoding, top))]
    for _ in range(ROUNDS):
        stepped = step(acquisition, encoding, polished[-1])
        if (stepped == polished[-1]).all():
            break
        polished += [stepped, encoding.snap(polish(acquisition, encoding, stepped))]
    finalists = np.vstack([*polished, rows[order]])
    values = np.concatenate([acquisition(np.vstack(polished)), acquisition(rows)[order]])
    ranking = np.argsort(-values, kind="stable")
    ranked = finalists[ranking]
    if taken is not None and len(taken):
        gaps = spacing.nearest(encoding, ranked, taken)
        rho = spacing.wanted(len(encoding), len(taken))
        far = gaps >= spacing.affordable(values[ranking], gaps, rho)
        ranked = np.vstack([ranked[far], ranked])
    return next((row for row in ranked if not tried(row)), ranked[0])


def polish(acquisition: Acquisition, encoding: Encoding, rows: Array) -> Array:
    """Return rows with their numbers moved uphill; categories and what is absent stay."""
    moves = encoding.active(rows) & (encoding.categories == 0)
    if not moves.any():
        return rows

    def descent(places: Array) -> tuple[float, Array]:
        at = rows.copy()
        at[moves] = places
        values, gradients = acquisition.slopes(at)
        return -float(values.sum()), -gradients[moves]

    found = minimize(
        descent,
        rows[moves],
        jac=True,
        method="L-BFGS-B",
        bounds=[(0.0, 1.0)] * int(moves.sum()),
        options={"maxiter": POLISHING_STEPS},
    )
    polished = rows.copy()
    polished[moves] = found.x
    return polished


def step(acquisition: Acquisition, encoding: Encoding, rows: Array) -> Array:
    """Return rows with each discrete coordinate in turn at the best of its values."""
    rows = rows.copy()
    for j in range(len(encoding)):
        values = _values(encoding, j, rows[:, j])
        if not len(values):
            continue
        trials = np.repeat(rows, len(values) + 1, axis=0)
        trials[:, j] = np.concatenate([np.r_[row[j], values] for row in rows])
        scores = acquisition(encoding.snap(trials)).reshape(len(rows), -1)
        best = scores.argmax(axis=1)  # the first of equals: staying
        rows = encoding.snap(trials).reshape(len(rows), -1, len(encoding))[range(len(rows)), best]
    return rows


def _values(encoding: Encoding, j: int, places: Array) -> Array:
    """Return the values that a coordinate may try from these places."""
    if encoding.categories[j]:
        return np.arange(encoding.categories[j] - 1.0)
    levels = encoding.levels[j]
    if levels is None or len(levels) <= FEW_VALUES:
        return np.zeros(0) if levels is None else levels
    near = np.searchsorted(levels, places)[:, None] + np.arange(-NEIGHBOURS, NEIGHBOURS + 1)
    return levels[np.unique(np.clip(near, 0, len(levels) - 1))]
