"""Claims about what training on gains."""

from __future__ import annotations

import numpy as np
import pytest

from keratune.numerics import gains

LEVELS = np.array([3, 9])


def moved(best, losses, trained=3):
    found = gains.in_the_end(
        best, LEVELS, np.array(losses, dtype=float), np.full(len(losses), trained)
    )
    return found


def halving(count):
    """Losses that are halved between the two levels."""
    before = np.linspace(1.0, 2.0, count)
    return np.column_stack([before, 0.5 * before])


@pytest.mark.parametrize(
    ("whole", "levels"), [(1, [1]), (2, [1, 2]), (27, [1, 3, 9, 27]), (50, [1, 2, 6, 17, 50])]
)
def test_levels_are_thirds_of_a_whole_training(whole, levels):
    assert gains.levels_of(whole) == levels


def test_a_linear_gain_is_learnt_and_little_doubt_is_left():
    losses, variances = moved(halving(60), [1.2, 1.8])
    np.testing.assert_allclose(losses, [0.6, 0.9], rtol=0.05)
    assert np.sqrt(variances).max() < 0.1


def test_few_trials_move_a_loss_less_and_leave_more_doubt():
    few, doubt = moved(halving(2), [1.5])
    many, certain = moved(halving(60), [1.5])
    assert 1.5 > few[0] > many[0]
    assert doubt[0] > certain[0]


def test_one_terrible_trial_hardly_changes_what_is_learnt():
    best = halving(40)
    best[7, 1] = 1e6
    assert moved(best, [1.5])[0][0] == pytest.approx(moved(halving(40), [1.5])[0][0], abs=0.1)


def test_the_order_of_two_losses_is_kept():
    best = np.column_stack([np.linspace(1.0, 2.0, 40), np.linspace(2.0, 1.0, 40) - 1.5])
    better, worse = moved(best, [1.1, 1.9])[0]
    assert better <= worse


def test_what_has_come_to_the_end_stays_and_what_is_near_moves_little():
    best = halving(40)
    losses, variances = moved(best, [1.2], trained=9)
    assert losses[0] == 1.2
    assert variances[0] == 0.0
    near, far = moved(best, [1.2], trained=8)[0][0], moved(best, [1.2])[0][0]
    assert 1.2 > near > far


def test_what_never_got_to_a_level_teaches_nothing_about_it():
    best = np.vstack([halving(40), [[np.inf, 0.1], [1.0, np.nan]]])
    assert np.isfinite(moved(best, [1.5])[0]).all()


def test_equal_losses_at_a_level_are_no_problem():
    best = np.column_stack([np.ones(10), np.linspace(0.2, 0.4, 10)])
    losses, _ = moved(best, [1.0])
    assert losses[0] == pytest.approx(0.3, abs=0.15)
