"""Claims about CMA-ES: when it moves, where it starts, and how far it gets."""

from __future__ import annotations

import statistics
import sys

import numpy as np
import pytest

from keratune import algorithms
from keratune.algorithms.cmaes import CMAES
from keratune.algorithms.random import RandomSearch
from keratune.errors import MissingPackageError
from keratune.history import Observation
from keratune.testing.algorithms import Simulation, best_losses, bowl, build_cube


def mixed(hp):
    hp.Float("rate", 1e-4, 1e-1, sampling="log")
    hp.Int("layers", 1, 6)
    hp.Choice("optimizer", ["sgd", "adam", "lion"])
    hp.Boolean("norm")


def mixed_loss(values):
    return (
        abs(np.log10(values["rate"]) + 2.0)
        + abs(values["layers"] - 5)
        + (values["optimizer"] != "lion")
        + (not values["norm"])
    )


def distances(found, place=0.3):
    return [max(abs(value - place) for value in values.values()) for values in found]


def test_it_beats_random_search_on_a_bowl():
    ours, random = best_losses(CMAES), best_losses(RandomSearch)
    assert statistics.median(ours) < 0.3 * statistics.median(random)


def test_numbers_lattices_and_categories_are_learnt_together():
    ours = best_losses(CMAES, mixed, mixed_loss, trials=100, seeds=5)
    random = best_losses(RandomSearch, mixed, mixed_loss, trials=100, seeds=5)
    assert statistics.median(ours) < 0.3 * statistics.median(random)


def test_nothing_moves_before_a_generation_has_ended():
    drawn = [
        Simulation(CMAES, build_cube, max_trials=30, loss=loss).run()
        for loss in (bowl, lambda values: -bowl(values))
    ]
    same = [one == other for one, other in zip(*drawn, strict=True)]
    first = same.index(False)
    # One trial with defaults before the space is known; then generations of 4 + floor(3 ln 5) = 8.
    assert first == 1 + 8
    assert not any(same[first:])


def test_wishes_set_the_start():
    found = Simulation(CMAES, build_cube, max_trials=60)
    for number in range(20):
        found.study.enqueue({f"x{j}": 0.9 - 0.001 * number * j for j in range(5)})
    tried = found.run()
    assert statistics.mean(tried[20].values()) > 0.7


def test_observations_from_elsewhere_set_the_start():
    simulation = Simulation(CMAES, build_cube, max_trials=20)
    simulation.run(1)
    near = [{f"x{j}": 0.1 + 0.001 * i for j in range(5)} for i in range(8)]
    simulation.study.give([Observation(str(i), p, 0.0) for i, p in enumerate(near)])
    assert statistics.mean(v for values in simulation.run(8) for v in values.values()) < 0.3


def test_a_belief_sets_the_start():
    def declare(hp):
        for j in range(5):
            hp.Float(f"x{j}", 0.0, 1.0, prior=0.9)

    found = Simulation(CMAES, declare, max_trials=9).run()[1:]
    assert statistics.mean(v for values in found for v in values.values()) > 0.75


def test_failed_trials_are_the_worst_of_their_generation():
    simulation = Simulation(CMAES, build_cube, max_trials=None)
    late = []
    while len(simulation.study.history) < 120:
        record = simulation.study.ask("worker")
        hp = simulation.build_trial(record)
        if record.values and record.values["x0"] > 0.5:
            simulation.study.fail(record.number, "error", "no")
        else:
            simulation.train(record, hp)
        late.append(dict(record.values))
    assert sum(values["x0"] > 0.5 for values in late[-40:]) <= 10


def test_a_small_population_is_refused():
    with pytest.raises(ValueError, match="at least 4. Received: population=3"):
        CMAES(population=3)


def test_without_its_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cmaes", None)
    with pytest.raises(MissingPackageError, match=r'pip install "keratune\[cmaes\]"'):
        algorithms.create("cmaes")
