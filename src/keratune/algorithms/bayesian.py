"""Bayesian optimisation with Gaussian processes (Jones et al., 1998; Ament et al., 2023).

The first trials are points of a Sobol sequence, which fills the space evenly. Then a surrogate
(`surrogates.surrogate`) says where an improvement is to be expected, and the configuration that
promises most is tried: by log expected improvement, and at every third trial by the lower
confidence bound, which is bolder; no acquisition is best on all problems (Cowen-Rivers et al.,
HEBO, 2022, arXiv 2012.03826). While the surrogate orders the trials that it has not seen hardly
better than chance, the even filling goes on: what a surrogate without insight proposes are the
corners of the space, and they teach less. Later, as long as that is so, proposals keep a distance
from all trials (`surrogates.candidates`): else they crowd around the best one. Trials that run are
part of the filling, and later count as if they came out a little worse than expected
(`surrogates.surrogate`). What the user believes about good values (`surrogates.beliefs`) has a
share in every other point of the filling and in the acquisition; what was given from elsewhere
counts as trials do.

n: trials learnt from   d: coordinates   X: (n, d)
"""

from __future__ import annotations

import functools
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from keratune.algorithms.base import Algorithm, random_values
from keratune.history import History
from keratune.numerics import gp
from keratune.surrogates import beliefs, candidates, filling, front_search, surrogate
from keratune.surrogates.encoding import Encoding
from keratune.surrogates.observations import Observations, observe

Array = NDArray[np.float64]

# An exact process over n trials costs O(n^3). Beyond MOST_TRIALS, the best, those nearest to the
# best one, and a random part of the others stand for all.
MOST_TRIALS, BEST_TRIALS, NEAREST_TRIALS = 250, 80, 80
# Every third proposal is the most promising by the confidence bound.
BOUND_EVERY = 3
BEST_ROWS = 5  # moved around in search of candidates
BELIEVED_ROWS = 200  # candidates drawn from the priors, where there are any
# Insight (see `Surrogate.insight`) below which the even filling goes on, up to so many trials, and
# below which proposals keep a distance from trials. Ten random trials of smooth losses give 0.14 to
# 0.54 on average, of losses with plateaus at most 0.1. With the distance the mean normalised regret
# of the three TaskSet problems that it was chosen on, after 50 trials, fell from 0.42 to 0.31 (10
# seeds); of three others it came to 0.39, not 0.43, after 25, to 0.32, not 0.26, after 50, and to
# 0.15, not 0.16, after 100 (5 seeds; standard errors of these differences 0.02, 0.05, 0.05).
LITTLE_INSIGHT, MOST_FILLING = 0.25, 20


