"""Gaussian process regression over numbers and categories.

n: observations   d: coordinates   X: (n, d), numbers in [0, 1] or category indices
y: (n,) standardised targets, smaller is better   l: (d,) length scales   s2, v: signal, noise
    variance

    r2(x, x') = sum over numbers (x_j - x'_j)^2 / l_j^2 + sum over categories [x_j != x'_j] / l_j^2
    k(x, x')  = s2 (1 + sqrt(5) r + 5/3 r^2) exp(-sqrt(5) r)          Matern-5/2

A category with c values is c features, 1 / sqrt(2) at its own and 0 elsewhere: the squared
distance of two of them is [x_j != x'_j], and all of r2 is one Euclidean distance, that is one
matrix product.

The equations are those of Rasmussen & Williams, Gaussian Processes for Machine Learning, 2006
(GPML). Hyperparameters theta = (log l, log s2, log v) are the maximum a posteriori under
log l_j ~ N(log(d)/2 - 0.3, 1), length scales that grow with the square root of the dimension
(Hvarfner et al., 2024, arXiv 2402.02229), log s2 ~ N(0, 1), log v ~ N(-6, 2^2): wide, so that few
observations decide whether the objective is noisy.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack
from scipy.optimize import minimize

Array = NDArray[np.float64]
Categories = NDArray[np.int_]  # (d,) number of categories of each coordinate, 0 for a number

LOG_LENGTH_BOUNDS = (-3.7, 6.0)
LOG_SIGNAL_BOUNDS = (-3.0, 3.0)
LOG_NOISE_BOUNDS = (-12.0, 1.0)
LENGTH_SHIFT = -0.3
NOISE_MEAN, NOISE_DEVIATION = -6.0, 2.0
JITTER = 1e-8
FIT_STEPS = 40  # L-BFGS-B iterations; a cold start takes 15 to 30
SQRT5 = float(np.sqrt(5.0))


class Features:
    """How rows become Euclidean features.

    Args:
        categories: (d,) number of categories of each coordinate, 0 for a number.

    Attributes:
        owner: The coordinate that each feature belongs to.
        numbers: The coordinates that are numbers.
    """

    def __init__(self, categories: Categories) -> None:
        """Lay out the features, in the order of the coordinates."""
        self.categories = categories
        self.owner = np.repeat(np.arange(len(categories)), np.maximum(categories, 1))
        self.numbers = np.flatnonzero(categories == 0)
        self.number_features = np.flatnonzero(categories[self.owner] == 0)

    def __len__(self) -> int:
        """Return the number of coordinates."""
        return len(self.categories)

    def of(self, X: Array) -> Array:
        """Return the features of rows (n, d)."""
        owned = X[:, self.owner]
        starts = np.cumsum(np.maximum(self.categories, 1)) - np.maximum(self.categories, 1)
        own_index = np.arange(len(self.owner)) - starts[self.owner]
        chosen = (owned == own_index) / np.sqrt(2.0)
        return np.where(self.categories[self.owner] > 0, chosen, owned)


def prior_mean(dimensions: int) -> Array:
    """Return the prior's mean of theta for `dimensions` coordinates, (d + 2,)."""
    length = 0.5 * np.log(max(dimensions, 1)) + LENGTH_SHIFT
    return np.array([length] * dimensions + [0.0, NOISE_MEAN])


