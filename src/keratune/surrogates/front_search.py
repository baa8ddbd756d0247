"""What a trial promises where one loss does not say it: several objectives, outcomes to be kept.

Two objectives have a surrogate each, of standardised losses, costs by their logarithms. What a
trial promises is the hypervolume that it is expected to add to the front
(`keratune.numerics.hypervolume`), above the thresholds where there are any. Of three objectives and
more, random weights make one loss for this proposal (ParEGO, see there).

An outcome has a surrogate of its slack s, stretched to sign(s) log(1 + |s|) so that far misses do
not drown what happens at the bound (Eriksson & Poloczek, 2021, SCBO, arXiv 2002.08526, section
2.3); the logarithm of the probability that s <= 0 is added to what the losses promise (Gelbart et
al., 2014, arXiv 1403.5607, eq. 7), and only trials that keep all outcomes count as incumbents.
What was given from elsewhere has a loss and no other metric: where there is one loss, its surrogate
learns from it, and it is no incumbent.

n: trials learnt from   d: coordinates   k: points   m: objectives   F: (n, m) losses
"""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keratune.history import History, Record
from keratune.numerics import acquisition, gp, hypervolume, pareto
from keratune.objectives import COST_NAMES, MultiObjective, Objective, ParetoObjective
from keratune.surrogates import surrogate
from keratune.surrogates.encoding import Encoding
from keratune.surrogates.surrogate import FEW_FAILURES, VIABILITY_WEIGHT, Surrogate

Array = NDArray[np.float64]

MOST_TRIALS = 250  # an exact process costs O(n^3); beyond, the best and a random part of the others
BEST_TRIALS = 120
BEST_ROWS = 10  # of the front, moved around in search of candidates
# Points that make a front, whose ends tell where it is worth while to look. With a single point the
# bounds would lie so close to it that the rest of the front is never found: on ZDT1 in 4 dimensions
# the hypervolume after 40 trials was 4.54 then, 4.82 with bounds behind all trials below 3 points,
# 4.40 with these for good (10 seeds, medians; random search: 4.10).
FEWEST_POINTS = 3


class Promise:
    """The sum of the logarithms of what a point promises; subclasses have one summand."""

    def __call__(self, rows: Array) -> Array:
        """Return the values at rows (k, d)."""
        raise NotImplementedError

    def slopes(self, rows: Array) -> tuple[Array, Array]:
        """Return the values at rows (k, d), and their gradients (k, d)."""
        raise NotImplementedError


@dataclasses.dataclass
class FrontPromise(Promise):
    """The logarithm of the hypervolume that a trial is expected to add to the front.

    Args:
        processes: One for each of the two objectives.
        front: (n, 2) what the processes say about the observations.
        reference: (2,) the reference point.
    """

    processes: Sequence[gp.Process]
    front: Array
    reference: Array

    def __call__(self, rows: Array) -> Array:
        """Return the values at rows (k, d)."""
        said = [process.predict(rows) for process in self.processes]
        mean, std = (np.column_stack([pair[i] for pair in said]) for i in (0, 1))
        return hypervolume.log_expected_improvement(mean, std, self.front, self.reference)

    def slopes(self, rows: Array) -> tuple[Array, Array]:
        """Return the values at rows (k, d), and their gradients (k, d)."""
        said = [process.gradients(rows) for process in self.processes]
        mean, std, mean_slope, std_slope = (np.stack([s[i] for s in said], 1) for i in range(4))
        values = hypervolume.log_expected_improvement(mean, std, self.front, self.reference)
        gradients = np.zeros(rows.shape)
        for row in range(len(rows)):
            by_mean, by_std = hypervolume.log_expected_improvement_slopes(
                mean[row], std[row], self.front, self.reference
            )
            gradients[row] = by_mean @ mean_slope[row] + by_std @ std_slope[row]
        return values, gradients


