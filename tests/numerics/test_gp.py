"""The Gaussian process against closed forms and finite differences."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from keratune.numerics import gp


@pytest.fixture
def mixed():
    rng = np.random.default_rng(0)
    X = rng.random((25, 4))
    X[:, 3] = rng.integers(3, size=25)
    y = np.sin(5 * X[:, 0]) + X[:, 1] + (X[:, 3] == 1)
    return X, (y - y.mean()) / y.std(), np.array([False, False, False, True])


def test_the_gradient_of_the_posterior_is_that_of_finite_differences(mixed):
    X, y, is_category = mixed
    theta = gp.prior_mean(4) + 0.3
    numeric = approx_fprime(
        theta, lambda t: gp.negative_log_posterior(t, X, y, is_category)[0], 1e-6
    )
    _, analytic = gp.negative_log_posterior(theta, X, y, is_category)
    np.testing.assert_allclose(analytic, numeric, atol=1e-3)


def test_the_kernel_is_one_at_no_distance_and_the_matern_form_at_distance_one():
    theta = np.zeros(3)  # length scale 1, signal variance 1
    point, other = np.array([[0.2]]), np.array([[1.2]])
    number = np.array([False])
    assert gp.kernel(point, point, theta, number)[0, 0] == pytest.approx(1.0)
    expected = (1 + np.sqrt(5) + 5 / 3) * np.exp(-np.sqrt(5))
    assert gp.kernel(point, other, theta, number)[0, 0] == pytest.approx(expected)


def test_two_different_categories_are_at_distance_one_whatever_their_numbers():
    theta = np.zeros(3)
    category = np.array([True])
    one, two, five = np.array([[1.0]]), np.array([[2.0]]), np.array([[5.0]])
    assert gp.kernel(one, two, theta, category) == gp.kernel(one, five, theta, category)


def test_without_noise_the_mean_passes_through_the_observations(mixed):
    X, y, is_category = mixed
    theta = gp.prior_mean(4)
    theta[-1] = -12.0
    process = gp.condition(X, y, is_category, theta)
    mean, std = process.predict(X)
    np.testing.assert_allclose(mean, y, atol=1e-2)
    assert std.max() < 0.05


def test_far_from_all_observations_the_prediction_is_the_prior():
    X, y = np.zeros((3, 1)), np.ones(3)
    theta = np.array([-3.0, 0.0, -4.0])
    mean, std = gp.condition(X, y, np.array([False]), theta).predict(np.array([[1.0]]))
    assert mean[0] == pytest.approx(0.0, abs=1e-6)
    assert std[0] == pytest.approx(1.0, abs=1e-6)


def test_the_gradients_of_a_prediction_are_those_of_finite_differences(mixed):
    X, y, is_category = mixed
    process = gp.fit(X, y, is_category)
    point = np.array([0.4, 0.6, 0.1, 1.0])

    def predicted(numbers, which):
        return process.predict(np.r_[numbers, 1.0][None])[which][0]

    mean, std, mean_slope, std_slope = process.gradients(point)
    assert (mean, std) == pytest.approx((predicted(point[:3], 0), predicted(point[:3], 1)))
    for slope, which in ((mean_slope, 0), (std_slope, 1)):
        numeric = approx_fprime(point[:3], predicted, 1e-6, which)
        np.testing.assert_allclose(slope[:3], numeric, atol=1e-4)
        assert slope[3] == 0.0


def test_a_fit_gives_an_inert_coordinate_the_longer_length_scale():
    rng = np.random.default_rng(1)
    X = rng.random((60, 2))
    y = np.sin(8 * X[:, 0])
    process = gp.fit(X, (y - y.mean()) / y.std(), np.array([False, False]))
    assert process.theta[1] > process.theta[0] + 1.0


def test_repeated_rows_do_not_break_the_fit():
    X = np.tile(np.array([[0.5, 0.5]]), (10, 1))
    process = gp.fit(X, np.zeros(10), np.array([False, False]))
    assert np.isfinite(process.predict(np.array([[0.1, 0.9]]))[0]).all()