@final
class BayesianOptimization(Algorithm):
    """Learns from finished trials where an improvement is to be expected.

    Args:
        num_initial_points: Evenly spread trials before the first fit, which waits for half of them
            to end; default: one more than there are coordinates, at least 4 and at most 10, and
            more while little can be foreseen.
        alpha: Smallest noise variance of the standardised losses.
        beta: Standard deviations below the mean that the confidence bound takes.
    """

    def __init__(
        self, num_initial_points: int | None = None, alpha: float = 1e-4, beta: float = 2.6
    ) -> None:
        """Keep the settings."""
        self.num_initial_points = num_initial_points
        self.alpha = alpha
        self.beta = beta

    def suggest(self, history: History, rng: np.random.Generator) -> dict[str, Any] | None:
        """Return the configuration that promises most, evenly spread ones at first."""
        seen = observe(history)
        d = len(seen.encoding)
        if d == 0:
            return random_values(history, rng)
        wanted = self.num_initial_points or min(max(d + 1, 4), 10)
        known, laid = len(seen.losses), len(seen.losses) + len(seen.pending)
        if known < max(wanted // 2, 2) or laid < wanted:
            return _filling(history, seen, rng)
        if front_search.is_needed(history.objective):
            return self._of_several(history, seen, rng)
        chosen = _chosen(seen, rng)
        features = gp.Features(seen.encoding.categories)
        X, losses, noise = seen.X[chosen], seen.losses[chosen], seen.noise[chosen]
        failed = seen.failed[-MOST_TRIALS:]
        model = surrogate.fit(features, X, losses, noise, failed, self.alpha)
        blind = model.insight(losses) < LITTLE_INSIGHT
        if blind and self.num_initial_points is None and laid < MOST_FILLING:
            return _filling(history, seen, rng)
        model = model.with_pending(seen.pending)
        best_rows = X[np.argsort(losses, kind="stable")[:BEST_ROWS]]
        rows = _candidates(seen.encoding, best_rows, rng)
        bound = self.beta if history.next_number % BOUND_EVERY == BOUND_EVERY - 1 else None
        acquisition = surrogate.Acquisition(model, bound).measured_by(rows)
        promise = beliefs.weighed_in(acquisition, seen.encoding, X, losses)
        useless = functools.partial(_is_useless, history, seen)
        taken = np.vstack([X, failed, seen.pending]) if blind else None
        row = candidates.maximise(promise, seen.encoding, rows, useless, taken)
        return seen.encoding.decode(row)

    def _of_several(
        self, history: History, seen: Observations, rng: np.random.Generator
    ) -> dict[str, Any]:
        """Return what promises most by several objectives, or under outcomes."""
        found = front_search.promise(
            history, seen.encoding, seen.failed, seen.pending, self.alpha, rng
        )
        if found is None:
            return _filling(history, seen, rng)
        promise = beliefs.weighed_in(found[0], seen.encoding, seen.X, seen.losses)
        rows = _candidates(seen.encoding, found[1], rng)
        useless = functools.partial(_is_useless, history, seen)
        return seen.encoding.decode(candidates.maximise(promise, seen.encoding, rows, useless))


def _candidates(encoding: Encoding, best_rows: Array, rng: np.random.Generator) -> Array:
    """Return random rows, rows around good ones (b, d), and rows that the priors believe in."""
    rows = candidates.draw(encoding, best_rows, rng)
    if not beliefs.are_held(encoding.space):
        return rows
    points = rng.random((BELIEVED_ROWS, len(encoding)))
    return np.vstack([rows, beliefs.spread(encoding, points)])


def _is_useless(history: History, seen: Observations, row: Array) -> bool:
    """Tell whether a row was tried, or the user's constraint forbids it."""
    return seen.tried(row) or not history.allowed(seen.encoding.decode(row))


def _filling(history: History, seen: Observations, rng: np.random.Generator) -> dict[str, Any]:
    """Return the trial's point of the design, a random configuration where that was tried."""
    agreement = beliefs.agreement(seen.encoding, seen.X, seen.losses)
    useless = functools.partial(_is_useless, history, seen)
    return filling.next_values(history, seen.encoding, agreement, useless, rng)


def _chosen(seen: Observations, rng: np.random.Generator) -> NDArray[np.intp]:
    """Return which trials to learn from, the best ones first where they are not all."""
    n = len(seen.losses)
    if n <= MOST_TRIALS:
        return np.arange(n)
    order = np.argsort(seen.losses, kind="stable")
    best, others = order[:BEST_TRIALS], order[BEST_TRIALS:]
    numbers = seen.encoding.categories == 0
    gaps = seen.X[others] - seen.X[best[0]]
    distances = np.where(numbers, gaps**2, gaps != 0.0).sum(axis=1)
    by_distance = others[np.argsort(distances, kind="stable")]
    near, far = by_distance[:NEAREST_TRIALS], by_distance[NEAREST_TRIALS:]
    rest = rng.choice(len(far), MOST_TRIALS - BEST_TRIALS - NEAREST_TRIALS, replace=False)
    return np.concatenate([best, far[np.sort(rest)], near])
