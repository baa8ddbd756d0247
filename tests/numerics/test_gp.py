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
    return X, (y - y.mean()) / y.std(), gp.Features(np.array([0, 0, 0, 3]))


NUMBER, SQUARE = gp.Features(np.array([0])), gp.Features(np.array([0, 0]))


@pytest.mark.parametrize("extra", [0.0, 0.3])
def test_the_gradient_of_the_posterior_is_that_of_finite_differences(mixed, extra):
    X, y, features = mixed
    posterior = gp.Posterior(features, X, y, np.full(len(y), extra))
    theta = gp.prior_mean(4) + 0.3
    numeric = approx_fprime(theta, lambda t: posterior.negative_log(t)[0], 1e-6)
    np.testing.assert_allclose(posterior.negative_log(theta)[1], numeric, atol=1e-3)


def test_the_kernel_is_one_at_no_distance_and_the_matern_form_at_distance_one():
    theta = np.zeros(3)  # length scale 1, signal variance 1
    point, other = np.array([[0.2]]), np.array([[1.2]])
    assert gp.kernel(NUMBER, point, point, theta)[0, 0] == pytest.approx(1.0)
    expected = (1 + np.sqrt(5) + 5 / 3) * np.exp(-np.sqrt(5))
    assert gp.kernel(NUMBER, point, other, theta)[0, 0] == pytest.approx(expected)


def test_two_different_categories_are_at_distance_one_whatever_their_numbers():
    theta = np.zeros(3)
    category = gp.Features(np.array([6]))
    one, two, five = np.array([[1.0]]), np.array([[2.0]]), np.array([[5.0]])
    expected = gp.kernel(NUMBER, np.array([[0.0]]), np.array([[1.0]]), theta)
    np.testing.assert_allclose(gp.kernel(category, one, two, theta), expected)
    np.testing.assert_allclose(gp.kernel(category, one, five, theta), expected)


def test_without_noise_the_mean_passes_through_the_observations(mixed):
    X, y, features = mixed
    theta = gp.prior_mean(4)
    theta[-1] = -12.0
    mean, std = gp.condition(features, X, y, theta).predict(X)
    np.testing.assert_allclose(mean, y, atol=1e-2)
    assert std.max() < 0.05


def test_an_observation_that_is_known_to_be_noisy_pulls_less():
    X, y, theta = np.array([[0.2], [0.8]]), np.array([1.0, 1.0]), np.array([-1.5, 0.0, -9.0])
    process = gp.condition(NUMBER, X, y, theta, np.array([0.0, 2.0]))
    mean, std = process.predict(X)
    assert mean[0] > 0.95 and mean[1] < 0.6
    assert std[0] < 0.1 < std[1]


def test_far_from_all_observations_the_prediction_is_the_prior():
    X, y = np.zeros((3, 1)), np.ones(3)
    mean, std = gp.condition(NUMBER, X, y, np.array([-3.0, 0.0, -4.0])).predict(np.array([[1.0]]))
    assert mean[0] == pytest.approx(0.0, abs=1e-6)
    assert std[0] == pytest.approx(1.0, abs=1e-6)


def test_the_gradients_of_predictions_are_those_of_finite_differences(mixed):
    X, y, features = mixed
    process = gp.condition(features, X, y, gp.Posterior(features, X, y).mode())
    points = np.array([[0.4, 0.6, 0.1, 1.0], [0.9, 0.2, 0.7, 2.0]])
    mean, std, mean_slope, std_slope = process.gradients(points)
    np.testing.assert_allclose((mean, std), process.predict(points))
    for i, point in enumerate(points):
        for slope, which in ((mean_slope, 0), (std_slope, 1)):

            def predicted(numbers, which=which, point=point):
                return process.predict(np.r_[numbers, point[3]][None])[which][0]

            numeric = approx_fprime(point[:3], predicted, 1e-5)
            np.testing.assert_allclose(slope[i, :3], numeric, rtol=1e-2, atol=1e-3)
            assert slope[i, 3] == 0.0


def test_leaving_one_out_equals_doing_so(mixed):
    X, y, features = mixed
    theta = gp.prior_mean(4)
    mean, std = gp.condition(features, X, y, theta).leave_one_out()
    rest = gp.condition(features, X[1:], y[1:], theta)
    alone_mean, alone_std = rest.predict(X[:1])
    noise = np.exp(theta[-1]) + gp.JITTER
    assert mean[0] == pytest.approx(alone_mean[0], abs=1e-6)
    assert std[0] == pytest.approx(np.sqrt(alone_std[0] ** 2 + noise), rel=1e-6)


def test_believing_leaves_the_mean_and_lowers_the_deviation(mixed):
    X, y, features = mixed
    process = gp.condition(features, X, y, gp.prior_mean(4))
    points = np.random.default_rng(3).random((30, 4))
    points[:, 3] = 0.0
    before, after = process.predict(points), process.with_believed(points[:1]).predict(points)
    np.testing.assert_allclose(after[0], before[0], atol=1e-6)
    assert (after[1] <= before[1] + 1e-9).all()
    assert after[1][0] < 0.5 * before[1][0]


def test_known_noise_is_still_known_once_something_is_believed(mixed):
    X, y, features = mixed
    process = gp.condition(features, X, y, gp.prior_mean(4), np.linspace(0.0, 2.0, len(y)))
    points = np.random.default_rng(3).random((5, 4))
    points[:, 3] = 0.0
    after = process.with_believed(points[:1]).predict(X)[0]
    np.testing.assert_allclose(after, process.predict(X)[0], atol=1e-6)


def test_pessimism_raises_the_mean_as_an_observation_so_many_deviations_above_it_does(mixed):
    X, y, features = mixed
    theta = gp.prior_mean(4)
    process = gp.condition(features, X, y, theta)
    point = np.array([[0.5, 0.5, 0.5, 0.0]])
    (mean, std), known = process.predict(point), process.predict(X)[0]
    after = process.with_believed(point, 2.0)
    share = std**2 / (std**2 + np.exp(theta[-1]) + gp.JITTER)  # of the surprise that is believed
    np.testing.assert_allclose(after.predict(point)[0], mean + 2.0 * std * share, rtol=1e-6)
    np.testing.assert_allclose(after.predict(X)[0], known, atol=0.1)


def test_a_fit_gives_an_inert_coordinate_the_longer_length_scale():
    X = np.random.default_rng(1).random((60, 2))
    y = np.sin(8 * X[:, 0])
    theta = gp.Posterior(SQUARE, X, (y - y.mean()) / y.std()).mode()
    assert theta[1] > theta[0] + 1.0


def test_the_noise_is_learnt():
    rng = np.random.default_rng(2)
    X = rng.random((80, 2))
    y = np.sin(4 * X[:, 0])
    clean = gp.Posterior(SQUARE, X, y / y.std()).mode()
    y = y + rng.normal(size=80) * y.std()
    noisy = gp.Posterior(SQUARE, X, (y - y.mean()) / y.std()).mode()
    assert np.exp(clean[-1]) < 1e-3 < 0.2 < np.exp(noisy[-1])


def test_repeated_rows_do_not_break_the_fit():
    X, y = np.tile(np.array([[0.5, 0.5]]), (10, 1)), np.zeros(10)
    process = gp.condition(SQUARE, X, y, gp.Posterior(SQUARE, X, y).mode())
    assert np.isfinite(process.predict(np.array([[0.1, 0.9]]))[0]).all()
