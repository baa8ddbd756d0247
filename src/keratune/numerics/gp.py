"""Gaussian process regression over numbers and categories.

n: observations   d: coordinates   X: (n, d), numbers in [0, 1] or category indices
y: (n,) standardised targets, smaller is better   l: (d,) length scales   s2, v: signal, noise
    variance

    r2(x, x') = sum over numbers (x_j - x'_j)^2 / l_j^2 + sum over categories [x_j != x'_j] / l_j^2
    k(x, x')  = s2 (1 + sqrt(5) r + 5/3 r^2) exp(-sqrt(5) r)          Matern-5/2

The equations are those of Rasmussen & Williams, Gaussian Processes for Machine Learning, 2006
(GPML).
Hyperparameters are the maximum a posteriori: log l_j ~ N(log(d)/2 - 0.3, 1), length scales that
    grow
with the square root of the dimension (Hvarfner et al., 2024, arXiv 2402.02229), log s2 ~ N(0, 1),
log v ~ N(-4, 1).
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize

Array = NDArray[np.float64]

LOG_LENGTH_BOUNDS = (-3.7, 6.0)
LOG_SIGNAL_BOUNDS = (-3.0, 3.0)
LOG_NOISE_BOUNDS = (-12.0, 1.0)
NOISE_MEAN = -4.0
LENGTH_SHIFT = -0.3
JITTER = 1e-8
FIT_STEPS = 60  # L-BFGS-B iterations; warm starts take about ten


@dataclasses.dataclass(frozen=True)
class Process:
    """A fitted Gaussian process.

    Attributes:
        X: (n, d) observations.
        is_category: (d,) which coordinates are categories.
        theta: (d + 2,) log length scales, log signal variance, log noise variance.
        factor: (n, n) lower Cholesky factor of K + v I.
        alpha: (n,) (K + v I)^-1 y, GPML algorithm 2.1.
    """

    X: Array
    is_category: NDArray[np.bool_]
    theta: Array
    factor: Array
    alpha: Array

    def predict(self, points: Array) -> tuple[Array, Array]:
        """Return mean and standard deviation of the noiseless function at points (m, d)."""
        cross = kernel(points, self.X, self.theta, self.is_category)
        mean = cross @ self.alpha  # GPML eq. 2.25
        half = solve_triangular(self.factor, cross.T, lower=True, check_finite=False)
        variance = np.exp(self.theta[-2]) - np.einsum("ij,ij->j", half, half)  # GPML eq. 2.26
        return mean, np.sqrt(np.maximum(variance, 1e-12))

    def gradients(self, point: Array) -> tuple[float, float, Array, Array]:
        """Return mean and standard deviation at one point (d,), and their gradients (d,) each.

        Gradients are zero for categories.
        """
        cross = kernel(point[None], self.X, self.theta, self.is_category)[0]
        slope = self._kernel_slope(point)  # (n, d), dk(x, X_i) / dx
        solved = cho_solve((self.factor, True), cross, check_finite=False)
        variance = max(float(np.exp(self.theta[-2]) - cross @ solved), 1e-12)
        std = float(np.sqrt(variance))
        return float(cross @ self.alpha), std, slope.T @ self.alpha, -(slope.T @ solved) / std

    def _kernel_slope(self, point: Array) -> Array:
        lengths = np.exp(self.theta[:-2])
        gap = np.where(self.is_category, 0.0, point - self.X)
        r = np.sqrt(squared_distances(point[None], self.X, self.theta, self.is_category)[0])
        # d/dr2 of the kernel is -(5/6) s2 (1 + sqrt5 r) exp(-sqrt5 r), and dr2/dx = 2 gap / l^2
        weight = (
            -5.0 / 3.0 * np.exp(self.theta[-2]) * (1 + np.sqrt(5) * r) * np.exp(-np.sqrt(5) * r)
        )
        return weight[:, None] * gap / lengths**2


def squared_distances(A: Array, B: Array, theta: Array, is_category: NDArray[np.bool_]) -> Array:
    """Return r2 between the rows of A (m, d) and B (n, d), (m, n)."""
    scaled = 1.0 / np.exp(theta[:-2])
    numbers = ~is_category
    left, right = A[:, numbers] * scaled[numbers], B[:, numbers] * scaled[numbers]
    total = (left**2).sum(1)[:, None] + (right**2).sum(1)[None] - 2.0 * left @ right.T
    for j in np.flatnonzero(is_category):
        total = total + (A[:, j][:, None] != B[:, j][None]) * scaled[j] ** 2
    return np.maximum(total, 0.0)


def kernel(A: Array, B: Array, theta: Array, is_category: NDArray[np.bool_]) -> Array:
    """Return the Matern-5/2 kernel between the rows of A (m, d) and B (n, d), (m, n)."""
    r2 = squared_distances(A, B, theta, is_category)
    r = np.sqrt(r2)
    matern = (1 + np.sqrt(5) * r + 5.0 / 3.0 * r2) * np.exp(-np.sqrt(5) * r)
    return np.asarray(np.exp(theta[-2]) * matern)


def prior_mean(dimensions: int) -> Array:
    """Return the prior's mean of theta for `dimensions` coordinates."""
    length = 0.5 * np.log(max(dimensions, 1)) + LENGTH_SHIFT
    return np.array([length] * dimensions + [0.0, NOISE_MEAN])


