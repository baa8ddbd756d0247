"""Learning curves as data: milestones, the best so far, time as a coordinate, ranks."""

import math

import numpy as np
import pytest

from keratune.numerics import curves


@pytest.mark.parametrize(
    ("trained", "expected"),
    [(0, []), (1, [1]), (2, [1, 2]), (3, [1, 3]), (20, [1, 3, 9, 20]), (27, [1, 3, 9, 27])],
)
def test_milestones_are_three_times_apart_and_end_where_the_curve_does(trained, expected):
    assert curves.milestones(trained) == expected


def test_the_untrained_model_is_no_part_of_a_curve():
    assert curves.best_so_far({0: 0.1, 1: 0.5, 2: 0.4}, [1, 2]).tolist() == [0.5, 0.4]


def test_the_best_so_far_never_rises():
    losses = dict(enumerate([0.5, 0.7, 0.3, 0.9], start=1))
    assert curves.best_so_far(losses, [1, 2, 3, 4]).tolist() == [0.5, 0.5, 0.3, 0.3]


def test_epochs_without_validation_are_passed_over():
    assert curves.best_so_far({3: 0.5}, [1, 3, 9]).tolist() == [math.inf, 0.5, 0.5]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_never_the_best(bad):
    assert curves.best_so_far({1: bad, 2: 0.5, 3: bad}, [1, 2, 3]).tolist() == [math.inf, 0.5, 0.5]


def test_a_fiftieth_of_a_training_is_one_unit_before_its_end():
    assert curves.place(50) - curves.place(1) == pytest.approx(1.0)
    assert curves.place(1000) - curves.place(20) == pytest.approx(1.0)


def ranked(*losses, trials=None):
    numbers = np.arange(len(losses)) if trials is None else np.array(trials)
    return curves.better_half_by_rank(np.array(losses), numbers)


def test_the_worse_half_is_one_value_and_the_better_one_keeps_its_order():
    y = ranked(5.0, 1.0, 9.0, 2.0, 7.0, 3.0, math.inf, 1e9)
    assert y[1] < y[3] < y[5] < y[0]
    assert np.all(y[[2, 4, 6, 7]] == y[2]) and y[0] < y[2]
    assert y.mean() == pytest.approx(0.0, abs=1e-12) and y.std() == pytest.approx(1.0)


def test_how_far_apart_losses_are_does_not_matter():
    losses = np.array([0.1, 0.2, 0.4, 0.8, 0.9, 1.0])
    np.testing.assert_allclose(ranked(*losses), ranked(*np.exp(20 * losses)))


def test_a_trial_with_many_observations_counts_once_in_the_ranking():
    """Ten epochs of the best trial do not push the second best into the worse half."""
    y = ranked(*[0.1] * 10, 0.2, 0.3, 0.4, trials=[0] * 10 + [1, 2, 3])
    assert y[0] < y[10] < y[11] == y[12]


def test_equal_losses_stay_equal():
    y = ranked(1.0, 1.0, 2.0, 2.0, 2.0, 3.0, 4.0, 5.0)
    assert y[0] == y[1] and y[2] == y[3] == y[4] and y[0] < y[2]


@pytest.mark.parametrize("losses", [[0.5] * 4, [math.inf] * 3, [0.5]])
def test_losses_that_are_all_equal_say_nothing(losses):
    assert ranked(*losses).tolist() == [0.0] * len(losses)


def test_infinite_losses_are_bad_even_where_they_are_most():
    y = ranked(math.inf, math.inf, math.inf, 0.5, math.inf)
    assert y.argmin() == 3 and np.unique(y).size == 2


def levelled(table):
    """Return levelled losses of {trial: {epoch: loss}}, in the table's form."""
    entries = [(t, e, loss) for t, curve in table.items() for e, loss in curve.items()]
    trials, epochs, losses = (np.array(column) for column in zip(*entries, strict=True))
    found = curves.levelled(epochs, trials, losses).tolist()
    return {(t, e): value for (t, e, _), value in zip(entries, found, strict=True)}


def test_early_losses_are_lowered_by_what_is_usually_still_gained():
    found = levelled({0: {1: 0.9, 3: 0.6, 9: 0.5}, 1: {1: 1.0, 3: 0.7}, 2: {1: 0.8}})
    assert found[0, 9] == 0.5
    assert found[1, 3] == pytest.approx(0.6)
    assert found[2, 1] == pytest.approx(0.4)


def test_the_usual_gain_is_the_median_so_that_one_odd_trial_does_not_matter():
    odd = {0: {1: 0.9, 3: 0.8}, 1: {1: 0.8, 3: 0.7}, 2: {1: 9.0, 3: 0.7}, 3: {1: 0.5}}
    assert levelled(odd)[3, 1] == pytest.approx(0.4)


def test_between_milestones_the_gain_grows_with_the_logarithm_of_the_epochs():
    found = levelled({0: {1: 0.9, 3: 0.7}, 1: {1: 0.9, 2: 0.8}})
    assert found[1, 2] == pytest.approx(0.8 - 0.2 * (1 - math.log(2) / math.log(3)))


def test_infinite_losses_stay_infinite_and_teach_no_gain():
    found = levelled({0: {1: math.inf, 3: 0.5}, 1: {1: math.inf}, 2: {1: 0.6}})
    assert found[1, 1] == math.inf and found[2, 1] == 0.6
