"""Expected improvement in its stable form, and its slopes."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from keratune.numerics import acquisition

ORDINARY = np.linspace(-6.0, 6.0, 49)


def test_log_h_equals_its_definition_where_that_can_be_computed():
    plain = np.log(norm.pdf(ORDINARY) + ORDINARY * norm.cdf(ORDINARY))
    np.testing.assert_allclose(acquisition.log_h(ORDINARY), plain, atol=1e-9)


def test_log_h_stays_finite_and_falls_where_expected_improvement_underflows():
    values = acquisition.log_h(np.array([-40.0, -1e3, -1e6, -1e9]))
    assert np.isfinite(values).all()
    assert (np.diff(values) < 0).all()


@pytest.mark.parametrize(("mean", "std"), [(0.3, 0.2), (-0.5, 1.0), (4.0, 0.3), (9.0, 0.5)])
def test_the_slopes_are_those_of_finite_differences(mean, std):
    def value(m, s):
        return acquisition.log_expected_improvement(np.array([m]), np.array([s]), 0.0)[0]

    slopes = acquisition.log_expected_improvement_slopes(np.array([mean]), np.array([std]), 0.0)
    by_mean, by_std = np.ravel(slopes)
    step = 1e-6
    assert by_mean == pytest.approx(
        (value(mean + step, std) - value(mean - step, std)) / 2e-6, rel=1e-4
    )
    assert by_std == pytest.approx(
        (value(mean, std + step) - value(mean, std - step)) / 2e-6, rel=1e-4
    )


@pytest.mark.parametrize(("mean", "std"), [(0.3, 0.2), (-0.5, 1.0), (2.0, 0.5)])
def test_expected_improvement_is_the_mean_of_the_improvements(mean, std):
    expected, _ = quad(lambda y: (0.1 - y) * norm.pdf(y, mean, std), mean - 12 * std, 0.1)
    found = acquisition.log_expected_improvement(np.array([mean]), np.array([std]), 0.1)[0]
    assert np.exp(found) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("mean", "std"), [(0.3, 0.2), (-0.5, 1.0), (-9.0, 0.5)])
def test_the_slopes_of_a_probability_are_those_of_finite_differences(mean, std):
    def value(m, s):
        return acquisition.log_probability_above(np.array([m]), np.array([s]), 0.1)[0]

    found = acquisition.log_probability_above_slopes(np.array([mean]), np.array([std]), 0.1)
    numeric = (
        (value(mean + 1e-6, std) - value(mean - 1e-6, std)) / 2e-6,
        (value(mean, std + 1e-6) - value(mean, std - 1e-6)) / 2e-6,
    )
    np.testing.assert_allclose(np.ravel(found), numeric, rtol=1e-4)
