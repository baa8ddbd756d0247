"""Bayesian optimisation with a Gaussian process (Jones et al., 1998; Ament et al., 2023).

The first trials are random. Then a Gaussian process over the encoded configurations, fitted to
warped losses, says where an improvement is to be expected, and the configuration with the largest
acquisition is tried: log expected improvement, and at every third trial the lower confidence bound
mu - beta sigma, which no single choice of acquisition beats on all problems (Huang et al., HEBO,
arXiv 2012.03826, makes the same point). Trials that run count with their predicted loss, failed
ones with the worst loss seen.

n: trials learnt from   d: coordinates   X: (n, d)   y: (n,) warped losses, smaller is better
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from keratune.algorithms.base import Algorithm, random_values
from keratune.encoding import Encoding
from keratune.history import History, Record
from keratune.numerics import acquisition, gp
from keratune.trial import TrialStatus

Array = NDArray[np.float64]

# An exact fit costs O(n^3): a third of a second at 400 trials. Beyond, the best and a random part
# of the others stand for all.
MOST_TRIALS, BEST_TRIALS = 400, 150
CANDIDATES, JITTERED, POLISHED = 1000, 400, 5
JITTER = 0.1  # standard deviation of a move around a good configuration, in unit-cube units


@final
class BayesianOptimization(Algorithm):
    """Learns from finished trials where an improvement is to be expected.

    Args:
        num_initial_points: Random trials before the first fit; default: one more than there are
            coordinates, at least 4 and at most 10.
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
        """Return the configuration with the largest acquisition, a random one at first."""
        encoding = Encoding(history.space)
        d = len(encoding)
        wanted = self.num_initial_points or min(max(d + 1, 4), 10)
        if history.completed_count < max(wanted, 2) or d == 0:
            return random_values(history, rng)
        process, best_rows = self._surrogate(history, encoding, rng)
        row = self._best_candidate(process, best_rows, encoding, len(history), rng)
        return encoding.decode(row)

    def _surrogate(
        self, history: History, encoding: Encoding, rng: np.random.Generator
    ) -> tuple[gp.Process, Array]:
        """Fit the process to what has finished; return it with the rows of the best trials."""
        records = _chosen(history, rng)
        X = encoding.encode([record.values for record in records])
        y = acquisition.warped(_losses(history, records))
        categories = encoding.categories > 0
        process = gp.fit(X, y, categories)
        theta = process.theta.copy()
        theta[-1] = max(theta[-1], np.log(self.alpha))
        running = [history[number].values for number in sorted(history.running)]
        best_rows = X[np.argsort(y, kind="stable")[:POLISHED]]
        if running:
            pending = encoding.encode(running)
            believed, _ = process.predict(pending)
            X, y = np.vstack([X, pending]), np.concatenate([y, believed])
        return gp.condition(X, y, categories, theta), best_rows

    def _best_candidate(
        self,
        process: gp.Process,
        best_rows: Array,
        encoding: Encoding,
        trial: int,
        rng: np.random.Generator,
    ) -> Array:
        """Return the row with the largest acquisition among random, jittered and polished ones."""
        means, _ = process.predict(process.X)
        value, slope = self._acquisition(process, float(means.min()), trial)
        rows = candidates(best_rows, encoding.categories, rng)
        scores = value(*process.predict(rows))
        top = rows[np.argsort(-scores, kind="stable")[:POLISHED]]
        polished = np.array([_polish(process, row, value, slope) for row in top])
        finalists = encoding.snap(np.vstack([top, polished]))
        final_scores = value(*process.predict(finalists))
        chosen: Array = finalists[int(np.argmax(final_scores))]
        return chosen

    def _acquisition(
        self, process: gp.Process, best: float, trial: int
    ) -> tuple[Callable[[Array, Array], Array], Callable[[float, float], tuple[float, float]]]:
        """Return the acquisition of means and standard deviations, and its two derivatives."""
        if trial % 3 == 2:
            return (
                lambda mean, std: self.beta * std - mean,
                lambda mean, std: (-1.0, self.beta),
            )
        return (
            lambda mean, std: acquisition.log_expected_improvement(mean, std, best),
            lambda mean, std: acquisition.log_expected_improvement_slopes(mean, std, best),
        )


def _chosen(history: History, rng: np.random.Generator) -> list[Record]:
    """Return the trials to learn from: all, or the best and a random part of the others."""
    finished = [history[number] for number in history.ended]
    if len(finished) <= MOST_TRIALS:
        return finished
    best = history.best(BEST_TRIALS)
    taken = {record.number for record in best}
    others = [record for record in finished if record.number not in taken]
    places = rng.choice(len(others), MOST_TRIALS - len(best), replace=False)
    return best + [others[place] for place in sorted(places)]


def _losses(history: History, records: list[Record]) -> Array:
    """Return the trials' losses, (n,); failed trials have the worst."""
    losses = np.array(
        [
            history.objective.to_loss(record.score)
            if record.status == TrialStatus.COMPLETED and record.score is not None
            else np.nan
            for record in records
        ]
    )
    return np.where(np.isnan(losses), np.nanmax(losses), losses)


def candidates(best_rows: Array, categories: NDArray[np.int_], rng: np.random.Generator) -> Array:
    """Return random rows, and rows around the best ones.

    Args:
        best_rows: (b, d) rows to move from.
        categories: (d,) number of categories, that of absence included; 0 for numbers.
        rng: Where chance comes from.
    """
    d = len(categories)
    rows = rng.random((CANDIDATES, d))
    for j in np.flatnonzero(categories):
        rows[:, j] = rng.integers(categories[j] - 1, size=CANDIDATES)
    moved = best_rows[rng.integers(len(best_rows), size=JITTERED)]
    changes = rng.random((JITTERED, d)) < min(1.0, 3.0 / d)
    steps = np.clip(moved + JITTER * rng.normal(size=moved.shape), 0.0, 1.0)
    steps[:, categories > 0] = rows[:JITTERED][:, categories > 0]
    return np.vstack([rows, np.where(changes, steps, moved)])


def _polish(
    process: gp.Process,
    row: Array,
    value: Callable[[Array, Array], Array],
    slope: Callable[[float, float], tuple[float, float]],
) -> Array:
    """Return the row with its numbers moved uphill (L-BFGS-B); categories stay."""
    numbers = ~process.is_category
    if not numbers.any():
        return row

    def descent(places: Array) -> tuple[float, Array]:
        point = row.copy()
        point[numbers] = places
        mean, std, mean_slope, std_slope = process.gradients(point)
        by_mean, by_std = slope(mean, std)
        gradient = by_mean * mean_slope + by_std * std_slope
        return -float(value(np.array([mean]), np.array([std]))[0]), -gradient[numbers]

    found = minimize(
        descent,
        row[numbers],
        jac=True,
        method="L-BFGS-B",
        bounds=[(0.0, 1.0)] * int(numbers.sum()),
        options={"maxiter": 20},
    )
    polished = row.copy()
    polished[numbers] = found.x
    return polished
