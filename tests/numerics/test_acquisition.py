"""Expected improvement in its stable form, and the warping of targets."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
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

    by_mean, by_std = acquisition.log_expected_improvement_slopes(mean, std, 0.0)
    step = 1e-6
    assert by_mean == pytest.approx(
        (value(mean + step, std) - value(mean - step, std)) / 2e-6, rel=1e-4
    )
    assert by_std == pytest.approx(
        (value(mean, std + step) - value(mean, std - step)) / 2e-6, rel=1e-4
    )


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=40))
def test_warping_keeps_the_order_and_ties(losses):
    losses = np.array(losses)
    warped = acquisition.warped(losses)
    assert np.isfinite(warped).all()
    order = np.argsort(losses, kind="stable")
    assert (np.diff(warped[order]) >= -1e-9).all()
    for one, other in zip(order, order[1:], strict=False):
        if losses[one] == losses[other]:
            assert warped[one] == pytest.approx(warped[other])


def test_a_terrible_loss_does_not_flatten_the_good_ones():
    losses = np.array([0.1, 0.2, 0.3, 0.4, 1e9])
    warped = acquisition.warped(losses)
    assert warped[1] - warped[0] > 0.1 * (warped[4] - warped[0])


def test_equal_losses_are_warped_to_zero():
    np.testing.assert_array_equal(acquisition.warped(np.full(5, 3.0)), np.zeros(5))
