"""Variances, shrunken means and the noise of curves, beside tables and made-up truths."""

import math

import numpy as np
import pytest

from keratune.numerics.spread import (
    Spread,
    curve_noise,
    interval,
    moderated,
    pooled,
    shrunken,
    student,
)


@pytest.mark.parametrize(  # NIST/SEMATECH e-Handbook of Statistical Methods, table 1.3.6.7.2
    ("level", "freedom", "quantile"), [(0.95, 1, 6.314), (0.975, 4, 2.776), (0.99, 30, 2.457)]
)
def test_students_quantiles_are_those_of_the_table(level, freedom, quantile):
    assert student(level, freedom) == pytest.approx(quantile, abs=5e-4)


def test_variances_are_pooled_by_their_degrees_of_freedom():
    assert pooled([[1.0, 3.0], [10.0, 10.0, 10.0], [7.0]]) == Spread(2.0 / 3.0, 3)
    assert pooled([[1.0], []]) is None


def test_a_moderated_variance_lies_between_its_parts_and_either_may_be_missing():
    assert moderated(Spread(4.0, 1), Spread(1.0, 3)) == Spread(1.75, 4)
    assert moderated(None, Spread(1.0, 3)) == Spread(1.0, 3)
    assert moderated(Spread(4.0, 1), None) == Spread(4.0, 1)


def test_the_interval_covers_the_true_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    ends = [interval(rng.normal(3.0, 2.0, 5)) for _ in range(2000)]
    covered = np.mean([low < 3.0 < high for low, high in ends])
    assert 0.94 < covered < 0.96
    assert all(math.isnan(end) for end in interval([1.0]))


def test_shrunken_means_are_nearer_to_the_truth_than_the_measured_ones():
    rng, raw, drawn = np.random.default_rng(1), 0.0, 0.0
    for _ in range(200):
        truth = rng.normal(0.0, 1.0, 12)
        counts = rng.integers(1, 6, 12)
        means = truth + rng.normal(size=12) / np.sqrt(counts)
        raw += np.sum((means - truth) ** 2)
        drawn += np.sum((np.array(shrunken(means, counts, Spread(1.0, 40))) - truth) ** 2)
    assert drawn < 0.85 * raw


def test_a_lucky_value_stands_behind_a_mean_of_many_that_is_nearly_as_good():
    means, counts = [0.10, 0.11, 0.5, 0.6, 0.7], [1, 8, 8, 8, 8]
    lucky, solid, *_ = shrunken(means, counts, Spread(0.04, 30))
    assert solid < lucky


def test_means_stay_as_they_are_without_noise_or_with_equal_counts_in_their_order():
    assert shrunken([3.0, 1.0], [1, 1], None) == [3.0, 1.0]
    assert shrunken([3.0, 1.0], [1, 1], Spread(0.0, 5)) == [3.0, 1.0]
    means = [0.3, 0.1, 0.2]
    assert list(np.argsort(shrunken(means, [4, 4, 4], Spread(9.0, 9)))) == [1, 2, 0]


@pytest.mark.parametrize("deviation", [0.001, 0.1])
def test_the_noise_of_a_falling_curve_is_found(deviation):
    rng, steps = np.random.default_rng(2), np.arange(40)
    found = [
        curve_noise(np.exp(-steps / 200) * 0.1 + rng.normal(0, deviation, 40)) for _ in range(50)
    ]
    assert np.median(found) == pytest.approx(deviation, rel=0.15)


@pytest.mark.parametrize(
    "curve",
    [
        np.exp(-np.arange(20) / 5),
        1 / np.arange(1.0, 30.0),
        (np.arange(20) - 12.0) ** 2,  # overfits from its middle on
        np.full(20, 0.3),
    ],
)
def test_a_smooth_curve_has_no_noise(curve):
    assert curve_noise(curve) == 0.0


def test_a_short_curve_or_one_with_infinities_says_nothing():
    assert curve_noise([1.0, 0.5, 0.7, 0.6, 0.8, 0.5, 0.7]) is None
    assert curve_noise([*np.arange(10.0), math.inf]) is None