def negative_log_posterior(
    theta: Array, X: Array, y: Array, is_category: NDArray[np.bool_]
) -> tuple[float, Array]:
    """Return the negative log posterior of theta, up to a constant, and its gradient (d + 2,)."""
    n, d = X.shape
    covariance = kernel(X, X, theta, is_category)
    noisy = covariance + (np.exp(theta[-1]) + JITTER) * np.eye(n)
    try:
        factor = cholesky(noisy, lower=True, check_finite=False)
    except np.linalg.LinAlgError:
        return 1e10, np.zeros(d + 2)
    alpha = cho_solve((factor, True), y, check_finite=False)
    deviation = theta - prior_mean(d)
    value = 0.5 * y @ alpha + np.log(np.diag(factor)).sum() + 0.5 * deviation @ deviation  # 5.8
    inverse = cho_solve((factor, True), np.eye(n), check_finite=False)
    W = inverse - np.outer(alpha, alpha)  # dvalue/dK = W / 2, GPML eq. 5.9
    gradient = np.empty(d + 2)
    r = np.sqrt(squared_distances(X, X, theta, is_category))
    shared = W * np.exp(theta[-2]) * (1 + np.sqrt(5) * r) * np.exp(-np.sqrt(5) * r)
    for j in range(d):
        gap = X[:, j][:, None] - X[:, j][None]
        apart = (gap != 0.0) if is_category[j] else gap**2
        # dK/dlog l_j = 5/3 s2 (1 + sqrt5 r) exp(-sqrt5 r) apart / l_j^2
        gradient[j] = 5.0 / 6.0 * (shared * apart).sum() * np.exp(-2 * theta[j])
    gradient[-2] = 0.5 * (W * covariance).sum()
    gradient[-1] = 0.5 * np.trace(W) * np.exp(theta[-1])
    return float(value), gradient + deviation


def condition(X: Array, y: Array, is_category: NDArray[np.bool_], theta: Array) -> Process:
    """Return the process with given hyperparameters, conditioned on observations."""
    covariance = kernel(X, X, theta, is_category)
    noise = np.exp(theta[-1]) + JITTER
    for attempt in range(6):  # ten times more noise each time the matrix is not positive definite
        try:
            factor, _ = cho_factor(
                covariance + noise * 10.0**attempt * np.eye(len(X)), lower=True, check_finite=False
            )
            break
        except np.linalg.LinAlgError:
            continue
    factor = np.tril(factor)
    alpha = cho_solve((factor, True), y, check_finite=False)
    return Process(X, is_category, theta, factor, alpha)


def fit(X: Array, y: Array, is_category: NDArray[np.bool_], start: Array | None = None) -> Process:
    """Fit the hyperparameters and condition on the observations.

    Args:
        X: (n, d) observations.
        y: (n,) standardised targets.
        is_category: (d,) which coordinates are categories.
        start: (d + 2,) theta to start from, for example that of the last fit; default: the prior's
            mean.

    Returns:
        The process at the maximum a posteriori.
    """
    d = X.shape[1]
    bounds = [LOG_LENGTH_BOUNDS] * d + [LOG_SIGNAL_BOUNDS, LOG_NOISE_BOUNDS]
    begin = prior_mean(d) if start is None else start
    found = minimize(
        negative_log_posterior,
        begin,
        args=(X, y, is_category),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": FIT_STEPS},
    )
    return condition(X, y, is_category, np.asarray(found.x))