@dataclasses.dataclass
class Likely(Promise):
    """A promise, and how likely a process lies above a level there.

    Args:
        promise: What is promised if it does; None: nothing else counts.
        process: The process.
        level: The level, in its units.
        weight: How much the logarithm of the probability counts.
    """

    promise: Promise | surrogate.Acquisition | None
    process: gp.Process
    level: float
    weight: float = 1.0

    def __call__(self, rows: Array) -> Array:
        """Return the values at rows (k, d)."""
        mean, std = self.process.predict(rows)
        own = self.weight * acquisition.log_probability_above(mean, std, self.level)
        return own if self.promise is None else own + self.promise(rows)

    def slopes(self, rows: Array) -> tuple[Array, Array]:
        """Return the values at rows (k, d), and their gradients (k, d)."""
        mean, std, mean_slope, std_slope = self.process.gradients(rows)
        own = self.weight * acquisition.log_probability_above(mean, std, self.level)
        by_mean, by_std = acquisition.log_probability_above_slopes(mean, std, self.level)
        slope = self.weight * (by_mean[:, None] * mean_slope + by_std[:, None] * std_slope)
        if self.promise is None:
            return own, slope
        values, gradients = self.promise.slopes(rows)
        return own + values, slope + gradients


def is_needed(objective: Objective) -> bool:
    """Tell whether one loss does not say all about a trial."""
    return objective.count > 1 or bool(objective.outcomes)


def promise(
    history: History,
    encoding: Encoding,
    failed: Array,
    pending: Array,
    least_noise: float,
    rng: np.random.Generator,
) -> tuple[Promise | surrogate.Acquisition, Array] | None:
    """Return what trials promise, and rows (b, d) of good ones; None while there are no two trials.

    Args:
        history: What has happened.
        encoding: The coordinates.
        failed: (f, d) rows of failed trials.
        pending: (p, d) rows of trials that run.
        least_noise: Smallest noise variance of the standardised losses.
        rng: Where chance comes from.
    """
    records = _chosen(history, rng)
    if len(records) < 2:
        return None
    X = encoding.encode([record.values for record in records])
    features = gp.Features(encoding.categories)
    kept = [history.objective.violation(record.metrics) == 0.0 for record in records]
    losses = np.array([history.losses(record) for record in records], dtype=float)
    fit = _Fit(features, X, failed[-MOST_TRIALS:], pending, least_noise)
    good = np.array(kept) if any(kept) else np.ones(len(kept), dtype=bool)
    found: Promise | surrogate.Acquisition
    if losses.shape[1] == 2:
        found = _front_promise(history.objective, fit, losses, np.array(kept))
    else:
        found = _loss_promise(history, encoding, fit, losses, good, rng)
    for place, outcome in enumerate(history.objective.outcomes):
        slack = np.array([outcome.slack(record.metrics) for record in records])
        finite = np.where(np.isfinite(slack), slack, np.max(slack[np.isfinite(slack)], initial=1.0))
        stretched = -np.sign(finite) * np.log1p(np.abs(finite))
        process, level = fit.process(stretched, 0.0)
        counts = any(kept) or place > 0  # while nothing keeps them, nothing else is asked for
        found = Likely(found if counts else None, process, level)
    best = [record for record in history.best(BEST_ROWS) if record in records] or records[:1]
    rows = encoding.encode([record.values for record in best])
    return found, rows


def _chosen(history: History, rng: np.random.Generator) -> list[Record]:
    """Return the trials with finite losses: all, or the best and some of the others."""
    records = [
        record
        for record in map(history.__getitem__, [*history.ended, *sorted(history.paused)])
        if record.score is not None and all(math.isfinite(loss) for loss in history.losses(record))
    ]
    if len(records) <= MOST_TRIALS:
        return records
    records.sort(key=lambda record: history.rank(record.number) or 0)
    rest = records[BEST_TRIALS:]
    places = rng.choice(len(rest), MOST_TRIALS - BEST_TRIALS, replace=False)
    return records[:BEST_TRIALS] + [rest[place] for place in np.sort(places)]


