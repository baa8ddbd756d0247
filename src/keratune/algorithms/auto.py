"""A Gaussian process over configurations and epochs, which learns from trials of any length.

Made for a scheduler that pauses most trials early. Each trial is some observations of one function
f(x, t, i) of configuration, epochs and trial: its best loss at each milestone of its curve,
levelled and ranked (`keratune.numerics.curves`). One Matern process with a length scale for each
hyperparameter, one for log t and one for "is another trial" learns by itself how much short
trainings say about long ones, and how much of a loss is the trial's own. The next configuration
is the one with the largest expected improvement, not now but after T epochs, on the lowest mean
that a trial has there.

    k = s2 Matern-5/2(r)
    r2 = sum_j (x_j - x'_j)^2 / l_j^2 + (log t - log t')^2 / l_t^2 + [i != i'] / l_i^2

Time as a coordinate is Swersky et al.'s and Klein et al.'s (Freeze-thaw Bayesian optimization,
2014, arXiv 1406.3896; Fast Bayesian optimization on large datasets, 2017, arXiv 1605.07079);
proposals by such a process and promotions by rank are MOBSTER's (Klein et al., 2020, arXiv
2003.10865). New here is the distance that is kept: a configuration closer than

    rho = c sqrt(d) n^(-1/d)

to one of the n trials is not started, unless what is to be won lies that close. What a twin of a
good trial would teach, training that trial further teaches as well, and it is paused, ready to go
on. rho shrinks as the distance between n evenly spread points does.

What the user believes about good values (`surrogates.beliefs`) has a share in every other one of
the first points and in what a configuration promises; what the constraint forbids is passed over.

n: trials   d: coordinates of a configuration   N: observations   T: longest training so far
"""

from __future__ import annotations

import copy
import itertools
import weakref
from collections.abc import Callable
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from keratune.algorithms.base import Algorithm, random_values
from keratune.history import History
from keratune.numerics import acquisition, curves, gp
from keratune.surrogates import beliefs, candidates, filling, spacing
from keratune.surrogates.curve_observations import CurveObservations, observe_curves, rows_of
from keratune.surrogates.encoding import Encoding
from keratune.surrogates.observations import observe

Array = NDArray[np.float64]

# An exact process over N observations costs O(N^3): 250 take 5 ms, and the fit of the length scales
# 0.15 s, which happens each time there is a fifth more to be known.
MOST_OBSERVATIONS, GROWTH = 250, 1.2
BEST_ROWS, TOP_ROWS = 8, 5  # rows that the search for candidates moves around
# The place of log l_i in theta, and its smallest value: a tenth of the variance is a trial's own at
# most. A fit to few trials may else explain every loss by the trial that it belongs to.
OWN, LEAST_LOG_OWN = -3, 1.0
BELIEVED_ROWS = 200  # candidates drawn from the priors, where there are any


@final
class Auto(Algorithm):
    """Learns from trials of any length, paused and stopped ones too, what a long one would be.

    Args:
        num_initial_points: Evenly spread trials before the first fit; default: one more than there
            are hyperparameters, at least 4 and at most 10.
        spacing: c, how far new configurations keep from all others; 0: not at all.

    Example:
        ```python
        tuner = keratune.Search(
            build_model, "val_loss", max_trials=200, algorithm="auto", scheduler="auto"
        )
        tuner.search(x, y, epochs=50, validation_split=0.2)
        ```
    """

    def __init__(
        self, num_initial_points: int | None = None, spacing: float = spacing.SPACING
    ) -> None:
        """Keep the settings."""
        self.num_initial_points = num_initial_points
        self.spacing = spacing

    def suggest(self, history: History, rng: np.random.Generator) -> dict[str, Any] | None:
        """Return the configuration that promises most in the end, evenly spread ones at first."""
        seen = observe(history)
        encoding = seen.encoding
        d = len(encoding)
        if d == 0:
            return random_values(history, rng)
        rows = rows_of(history, encoding)
        known = observe_curves(history, encoding, rows, len(history.reports), MOST_OBSERVATIONS)
        wanted = self.num_initial_points or min(max(d + 1, 4), 10)
        agreement = beliefs.agreement(encoding, seen.X, seen.losses)

        def forbidden(row: Array) -> bool:
            return not history.allowed(encoding.decode(row))

        if len(set(known.trials.tolist())) < max(wanted, 2):
            return filling.next_values(
                history, encoding, agreement, lambda r: seen.tried(r) or forbidden(r), rng
            )
        taken = np.vstack([np.array(list(rows.values())).reshape(-1, d), seen.failed])
        distance = spacing.wanted(d, len(rows), self.spacing)
        share = agreement * beliefs.BETA / max(len(seen.losses), 1)
        model = _Model(encoding, known, _theta(history, encoding, rows), share)
        model = model.with_pending(history, rows)
        row = _most_promising(model, taken, distance, forbidden, rng)
        return random_values(history, rng) if row is None else encoding.decode(row)


