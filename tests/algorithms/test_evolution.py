"""Claims about regularised evolution: who is a parent, what is mutated, how far it gets."""

from __future__ import annotations

import statistics

import pytest

from keratune._random import stream
from keratune.algorithms.evolution import Evolution
from keratune.algorithms.random import RandomSearch
from keratune.history import Observation
from keratune.objectives import Objective
from keratune.space import HyperParameters
from keratune.storage import MemoryStorage
from keratune.study import Limits, Study
from keratune.testing.algorithms import best_losses


def mixed(hp):
    hp.Float("rate", 1e-4, 1e-1, sampling="log")
    hp.Int("units", 8, 128, step=8)
    hp.Choice("optimizer", ["sgd", "adam", "lion"])
    with hp.conditional_scope("optimizer", ["sgd"]):
        hp.Float("momentum", 0.0, 0.9)


def study(declare=mixed, **settings):
    opened = Study.open(
        MemoryStorage(),
        Objective("loss", "min"),
        Evolution(**settings),
        seed=0,
        limits=Limits(max_consecutive_failures=None),
    )
    hp = HyperParameters()
    hp.begin({}, None)
    declare(hp)
    opened.declare(hp.space)
    return opened


PARENT = {"rate": 1e-2, "units": 64, "optimizer": "adam"}
OTHER = {"rate": 1e-3, "units": 16, "optimizer": "lion"}


def different(number):
    return {**OTHER, "units": 8 * (number + 1)}


def begin(opened, values):
    return opened.ask("worker", lambda number: values).number


def suggestions(opened, count=60):
    history = opened.history
    return [opened.planner.algorithm.suggest(history, stream(0, number)) for number in range(count)]


def changes(child, parent):
    return {name for name in parent if child.get(name) != parent[name]}


def are_children_of(parent, children):
    return all(len(changes(child, parent)) == 1 for child in children)


def test_it_beats_random_search_on_a_bowl():
    ours, random = best_losses(Evolution), best_losses(RandomSearch)
    assert statistics.median(ours) < 0.5 * statistics.median(random)


def test_a_child_differs_from_its_parent_in_one_hyperparameter_and_each_may_change():
    opened = study(population=1)
    opened.tell(begin(opened, PARENT), {"loss": 0.0})
    children = suggestions(opened)
    assert are_children_of(PARENT, children)
    assert {name for child in children for name in changes(child, PARENT)} == set(PARENT)


def test_a_number_moves_by_a_part_of_its_scale_and_may_go_anywhere_in_time():
    opened = study(population=1)
    opened.tell(begin(opened, PARENT), {"loss": 0.0})
    moved = [child["units"] for child in suggestions(opened, 200) if child["units"] != 64]
    assert statistics.median(abs(units - 64) for units in moved) <= 32
    assert min(moved) == 8 and max(moved) == 128


def test_a_category_that_opens_a_branch_gets_random_values_in_it():
    opened = study(population=1)
    opened.tell(begin(opened, PARENT), {"loss": 0.0})
    opening = [child for child in suggestions(opened) if child["optimizer"] == "sgd"]
    assert len({child["momentum"] for child in opening}) == len(opening) > 1


def test_the_oldest_leaves_however_good_it_is():
    opened = study(population=3, tournament=20)
    opened.tell(begin(opened, PARENT), {"loss": 0.0})
    for number in range(2):
        opened.tell(begin(opened, different(number)), {"loss": 1.0 + number})
    assert are_children_of(PARENT, suggestions(opened))
    opened.tell(begin(opened, different(2)), {"loss": 3.0})
    assert are_children_of(different(0), suggestions(opened))


def test_a_failed_trial_is_a_member_and_the_worst():
    opened = study(population=2, tournament=20)
    opened.fail(begin(opened, OTHER), "error", "no")
    opened.tell(begin(opened, PARENT), {"loss": 1e6})
    assert are_children_of(PARENT, suggestions(opened))


def test_paused_trials_are_members():
    opened = study(population=2, tournament=20)
    paused, ended = begin(opened, PARENT), begin(opened, OTHER)
    opened.tell(ended, {"loss": 1.0})
    opened.report(paused, 1, {"loss": 0.0})
    opened.pause(paused)
    assert are_children_of(PARENT, suggestions(opened))


def test_observations_from_elsewhere_are_members_older_than_all_trials():
    opened = study(population=2, tournament=20)
    opened.give([Observation("0", OTHER, 5.0), Observation("1", PARENT, 0.0)])
    assert are_children_of(PARENT, suggestions(opened))
    opened.tell(begin(opened, different(0)), {"loss": 1.0})
    assert are_children_of(PARENT, suggestions(opened))
    opened.tell(begin(opened, different(1)), {"loss": 2.0})
    assert are_children_of(different(0), suggestions(opened))


def test_first_trials_lie_where_good_values_are_believed():
    def declare(hp):
        hp.Float("x", 0.0, 1.0, prior=0.8)

    found = [values["x"] for values in suggestions(study(declare))]
    assert statistics.median(abs(x - 0.8) for x in found) < 0.15


def test_a_lattice_with_cells_wider_than_a_step_is_left_for_a_neighbour():
    def declare(hp):
        hp.Int("x", 0, 2)

    opened = study(declare, population=1)
    opened.tell(begin(opened, {"x": 0}), {"loss": 0.0})
    assert {values["x"] for values in suggestions(opened)} == {1, 2}


@pytest.mark.parametrize("name", ["population", "tournament"])
def test_numbers_below_one_are_refused(name):
    with pytest.raises(ValueError, match=f"`{name}` must be at least 1. Received: {name}=0."):
        Evolution(**{name: 0})