@dataclasses.dataclass
class _Fit:
    """Fits surrogates of columns to the same rows.

    Args:
        features: The layout of the coordinates.
        X: (n, d) rows.
        failed: (f, d) rows of failed trials.
        pending: (p, d) rows of trials that run.
        least_noise: Smallest noise variance of a standardised column.
    """

    features: gp.Features
    X: Array
    failed: Array
    pending: Array
    least_noise: float

    def with_given(self, X: Array) -> _Fit:
        """Return the fit of columns that know further rows (g, d) as well."""
        return dataclasses.replace(self, X=np.vstack([self.X, X]))

    def surrogate(self, column: Array) -> Surrogate:
        """Return the surrogate of a column (n,)."""
        none = np.zeros(len(self.X))
        return surrogate.fit(self.features, self.X, column, none, self.failed, self.least_noise)

    def process(self, column: Array, value: float) -> tuple[gp.Process, float]:
        """Return the standardised process of a column, and where a value lies in its units."""
        few = len(self.failed) if len(self.failed) < FEW_FAILURES else 0
        told = np.append(column, [column.max()] * few)  # as `surrogate.fit` counts failures
        spread = float(told.std())
        level = (value - float(told.mean())) / (spread or 1.0)
        process = self.surrogate(column).members[0].process
        return process.with_believed(self.pending) if len(self.pending) else process, level


def _columns(objective: Objective, losses: Array) -> Array:
    """Return losses (n, m) with costs, which spread over powers of ten, as logarithms."""
    names = [part.name for part in _parts(objective)]
    columns = losses.copy()
    for j, name in enumerate(names):
        if name in COST_NAMES and (losses[:, j] > 0.0).all():
            columns[:, j] = np.log(losses[:, j])
    return columns


def _parts(objective: Objective) -> list[Objective]:
    return objective.objectives if isinstance(objective, MultiObjective) else [objective]


def _front_promise(objective: Objective, fit: _Fit, losses: Array, kept: Array) -> Promise:
    """Return the expected gain in hypervolume of two objectives."""
    thresholds = objective.thresholds if isinstance(objective, ParetoObjective) else [math.inf] * 2
    bounds = np.vstack([losses, np.where(np.isfinite(thresholds), thresholds, losses.max(axis=0))])
    columns = _columns(objective, bounds)
    told = [fit.process(columns[:-1, j], float(columns[-1, j])) for j in (0, 1)]
    processes = [process for process, _ in told]
    said = np.column_stack([process.predict(fit.X)[0] for process in processes])
    front = said[kept]
    levels = np.array([level for _, level in told])
    reference = np.where(np.isfinite(thresholds), levels, _reference(said, front))
    promised: Promise = FrontPromise(processes, front, reference)
    viability = fit.surrogate(columns[:-1, 0]).viability
    if viability is not None:
        promised = Likely(promised, viability.process, viability.level, VIABILITY_WEIGHT)
    return promised


def _reference(said: Array, front: Array) -> Array:
    """Return where a gain begins: behind the front's ends, behind everything while they are few."""
    best = front[pareto.front(front)]
    return hypervolume.reference_point(best if len(best) >= FEWEST_POINTS else said)


def _loss_promise(
    history: History,
    encoding: Encoding,
    fit: _Fit,
    losses: Array,
    kept: Array,
    rng: np.random.Generator,
) -> surrogate.Acquisition:
    """Return the expected improvement of one loss on the trials that count as incumbents."""
    if losses.shape[1] > 1:
        weights = rng.dirichlet(np.ones(losses.shape[1]))
        column = hypervolume.chebyshev(_columns(history.objective, losses), weights)
        whole = fit.surrogate(column)
    else:
        given = _chosen_given(history)
        told = encoding.encode([values for values, _ in given])
        column = np.append(losses[:, 0], [loss for _, loss in given])
        whole = fit.with_given(told).surrogate(column)
    believed = whole.with_pending(fit.pending)
    members = [
        surrogate.Member(m.process, float(m.process.predict(fit.X[kept])[0].min()))
        for m in believed.members
    ]
    return surrogate.Acquisition(Surrogate(members, whole.viability)).measured_by(fit.X)


def _chosen_given(history: History) -> list[tuple[dict[str, Any], float]]:
    """Return observations from elsewhere, the best of them where they are many."""
    finite = [pair for pair in history.given if math.isfinite(pair[1])]
    return sorted(finite, key=operator.itemgetter(1))[:BEST_TRIALS]
