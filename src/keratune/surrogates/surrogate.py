"""The surrogate: an average of Gaussian processes, and what it promises.

Each member is a Gaussian process of the same rows and of losses warped in its own way
(`keratune.numerics.warps`). Expected improvement is averaged over the members, each measured by
the largest it has found: warps have different units, and no single warp fits all losses.

Failed trials have no loss. As long as they are few, they count with the worst one; from three on, a
process of its own over failed (0) and completed (1) trials says how likely a point is to be
viable, and a multiple of the logarithm of that is added to the acquisition (after Gelbart et al.,
2014, arXiv 1403.5607, who add it once).

Trials that run count as if they came out worse than expected by `PESSIMISM` standard deviations:
where little is known there is then less to be hoped for close to them, and several workers try
different things. Where much is known they count as the mean, so that a good region is not left
because one trial of it runs.

n: observations   d: coordinates   m: points   k: members
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr

from keratune.numerics import acquisition, gp, warps

Array = NDArray[np.float64]

FEW_FAILURES = 3
# A failed trial costs more than a missed improvement, and where losses get better towards a border
# behind which trials fail, every other proposal would fail. Measured on made-up problems whose
# failing half begins near the optimum, share of failures in the last 20 of 40 trials: 11 to 26 %,
# with 1/2 and weight 4 it was 30 to 46 %, and the best losses were hardly better.
VIABLE = 0.9  # between failed, 0, and completed, 1
VIABILITY_WEIGHT = 10.0
# 0 is the kriging believer, and a constant high value the constant liar, of Ginsbourger et al.
# (2010). With 8 workers the geometric mean of the normalised regret after 25 and 50 trials (12 real
# problems, 6 seeds) was 0.111 and 0.0114 with 0, where durations are equal; with 1, and running
# trials as part of the filling, 0.087 and 0.0085, with 1/2 0.072 and 0.0100; where durations
# differ, 0.118 and 0.0145 with 0, and 0.087 and 0.0087 with 1.
PESSIMISM = 1.0
FIT_MOST = 150  # a fit costs O(n^3) for each of its 20 to 40 steps; 150 rows tell the length scales


@dataclasses.dataclass(frozen=True)
class Member:
    """One process of the average.

    Attributes:
        process: The process.
        best: The incumbent's value: the lowest mean at a trial.
    """

    process: gp.Process
    best: float


@dataclasses.dataclass(frozen=True)
class Viability:
    """Says where trials complete.

    Attributes:
        process: The process of the standardised outcomes.
        level: Above it a point counts as viable, in the units of the process.
    """

    process: gp.Process
    level: float


@dataclasses.dataclass(frozen=True)
class Surrogate:
    """What the observations say about every point; make it with `fit`.

    Attributes:
        members: The processes that are averaged.
        viability: Says where trials complete; None while few have failed.
    """

    members: Sequence[Member]
    viability: Viability | None = None

    def with_pending(self, rows: Array) -> Surrogate:
        """Return the surrogate once trials that run, rows (p, d), have come out a little worse.

        What they are believed to come to counts as an incumbent: to find the same again beside
        them is no improvement.
        """
        if not len(rows):
            return self
        members = []
        for member in self.members:
            process = member.process.with_believed(rows, PESSIMISM)
            lowest = float(process.predict(rows)[0].min())
            members.append(Member(process, min(member.best, lowest)))
        return Surrogate(members, self.viability)

    def insight(self, losses: Array) -> float:
        """Return how much better than chance the surrogate orders what it has not seen.

        Of each pair of observations of which at least one is among the best third, and from
        leave-one-out predictions, it is the mean log probability of the right order, less that of
        a coin. 0: none; log 2: all is foreseen. Ties do not count. Being about order, it is the
        same question for every warp.

        Args:
            losses: (n,) the losses that the members were fitted to.
        """
        n = len(losses)
        places = np.argsort(np.argsort(losses, kind="stable"), kind="stable")
        good = places < max(4, n // 3)
        first, second = np.triu_indices(n, 1)
        telling = (losses[first] != losses[second]) & (good[first] | good[second])
        first, second = first[telling], second[telling]
        if not len(first):
            return 0.0
        sign = np.sign(losses[second] - losses[first])
        found = []
        for member in self.members:
            mean, std = member.process.leave_one_out()
            gap = (mean[second] - mean[first]) / np.hypot(std[first], std[second])
            found.append(float(log_ndtr(sign * gap).mean() + np.log(2.0)))
        return float(np.mean(found))


def fit(
    features: gp.Features,
    X: Array,
    losses: Array,
    noise: Array,
    failed: Array,
    least_noise: float,
) -> Surrogate:
    """Fit a surrogate.

    Args:
        features: The layout of the coordinates.
        X: (n, d) rows of completed trials, the best ones first where they are many: the first
            `FIT_MOST` decide about the hyperparameters.
        losses: (n,) their losses.
        noise: (n,) known noise variances of the losses.
        failed: (f, d) rows of failed trials.
        least_noise: Smallest noise variance of the standardised losses.
    """
    viability = None
    if len(failed) >= FEW_FAILURES:
        viability = _viability(features, X, failed)
    elif len(failed):
        X = np.vstack([X, failed])
        losses = np.concatenate([losses, np.full(len(failed), losses.max())])
        noise = np.concatenate([noise, np.zeros(len(failed))])
    members = []
    for warp in warps.WARPS:
        y = warp(losses)
        process = _process(features, X, y, warps.noise_of(y, losses, noise), least_noise)
        members.append(Member(process, float(process.predict(X)[0].min())))
    return Surrogate(members, viability)


def _viability(features: gp.Features, completed: Array, failed: Array) -> Viability:
    rows = np.vstack([completed, failed])
    outcomes = np.repeat([1.0, 0.0], [len(completed), len(failed)])
    spread = max(float(outcomes.std()), 1e-6)
    y = (outcomes - outcomes.mean()) / spread
    turn = np.argsort(np.arange(len(y)) * 0.6180339887498949 % 1.0)  # the first few are of both
    process = _process(features, rows[turn], y[turn], np.zeros(len(y)), 0.0)
    return Viability(process, (VIABLE - float(outcomes.mean())) / spread)


def _process(
    features: gp.Features, X: Array, y: Array, extra: Array, least_noise: float
) -> gp.Process:
    few = slice(None, FIT_MOST)
    theta = gp.Posterior(features, X[few], y[few], extra[few]).mode()
    theta[-1] = max(theta[-1], np.log(max(least_noise, 1e-12)))
    return gp.condition(features, X, y, theta, extra)


class Acquisition:
    """What a trial at a point promises, averaged over a surrogate's members.

    Expected improvement, or, with `beta`, the confidence bound beta sigma - mu.

    Args:
        surrogate: What is known.
        beta: Standard deviations of optimism; None: expected improvement, as its logarithm.
        scale: (k,) what each member is measured by; see `measured_by`.
    """

    def __init__(
        self, surrogate: Surrogate, beta: float | None = None, scale: Array | None = None
    ) -> None:
        """Keep the surrogate."""
        self.surrogate = surrogate
        self.beta = beta
        self.scale = np.zeros(len(surrogate.members)) if scale is None else scale

    def measured_by(self, rows: Array) -> Acquisition:
        """Return the acquisition whose members are measured by their largest at rows (m, d).

        Bounds are in units of the standardised losses and stay as they are.
        """
        if self.beta is not None:
            return self
        scale = [self._of(m, *m.process.predict(rows)).max() for m in self.surrogate.members]
        return Acquisition(self.surrogate, None, np.array(scale))

    def _of(self, member: Member, mean: Array, std: Array) -> Array:
        if self.beta is not None:
            return self.beta * std - mean
        return acquisition.log_expected_improvement(mean, std, member.best)

    def __call__(self, rows: Array) -> Array:
        """Return the acquisition at rows (m, d)."""
        members = self.surrogate.members
        values = np.array([self._of(m, *m.process.predict(rows)) for m in members])
        total = self._averaged(values)[0]
        viability = self.surrogate.viability
        if viability is not None:
            mean, std = viability.process.predict(rows)
            logs = acquisition.log_probability_above(mean, std, viability.level)
            total = total + VIABILITY_WEIGHT * logs
        return total

    def _averaged(self, values: Array) -> tuple[Array, Array]:
        """Return the average of the members' values (k, m), and the share of each, (k, m)."""
        if self.beta is not None:
            return values.mean(axis=0), np.full(values.shape, 1.0 / len(values))
        logs = values - self.scale[:, None] - np.log(len(values))
        largest = logs.max(axis=0)
        total = largest + np.log(np.exp(logs - largest).sum(axis=0))
        return total, np.exp(logs - total)

    def slopes(self, rows: Array) -> tuple[Array, Array]:
        """Return the acquisition at rows (m, d), and its gradients (m, d)."""
        values, gradients = [], []
        for member in self.surrogate.members:
            mean, std, mean_slope, std_slope = member.process.gradients(rows)
            values.append(self._of(member, mean, std))
            if self.beta is None:
                by = acquisition.log_expected_improvement_slopes(mean, std, member.best)
                gradients.append(by[0][:, None] * mean_slope + by[1][:, None] * std_slope)
            else:
                gradients.append(self.beta * std_slope - mean_slope)
        total, shares = self._averaged(np.array(values))
        gradient = (shares[:, :, None] * np.array(gradients)).sum(axis=0)
        viability = self.surrogate.viability
        if viability is not None:
            mean, std, mean_slope, std_slope = viability.process.gradients(rows)
            logs = acquisition.log_probability_above(mean, std, viability.level)
            total = total + VIABILITY_WEIGHT * logs
            by = acquisition.log_probability_above_slopes(mean, std, viability.level)
            slope = by[0][:, None] * mean_slope + by[1][:, None] * std_slope
            gradient = gradient + VIABILITY_WEIGHT * slope
        return total, gradient