class _Data:
    """Observations as a process wants them.

    Args:
        encoding: The coordinates of configurations.
        seen: The observations.

    Attributes:
        features: The layout of a configuration, time, and one of the trials or a new one.
        X: (N, d + 2) rows of this layout.
        y: (N,) warped losses.
    """

    def __init__(self, encoding: Encoding, seen: CurveObservations) -> None:
        """Lay out and warp."""
        numbers, own = np.unique(seen.trials, return_inverse=True)
        self.new_trial = len(numbers)
        self.end = float(curves.place(seen.epochs.max()))
        self.features = gp.Features(np.append(encoding.categories, [0, len(numbers) + 1]))
        self.X = np.column_stack([seen.rows, curves.place(seen.epochs), own])
        levelled = curves.levelled(seen.epochs, seen.trials, seen.losses)
        self.y = curves.better_half_by_rank(levelled, seen.trials)

    def in_the_end(self, rows: Array) -> Array:
        """Return the points of new trials with these rows (m, d) at the end of a training."""
        m = len(rows)
        return np.column_stack([rows, np.full(m, self.end), np.full(m, self.new_trial)])


class _Model:
    """What the observations say about configurations at the end of the longest training.

    Args:
        encoding: The coordinates of configurations.
        seen: The observations.
        theta: Hyperparameters of the process.
        share: Weight of the logarithm of the priors' density in what a configuration promises.
    """

    def __init__(
        self, encoding: Encoding, seen: CurveObservations, theta: Array, share: float
    ) -> None:
        """Condition the process."""
        self.encoding, self.seen, self.share = encoding, seen, share
        self.data = data = _Data(encoding, seen)
        self.process = gp.condition(data.features, data.X, data.y, theta)
        in_the_end = data.X.copy()
        in_the_end[:, -2] = data.end
        self.means = self.process.predict(in_the_end)[0]
        self.best = float(self.means.min())

    def promise(self, rows: Array) -> Array:
        """Return the log expected improvement at rows (m, d), the priors' share added."""
        mean, std = self.process.predict(self.data.in_the_end(rows))
        values = acquisition.log_expected_improvement(mean, std, self.best)
        return values + self.share * beliefs.log_prior(self.encoding, rows)

    def candidates(self, around: Array, rng: np.random.Generator) -> Array:
        """Return random rows, rows around good ones, and rows that the priors believe in."""
        drawn = candidates.draw(self.encoding, around, rng)
        if not beliefs.are_held(self.encoding.space):
            return drawn
        points = rng.random((BELIEVED_ROWS, len(self.encoding)))
        return np.vstack([drawn, beliefs.spread(self.encoding, points)])

    def with_pending(self, history: History, rows: dict[int, Array]) -> _Model:
        """Return the model once trials without a report have come out as it expects."""
        known = set(self.seen.trials.tolist())
        waiting = sorted(n for n in history.running.union(history.queue) if n not in known)
        if not waiting:
            return self
        model = copy.copy(self)
        pending = np.array([rows[number] for number in waiting])
        model.process = self.process.with_believed(self.data.in_the_end(pending))
        return model

    def good_rows(self) -> Array:
        """Return the rows of the best trials: by what they will come to, and by what they have."""
        by_mean = np.argsort(self.means, kind="stable")
        by_loss = np.argsort(self.seen.losses, kind="stable")
        return np.vstack([_distinct(self.seen.rows[order]) for order in (by_mean, by_loss)])


def _distinct(rows: Array) -> Array:
    """Return the first few rows that differ."""
    _, first = np.unique(rows, axis=0, return_index=True)
    return rows[np.sort(first)[:BEST_ROWS]]


def _most_promising(
    model: _Model,
    taken: Array,
    distance: float,
    forbidden: Callable[[Array], bool],
    rng: np.random.Generator,
) -> Array | None:
    """Return the row that promises most of those that keep the distance and are allowed.

    The search is one of two rounds: anywhere and around good trials, then around the best found.
    None where no row was met that is allowed and not taken.
    """
    around = model.good_rows()
    found = around[:0]
    for _ in range(2):
        drawn = np.vstack([found, model.candidates(around, rng)])
        gaps = spacing.nearest(model.encoding, drawn, taken)
        drawn, gaps = drawn[gaps > 0.0], gaps[gaps > 0.0]
        values = model.promise(drawn)
        order = np.argsort(-values, kind="stable")
        first = next((place for place, i in enumerate(order) if not forbidden(drawn[i])), None)
        if first is None:
            return None
        order = order[first:]  # those before it are forbidden
        kept = spacing.affordable(values[order], gaps[order], distance)
        far = order[gaps[order] >= kept]
        allowed = (row for row in drawn[far] if not forbidden(row))
        found = around = np.array(list(itertools.islice(allowed, TOP_ROWS)) or [drawn[order[0]]])
    best: Array = found[0]
    return best


_fits: weakref.WeakKeyDictionary[History, tuple[bytes, Array]] = weakref.WeakKeyDictionary()


def _theta(history: History, encoding: Encoding, rows: dict[int, Array]) -> Array:
    """Return the process's hyperparameters, as of a number of reports that grows geometrically.

    So a resumed search, which knows no earlier fit, comes to the same ones.
    """
    known = 1
    while (further := max(int(known * GROWTH), known + 1)) <= len(history.reports):
        known = further
    known = min(known, len(history.reports))
    seen = observe_curves(history, encoding, rows, known, MOST_OBSERVATIONS)
    start = gp.prior_mean(len(encoding) + 2)
    start[OWN] = LEAST_LOG_OWN
    if len(seen.losses) < 2:
        return start
    data = _Data(encoding, seen)
    key = data.X.tobytes() + data.y.tobytes()
    if history not in _fits or _fits[history][0] != key:
        theta = gp.Posterior(data.features, data.X, data.y).mode(start)
        theta[OWN] = max(theta[OWN], LEAST_LOG_OWN)
        _fits[history] = key, theta
    return _fits[history][1]