class Posterior:
    """The posterior of theta given observations, as a function to be minimised.

    What does not depend on theta, the squared distance of each pair by coordinate, is computed
    once; a value with its gradient is then one Cholesky factor and two matrix products.

    Args:
        features: The layout of the coordinates.
        X: (n, d) observations.
        y: (n,) targets.
        extra: (n,) noise variance that is known beside v.
    """

    def __init__(self, features: Features, X: Array, y: Array, extra: Array | float = 0.0) -> None:
        """Compute the distances of all pairs."""
        self.features, self.X, self.y, self.extra = features, X, y, extra
        self.deviations = np.r_[np.ones(len(features) + 1), NOISE_DEVIATION]
        self.first, self.second = np.tril_indices(len(X), -1)
        rows = features.of(X)
        gaps = (rows[self.first] - rows[self.second]) ** 2
        self.gaps = np.zeros((len(features), len(self.first)))
        for column, owner in enumerate(features.owner):
            self.gaps[owner] += gaps[:, column]

    def negative_log(self, theta: Array) -> tuple[float, Array]:
        """Return the negative log posterior, up to a constant, and its gradient (d + 2,)."""
        n, d = len(self.X), len(self.features)
        weights, signal, noise = np.exp(-2 * theta[:d]), np.exp(theta[d]), np.exp(theta[d + 1])
        r2 = weights @ self.gaps
        r = np.sqrt(r2)
        decay = signal * (1.0 + SQRT5 * r) * np.exp(-SQRT5 * r)
        pairs = decay + signal * 5.0 / 3.0 * r2 * np.exp(-SQRT5 * r)
        matrix = np.zeros((n, n), order="F")
        matrix[self.first, self.second] = pairs
        matrix[np.diag_indices(n)] = signal + noise + JITTER + self.extra
        factor, failed = lapack.dpotrf(matrix, lower=1, clean=0, overwrite_a=1)
        if failed:
            return 1e10, np.zeros(d + 2)
        half_log_determinant = np.log(np.diag(factor)).sum()
        alpha, _ = lapack.dpotrs(factor, self.y, lower=1)
        inverse, _ = lapack.dpotri(factor, lower=1, overwrite_c=1)
        deviation = (theta - prior_mean(d)) / self.deviations
        value = 0.5 * self.y @ alpha + half_log_determinant + 0.5 * deviation @ deviation  # 5.8
        # dvalue/dK = (K^-1 - alpha alpha^T) / 2, GPML eq. 5.9; each pair stands twice in K
        slope = inverse[self.first, self.second] - alpha[self.first] * alpha[self.second]
        own = float((np.diag(inverse) - alpha**2).sum())
        gradient = np.empty(d + 2)
        # dk/dlog l_j = 5/3 s2 (1 + sqrt5 r) exp(-sqrt5 r) gap_j / l_j^2
        gradient[:d] = 5.0 / 3.0 * (self.gaps @ (slope * decay)) * weights
        gradient[d] = slope @ pairs + 0.5 * signal * own
        gradient[d + 1] = 0.5 * noise * own
        return float(value), gradient + deviation / self.deviations

    def mode(self, start: Array | None = None) -> Array:
        """Return the theta of the largest posterior found.

        Args:
            start: (d + 2,) where to start; default: the prior's mean.
        """
        d = len(self.features)
        found = minimize(
            self.negative_log,
            prior_mean(d) if start is None else start,
            jac=True,
            method="L-BFGS-B",
            bounds=[LOG_LENGTH_BOUNDS] * d + [LOG_SIGNAL_BOUNDS, LOG_NOISE_BOUNDS],
            options={"maxiter": FIT_STEPS},
        )
        return np.asarray(found.x)


