"""What priors mean for whole configurations: for first trials, candidates, and an acquisition.

The logarithm of a configuration's prior density, relative to the uniform one, is the sum over its
active hyperparameters that have a prior. An algorithm that learns takes it in as piBO has it
(Hvarfner et al., ICLR 2022, arXiv 2204.11051, eq. 6): the acquisition times the density to the
power beta / n, so that a belief counts less the more has been learnt. And it counts less the more
the losses seen so far contradict it (t, see `keratune.numerics.beliefs.trust`), for a wrong belief
about many hyperparameters at once is too strong to fade in time by itself:

    log acquisition(x) + t beta / n log q(x)

n: trials learnt from   d: coordinates   X: (m, d) rows   q(x): prior density, 1 without priors
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from keratune.numerics.beliefs import Around, trust
from keratune.parameters import HyperParameter
from keratune.space import HyperParameters

Array = NDArray[np.float64]

# The paper's beta is a tenth of the trials of a run; searches of 30 trials are the usual ones here.
# Measured: with 10, a right belief holds a search of 50 trials back at the end (mean normalised
# regret 0.014 on a 7-d network, 0.0075 with 3, 0.0083 without, 10 seeds), and is not sooner near it
# (0.035 at 20 trials, 0.037 with 3, 0.104 without).
BETA = 3.0


class Coordinates(Protocol):
    """What is needed of a `keratune.surrogates.encoding.Encoding`."""

    space: HyperParameters
    parameters: list[HyperParameter]
    categories: NDArray[np.int_]

    def active(self, X: Array) -> NDArray[np.bool_]:
        """Return which coordinates rows have, (m, d)."""

    def spread(self, U: Array) -> Array:
        """Return the rows that points of the unit cube stand for, (m, d)."""

    def snap(self, X: Array) -> Array:
        """Return rows moved to the nearest values, (m, d)."""


class Acquisition(Protocol):
    """What is to be maximised."""

    def __call__(self, rows: Array) -> Array:
        """Return the values at rows (m, d)."""

    def slopes(self, rows: Array) -> tuple[Array, Array]:
        """Return the values at rows (m, d), and their gradients (m, d)."""


def are_held(space: HyperParameters) -> bool:
    """Tell whether a hyperparameter of a space has a prior."""
    return any(parameter.belief is not None for parameter in space.space)


def spread(encoding: Coordinates, U: Array) -> Array:
    """Return the rows that points of the unit cube stand for, each value as likely as believed.

    Evenly spread points come out denser where good values are believed to be. What has no prior is
    spread as `Encoding.spread` does.

    Args:
        encoding: The coordinates.
        U: (m, d) points of the unit cube.
    """
    X = encoding.spread(U)
    for j, parameter in enumerate(encoding.parameters):
        belief = parameter.belief
        if isinstance(belief, Around):
            X[:, j] = belief.draw(U[:, j])
        elif belief is not None:
            X[:, j] = _places(parameter, bool(encoding.categories[j]))[belief.draw(U[:, j])]
    return encoding.snap(X)


def log_prior(encoding: Coordinates, X: Array) -> Array:
    """Return the logarithm of the prior density of rows, (m,).

    Args:
        encoding: The coordinates.
        X: (m, d) rows; what is not active in a row adds nothing.
    """
    total, active = np.zeros(len(X)), encoding.active(X)
    for j, parameter in enumerate(encoding.parameters):
        if parameter.belief is not None:
            logs = _log_densities(parameter, X[:, j], bool(encoding.categories[j]))
            total += np.where(active[:, j], logs, 0.0)
    return total


def log_prior_slopes(encoding: Coordinates, X: Array) -> Array:
    """Return the derivatives of the logarithm of the prior density at rows, (m, d).

    Categories, and numbers whose prior is a weight for each value, have none.
    """
    slopes, active = np.zeros(X.shape), encoding.active(X)
    for j, parameter in enumerate(encoding.parameters):
        if isinstance(parameter.belief, Around):
            slopes[:, j] = np.where(active[:, j], parameter.belief.log_slope(X[:, j]), 0.0)
    return slopes


def _log_densities(parameter: HyperParameter, places: Array, is_category: bool) -> Array:
    """Return the log density of one coordinate's entries, (m,)."""
    if isinstance(parameter.belief, Around):
        return parameter.belief.log_density(places)
    logs = np.array([parameter.prior_log_density(value) for value in _values(parameter)])
    gaps = np.abs(places[:, None] - _places(parameter, is_category))
    return np.asarray(logs[gaps.argmin(axis=1)])


def _values(parameter: HyperParameter) -> Sequence[object]:
    return [parameter.grid_value(index) for index in range(parameter.grid_size)]


def _places(parameter: HyperParameter, is_category: bool) -> Array:
    """Return the entries that stand for a hyperparameter's values: indices for categories."""
    if is_category:
        return np.arange(parameter.grid_size, dtype=float)
    return np.array([parameter.value_to_prob(value) for value in _values(parameter)])


@dataclasses.dataclass(frozen=True)
class Believed:
    """An acquisition that a belief has a share in.

    Args:
        acquisition: The acquisition, a logarithm.
        encoding: The coordinates.
        weight: t beta / n.
    """

    acquisition: Acquisition
    encoding: Coordinates
    weight: float

    def __call__(self, rows: Array) -> Array:
        """Return the acquisition at rows (m, d)."""
        return self.acquisition(rows) + self.weight * log_prior(self.encoding, rows)

    def slopes(self, rows: Array) -> tuple[Array, Array]:
        """Return the acquisition at rows (m, d), and its gradients (m, d)."""
        values, gradients = self.acquisition.slopes(rows)
        return (
            values + self.weight * log_prior(self.encoding, rows),
            gradients + self.weight * log_prior_slopes(self.encoding, rows),
        )


def agreement(encoding: Coordinates, X: Array, losses: Array) -> float:
    """Return how well the priors go with what was seen: 1 for no contradiction, down to 0.

    Args:
        encoding: The coordinates.
        X: (n, d) rows of the trials.
        losses: (n,) their losses, smaller is better.
    """
    return trust(log_prior(encoding, X), losses)


def weighed_in(
    acquisition: Acquisition, encoding: Coordinates, X: Array, losses: Array
) -> Acquisition:
    """Return an acquisition with the priors' share in it; itself where there are no priors.

    Args:
        acquisition: The acquisition, a logarithm.
        encoding: The coordinates.
        X: (n, d) rows of the trials learnt from.
        losses: (n,) their losses, smaller is better.
    """
    if not are_held(encoding.space):
        return acquisition
    weight = agreement(encoding, X, losses) * BETA / max(len(losses), 1)
    return Believed(acquisition, encoding, weight)
