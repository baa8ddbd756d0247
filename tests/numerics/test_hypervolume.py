"""The hypervolume of two losses and its expected improvement, against sampling and counting."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from keratune.numerics import hypervolume as hv

FRONT = np.array([[0.1, 0.9], [0.3, 0.5], [0.35, 0.45], [0.8, 0.1]])
REFERENCE = np.array([1.0, 1.1])
POINTS = arrays(float, st.tuples(st.integers(0, 12), st.just(2)), elements=st.integers(0, 8))
CANDIDATES = [
    ((0.3, 0.3), (0.2, 0.1)),
    ((0.05, 0.95), (0.01, 0.4)),
    ((0.9, 0.9), (0.3, 0.3)),
    ((-3.0, -2.0), (1.0, 0.5)),
]


def by_cells(losses, reference):
    """Count the unit squares that some point dominates."""
    x, y = np.meshgrid(np.arange(reference[0]), np.arange(reference[1]))
    covered = np.zeros_like(x, dtype=bool)
    for first, second in losses:
        covered |= (x >= first) & (y >= second)
    return covered.sum()


def added(y, losses, reference):
    return hv.hypervolume(np.vstack([losses, y]), reference) - hv.hypervolume(losses, reference)


@given(POINTS)
def test_the_hypervolume_is_the_area_counted_square_by_square(losses):
    reference = np.array([6.0, 7.0])
    assert hv.hypervolume(losses, reference) == by_cells(losses, reference)


@pytest.mark.parametrize(("mean", "std"), CANDIDATES)
def test_the_expected_improvement_is_the_mean_over_samples(mean, std):
    rng = np.random.default_rng(0)
    samples = rng.normal(mean, std, size=(20_000, 2))
    gains = np.array([added(y, FRONT, REFERENCE) for y in samples[:4000]])
    expected = hv.log_expected_improvement(np.array([mean]), np.array([std]), FRONT, REFERENCE)
    error = gains.std() / np.sqrt(len(gains))
    assert np.exp(expected[0]) == pytest.approx(gains.mean(), abs=4 * error)


@pytest.mark.parametrize("mean", [(0.2, 0.3), (0.05, 0.05), (0.9, 0.95), (0.36, 0.2)])
def test_a_candidate_that_is_certain_is_expected_to_add_what_it_adds(mean):
    std = np.full((1, 2), 1e-9)
    expected = hv.log_expected_improvement(np.array([mean]), std, FRONT, REFERENCE)
    gain = added(mean, FRONT, REFERENCE)
    assert np.exp(expected[0]) == pytest.approx(gain, rel=1e-6, abs=1e-9)


def test_without_a_front_it_is_the_product_of_two_expected_improvements():
    from keratune.numerics import acquisition

    mean, std = np.array([[0.2, 1.5]]), np.array([[0.3, 0.4]])
    product = sum(
        acquisition.log_expected_improvement(mean[:, j], std[:, j], REFERENCE[j]) for j in (0, 1)
    )
    empty = np.zeros((0, 2))
    np.testing.assert_allclose(
        hv.log_expected_improvement(mean, std, empty, REFERENCE), product, rtol=1e-12
    )


@pytest.mark.parametrize(
    ("mean", "std"), [*CANDIDATES, ((9.0, 0.2), (0.5, 0.1)), ((40.0, 60.0), (0.5, 0.7))]
)
def test_the_slopes_are_those_of_finite_differences(mean, std):
    point = np.array([*mean, *std])

    def value(x):
        return hv.log_expected_improvement(x[None, :2], x[None, 2:], FRONT, REFERENCE)[0]

    slopes = np.concatenate(
        hv.log_expected_improvement_slopes(point[:2], point[2:], FRONT, REFERENCE)
    )
    step = 1e-6
    for j, slope in enumerate(slopes):
        nudge = step * (np.arange(4) == j)
        numeric = (value(point + nudge) - value(point - nudge)) / (2 * step)
        assert slope == pytest.approx(numeric, rel=1e-4, abs=1e-6)


def test_far_behind_the_front_it_stays_finite_and_still_tells_the_way():
    means = np.array([[10.0**k, 10.0**k] for k in range(1, 7)])
    values = hv.log_expected_improvement(means, np.full((6, 2), 0.1), FRONT, REFERENCE)
    assert np.isfinite(values).all()
    assert (np.diff(values) < 0).all()
    by_mean, by_std = hv.log_expected_improvement_slopes(
        means[3], np.full(2, 0.1), FRONT, REFERENCE
    )
    assert (by_mean < 0).all() and (by_std > 0).all()


def test_dominated_points_and_repeats_change_nothing():
    rng = np.random.default_rng(0)
    mean, std = rng.random((5, 2)), 0.1 + rng.random((5, 2))
    more = np.vstack([FRONT, FRONT[1:3], FRONT + 0.01, [[5.0, -9.0]]])
    np.testing.assert_array_equal(
        hv.log_expected_improvement(mean, std, more, REFERENCE),
        hv.log_expected_improvement(mean, std, FRONT, REFERENCE),
    )


def test_the_two_losses_play_the_same_part():
    rng = np.random.default_rng(1)
    mean, std = rng.normal(size=(6, 2)), 0.1 + rng.random((6, 2))
    swapped = (array[..., ::-1] for array in (mean, std, FRONT, REFERENCE))
    np.testing.assert_allclose(
        hv.log_expected_improvement(mean, std, FRONT, REFERENCE),
        hv.log_expected_improvement(*swapped),
        rtol=1e-9,
    )


def test_the_reference_point_lies_a_tenth_behind_the_worst():
    np.testing.assert_allclose(hv.reference_point(FRONT), [0.87, 0.98])
    np.testing.assert_allclose(hv.reference_point(np.array([[2.0, -4.0]])), [2.2, -3.6])
    np.testing.assert_allclose(hv.reference_point(np.zeros((1, 2))), [0.1, 0.1])


def test_some_weights_make_each_point_of_the_front_the_best_even_where_it_is_concave():
    angle = np.linspace(0.0, np.pi / 2, 7)
    concave = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    weights = np.linspace(0.01, 0.99, 99)
    chosen = {int(np.argmin(hv.chebyshev(concave, np.array([w, 1 - w])))) for w in weights}
    assert chosen == set(range(7))


def test_of_two_points_with_the_same_largest_loss_the_dominating_one_wins():
    losses = np.array([[0.0, 1.0, 0.0], [0.5, 1.0, 0.0], [1.0, 0.0, 1.0]])
    first, second, _ = hv.chebyshev(losses, np.array([0.2, 0.6, 0.2]))
    assert first < second


def test_units_do_not_matter_to_the_scalar():
    losses = np.random.default_rng(0).random((9, 3))
    weights = np.array([0.2, 0.3, 0.5])
    np.testing.assert_allclose(
        hv.chebyshev(losses * [1.0, 1e6, 1e-3] + 7.0, weights), hv.chebyshev(losses, weights)
    )