@dataclasses.dataclass(frozen=True)
class Process:
    """A Gaussian process conditioned on observations; make it with `condition`.

    Attributes:
        features: The layout of the coordinates.
        X: (n, d) observations.
        y: (n,) targets.
        theta: (d + 2,) log length scales, log signal variance, log noise variance.
        inverse: (n, n) the inverse of K + v I.
        alpha: (n,) (K + v I)^-1 y, GPML algorithm 2.1.
        extra: (n,) noise variance that is known beside v.
    """

    features: Features
    X: Array
    y: Array
    theta: Array
    inverse: Array
    alpha: Array
    extra: Array

    @functools.cached_property
    def _scales(self) -> Array:
        return np.exp(-self.theta[:-2])[self.features.owner]

    @functools.cached_property
    def _rows(self) -> Array:
        return self.features.of(self.X) * self._scales

    def predict(self, points: Array) -> tuple[Array, Array]:
        """Return mean and standard deviation of the noiseless function at points (m, d)."""
        cross, _ = _kernel(self.features.of(points) * self._scales, self._rows, self.theta[-2])
        mean = cross @ self.alpha  # GPML eq. 2.25
        return mean, self._deviation(cross, cross @ self.inverse)

    def gradients(self, points: Array) -> tuple[Array, Array, Array, Array]:
        """Return means, standard deviations (m,), and their gradients (m, d) at points (m, d).

        Gradients are zero for categories.
        """
        scaled = self.features.of(points) * self._scales
        cross, slope = _kernel(scaled, self._rows, self.theta[-2])
        solved = cross @ self.inverse
        std = self._deviation(cross, solved)
        by_mean = self._pull(scaled, slope * self.alpha)
        return cross @ self.alpha, std, by_mean, -self._pull(scaled, slope * solved) / std[:, None]

    def leave_one_out(self) -> tuple[Array, Array]:
        """Return mean and standard deviation of each target given all others, GPML eq. 5.12."""
        precision = np.diag(self.inverse)
        return self.y - self.alpha / precision, 1.0 / np.sqrt(precision)

    def with_believed(self, points: Array, pessimism: float = 0.0) -> Process:
        """Return the process that has also seen what it expects at points (p, d).

        The uncertainty shrinks there, and without pessimism the mean stays as it is everywhere
        (kriging believer; Ginsbourger et al., 2010).

        Args:
            points: (p, d) the points.
            pessimism: Standard deviations above the mean that are seen.
        """
        mean, std = self.predict(points)
        X, y = np.vstack([self.X, points]), np.concatenate([self.y, mean + pessimism * std])
        extra = np.concatenate([self.extra, np.zeros(len(points))])
        return condition(self.features, X, y, self.theta, extra)

    def _deviation(self, cross: Array, solved: Array) -> Array:
        variance = np.exp(self.theta[-2]) - np.einsum("ij,ij->i", cross, solved)  # GPML eq. 2.26
        return np.sqrt(np.maximum(variance, 1e-12))

    def _pull(self, scaled: Array, weights: Array) -> Array:
        """Return sum_i weights_i (x - X_i) / l^2 for each point, zero for categories."""
        columns = self.features.number_features
        sums = weights.sum(1)[:, None] * scaled[:, columns] - weights @ self._rows[:, columns]
        pulled = np.zeros((len(scaled), len(self.features)))
        pulled[:, self.features.numbers] = sums * self._scales[columns]
        return pulled


def _kernel(A: Array, B: Array, log_signal: float) -> tuple[Array, Array]:
    """Return the kernel between scaled features (m, f) and (n, f), and 2 dk/dr2, (m, n) each."""
    squares = (A**2).sum(1)[:, None] + (B**2).sum(1)[None] - 2.0 * A @ B.T
    r2 = np.maximum(squares, 0.0)
    r = np.sqrt(r2)
    decay = np.exp(log_signal - SQRT5 * r)
    linear = (1.0 + SQRT5 * r) * decay
    return linear + 5.0 / 3.0 * r2 * decay, -5.0 / 3.0 * linear


def kernel(features: Features, A: Array, B: Array, theta: Array) -> Array:
    """Return the Matern-5/2 kernel between the rows of A (m, d) and B (n, d), (m, n)."""
    scales = np.exp(-theta[:-2])[features.owner]
    return _kernel(features.of(A) * scales, features.of(B) * scales, theta[-2])[0]


def condition(
    features: Features, X: Array, y: Array, theta: Array, extra: Array | float = 0.0
) -> Process:
    """Return the process with given hyperparameters, conditioned on observations.

    Args:
        features: The layout of the coordinates.
        X: (n, d) observations.
        y: (n,) targets.
        theta: (d + 2,) hyperparameters.
        extra: (n,) noise variance that is known beside v.
    """
    covariance = kernel(features, X, X, theta)
    diagonal = np.diag_indices(len(X))
    for attempt in range(8):  # ten times more noise while the matrix is not positive definite
        noisy = covariance.copy()
        noisy[diagonal] += (np.exp(theta[-1]) + JITTER) * 10.0**attempt + extra
        factor, failed = lapack.dpotrf(noisy, lower=1)
        if not failed:
            break
    alpha, _ = lapack.dpotrs(factor, y, lower=1)
    lower = np.tril(lapack.dpotri(factor, lower=1)[0])
    inverse = lower + np.tril(lower, -1).T
    return Process(features, X, y, theta, inverse, alpha, np.broadcast_to(extra, y.shape))
