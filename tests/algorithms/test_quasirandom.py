"""Claims about quasi-random search: evenness, and that nothing but the number decides."""

from __future__ import annotations

import statistics
from collections import Counter

import numpy as np
import pytest
from scipy.stats import qmc

from keratune.algorithms.quasirandom import QuasiRandom
from keratune.algorithms.random import RandomSearch
from keratune.testing.algorithms import Simulation, build_scopes, build_wide, read


def build(hp):
    hp.Float("x", 0.0, 1.0)
    hp.Float("y", 0.0, 1.0)


def run(make, declare=build, trials=32, seed=0, **options):
    simulation = Simulation(make, declare, seed, trials, **options)
    simulation.study.planner.defaults_first = False
    return simulation.run()


@pytest.mark.parametrize("sequence", ["sobol", "halton"])
def test_trials_fill_the_space_more_evenly_than_random_ones(sequence):
    def discrepancy(make, seed):
        found = run(make, seed=seed)[1:]  # the first trial is drawn before the space is known
        return qmc.discrepancy(np.array([list(values.values()) for values in found]))

    even = [discrepancy(lambda: QuasiRandom(sequence), seed) for seed in range(5)]
    random = [discrepancy(RandomSearch, seed) for seed in range(5)]
    assert statistics.median(even) < 0.5 * statistics.median(random)


def test_results_decide_nothing():
    one = run(QuasiRandom, build_wide, loss=lambda values: 0.0)
    other = run(QuasiRandom, build_wide, loss=lambda values: float(len(str(values))))
    assert one == other


def test_workers_at_once_try_what_one_would_have_tried():
    alone = run(QuasiRandom, trials=9)
    simulation = Simulation(QuasiRandom, build, max_trials=9)
    simulation.study.planner.defaults_first = False
    simulation.run(1)
    records = [simulation.study.ask(f"worker {place}") for place in range(8)]
    built = [simulation.build_trial(record) for record in records]
    assert [read(hp) for hp in built] == alone[1:]


def test_each_category_is_as_frequent():
    def declare(hp):
        hp.Choice("kind", ["a", "b", "c", "d"])
        hp.Float("x", 0.0, 1.0)

    found = Counter(values["kind"] for values in run(QuasiRandom, declare, 65)[1:])
    assert max(found.values()) - min(found.values()) <= 2


def test_conditions_leave_every_branch_its_share():
    found = run(QuasiRandom, build_scopes, trials=12)
    assert {values["model"] for values in found} == {"a", "b", "c", "d"}


def test_points_are_denser_where_good_values_are_believed():
    def declare(hp):
        hp.Float("x", 0.0, 1.0, prior=0.8)

    found = [values["x"] for values in run(QuasiRandom, declare)]
    assert statistics.median(abs(x - 0.8) for x in found) < 0.15
    assert min(found) < 0.4


def test_a_forbidden_point_is_replaced_by_an_allowed_one():
    found = run(QuasiRandom, holds=lambda hp: hp["x"] <= 0.2)
    assert len(found) == 32
    assert all(values["x"] <= 0.2 for values in found)


def test_an_unknown_sequence_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"\['sobol', 'halton'\]. Received: sequence='faure'"):
        QuasiRandom("faure")
