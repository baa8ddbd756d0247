"""Claims about designs: any point by its number, the same for the same seed, even."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import qmc

from keratune.numerics import designs


@pytest.mark.parametrize("sequence", designs.SEQUENCES)
def test_points_asked_for_one_by_one_are_the_sequence(sequence):
    engine = {"sobol": qmc.Sobol, "halton": qmc.Halton}[sequence](3, scramble=True, seed=7)
    points = [designs.point(sequence, number, 3, seed=7) for number in range(16)]
    np.testing.assert_array_equal(points, engine.random(16))


@pytest.mark.parametrize("sequence", designs.SEQUENCES)
def test_seeds_scramble_differently_and_stay_in_the_cube(sequence):
    one, other = (
        np.array([designs.point(sequence, number, 2, seed) for number in range(8)])
        for seed in (0, 1)
    )
    assert not np.isclose(one, other).any()
    assert ((one >= 0.0) & (one < 1.0)).all()


def test_each_half_of_each_coordinate_gets_half_of_sobol_points():
    points = np.array([designs.point("sobol", number, 5, seed=3) for number in range(16)])
    np.testing.assert_array_equal((points < 0.5).sum(axis=0), 8)


def test_no_dimension_is_an_empty_point():
    assert designs.point("sobol", 4, 0, seed=0).shape == (0,)


def test_beyond_the_dimensions_of_sobol_points_are_those_of_halton(monkeypatch):
    monkeypatch.setattr(qmc.Sobol, "MAXDIM", 2)
    by_halton = designs.point("halton", 5, 3, seed=1)
    np.testing.assert_array_equal(designs.point("sobol", 5, 3, seed=1), by_halton)
