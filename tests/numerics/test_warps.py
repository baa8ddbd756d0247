"""Losses made ready for a Gaussian process: order, ties, outliers and plateaus."""

import numpy as np
import pytest

pytest.importorskip("hypothesis")
from hypothesis import given
from hypothesis import strategies as st

from keratune.numerics import warps

each_warp = pytest.mark.parametrize("warp", warps.WARPS, ids=lambda warp: warp.__name__)


@each_warp
@given(losses=st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=40))
def test_the_order_and_ties_are_kept(warp, losses):
    losses = np.array(losses)
    warped = warp(losses)
    assert np.isfinite(warped).all()
    order = np.argsort(losses, kind="stable")
    assert (np.diff(warped[order]) >= -1e-9).all()
    for one, other in zip(order, order[1:], strict=False):
        if losses[one] == losses[other]:
            assert warped[one] == pytest.approx(warped[other])


@each_warp
def test_the_result_is_standardised_whatever_the_unit(warp):
    losses = np.random.default_rng(0).exponential(size=30)
    for scale in (1e-9, 1.0, 1e250):
        warped = warp(losses * scale)
        assert (warped.mean(), warped.std()) == pytest.approx((0.0, 1.0))
        np.testing.assert_allclose(warped, warp(losses), atol=1e-6)


@each_warp
def test_equal_losses_become_zeros(warp):
    np.testing.assert_array_equal(warp(np.full(5, 3.3)), np.zeros(5))


def test_a_terrible_loss_flattens_the_good_ones_only_without_ranks():
    losses = np.array([0.1, 0.2, 0.3, 0.4, 1e9])

    def part(warped):
        return (warped[1] - warped[0]) / (warped[4] - warped[0])

    assert part(warps.half_ranked(losses)) > 0.1
    assert part(warps.standardised(losses)) < 1e-6


def test_a_plateau_stays_flat():
    plateau = 0.69 + 1e-4 * np.random.default_rng(1).random(20)
    warped = warps.half_ranked(np.concatenate([[0.3, 0.4, 0.5], plateau]))
    assert np.ptp(warped[3:]) < 0.01 * np.ptp(warped)


def test_half_ranking_never_moves_a_loss_away_from_the_median():
    losses = np.random.default_rng(2).standard_cauchy(size=41)
    drawn_in = warps._worse_half_drawn_in(losses)
    median = np.median(losses)
    assert (np.abs(drawn_in - median) <= np.abs(losses - median) + 1e-12).all()


def test_noise_is_warped_by_the_slope_of_the_warp():
    losses = np.linspace(0.0, 1.0, 21)
    warped = np.where(losses < 0.5, 4.0 * losses, 2.0)
    noise = np.where(np.arange(21) % 2, 0.01, 0.0)
    found = warps.noise_of(warped, losses, noise)
    assert found[5] == pytest.approx(16.0 * 0.01)
    assert found[17] == 0.0
    assert not found[::2].any()
