"""Claims about grid search: its order, its count, and that it can be stopped and shared."""

from __future__ import annotations

import random

import pytest

from keratune import algorithms
from keratune.algorithms.grid import GridSearch
from keratune.history import Record
from keratune.parameters import Choice, Int
from keratune.storage import MemoryStorage
from keratune.study import Verdict
from keratune.testing.algorithms import (
    Simulation,
    assert_each_once,
    build_plain_if,
    build_scopes,
    read,
    run_interleaved,
)


def grid(build, **options):
    return Simulation(GridSearch, build, **{"max_trials": None, **options})


def run(build, count=None, **options):
    return [tuple(values.values()) for values in grid(build, **options).run(count)]


# Order


def two(hp):
    hp.Choice("a", ["u", "v"], default="v")
    hp.Int("b", 1, 3, default=2)


def test_the_default_comes_first_and_the_last_hyperparameter_turns_fastest():
    assert run(two) == [("v", 2), ("v", 1), ("v", 3), ("u", 2), ("u", 1), ("u", 3)]


def test_a_default_beside_the_grid_is_tried_too():
    def build(hp):
        hp.Int("x", 0, 10, step=5, default=7)

    assert run(build) == [(7,), (0,), (5,), (10,)]


def test_a_default_that_is_a_grid_value_to_rounding_is_tried_once():
    def build(hp):
        hp.Float("x", 0.0, 0.4, step=0.1, default=0.1 * 3)

    assert [round(x, 9) for (x,) in run(build)] == [0.3, 0.0, 0.1, 0.2, 0.4]


def test_a_float_without_a_step_takes_its_default_and_ten_values():
    def build(hp):
        hp.Float("x", 1.0, 2.0)

    found = run(build)
    assert len(found) == 11
    assert found[0] == (1.0,)
    assert found[1:] == sorted(found[1:])


def test_whole_numbers_with_log_steps_stay_ints():
    found = run(lambda hp: hp.Int("x", 2, 16, step=2, sampling="log"))
    assert found == [(2,), (4,), (8,), (16,)]
    assert all(type(x) is int for (x,) in found)


def test_a_choice_that_is_listed_twice_is_tried_once():
    assert run(lambda hp: hp.Choice("x", ["a", "a", "b"])) == [("a",), ("b",)]


def test_fixed_values_do_not_multiply():
    def build(hp):
        hp.Fixed("f", 3)
        hp.Boolean("b")

    assert run(build) == [(3, False), (3, True)]


# Count


def test_a_boolean_that_gates_two_discovered_choices_counts_twelve():
    def build(hp):
        if hp.Boolean("more"):
            hp.Choice("a", [1, 2, 3])
            hp.Choice("b", [1, 2, 3])
        else:
            hp.Choice("c", [1, 2, 3])

    assert_each_once(grid(build).run(), 12)


def test_four_scopes_with_four_values_each_count_sixteen():
    assert_each_once(grid(build_scopes).run(), 16)


def test_one_name_with_two_ranges_under_plain_if_is_tried_in_both():
    found = [tuple(v.values()) for v in grid(build_plain_if).run()]
    assert found[:3] == [("a", 1), ("a", 2), ("a", 3)]
    assert found[3:7] == [("b", 102, False), ("b", 102, True), ("b", 100, False), ("b", 100, True)]
    assert len(found) == 11


def test_a_namesake_whose_ranges_overlap_is_tried_in_order_from_its_own_default():
    def build(hp):
        if hp.Choice("m", ["a", "b"]) == "a":
            hp.Int("u", 1, 3, default=3)
        else:
            hp.Int("u", 1, 5)

    found = run(build)
    assert_each_once([dict(zip("mu", v, strict=True)) for v in found], 8)


def test_hyperparameters_that_show_up_while_fitting_are_tried_too():
    def late(hp):
        if hp.Boolean("augment"):
            hp.Choice("flips", [1, 2, 3])

    found = run(lambda hp: hp.Boolean("norm"), late=late)
    assert found == [
        (False, False),
        (False, True, 1),
        (False, True, 2),
        (False, True, 3),
        (True, False),
        (True, True, 1),
        (True, True, 2),
        (True, True, 3),
    ]


def test_a_million_values_are_walked_without_being_listed(monkeypatch):
    calls = []
    original = Int.grid_value
    monkeypatch.setattr(Int, "grid_value", lambda self, i: calls.append(i) or original(self, i))
    found = run(lambda hp: hp.Int("x", 0, 999_999), count=60)
    assert found == [(x,) for x in range(60)]
    assert len(calls) < 60 * 10


def test_the_cost_of_a_step_does_not_grow_with_the_trials(monkeypatch):
    asked = []
    original = Choice.grid_index
    monkeypatch.setattr(
        Choice, "grid_index", lambda self, value: asked.append(0) or original(self, value)
    )

    def build(hp):
        for name in "abcdef":
            hp.Choice(name, [1, 2, 3])

    simulation = grid(build)
    counts = []
    for _ in range(10):
        asked.clear()
        simulation.run(40)
        counts.append(len(asked))
    assert max(counts[1:]) < 2 * min(counts[1:])


def test_forbidden_walks_are_passed_over_without_a_trace():
    simulation = grid(diagonal)
    simulation.study.constrain(lambda hp: hp["a"] == hp["b"])
    assert [tuple(v.values()) for v in simulation.run()] == [(x, x) for x in range(30)]
    assert not simulation.study.history.rejected


def diagonal(hp):
    hp.Int("a", 0, 29)
    hp.Int("b", 0, 29)


@pytest.mark.parametrize("stop", [1, 7, 20])
def test_a_long_way_over_forbidden_walks_is_gone_in_steps_and_continued(stop, monkeypatch):
    monkeypatch.setattr("keratune.algorithms.grid.MOST_SKIPS", 10)
    simulation = grid(diagonal)
    simulation.study.constrain(lambda hp: hp["a"] == hp["b"])
    found = simulation.run(stop)
    continued = simulation.reopened()
    continued.study.constrain(lambda hp: hp["a"] == hp["b"])
    found += continued.run()
    assert [tuple(v.values()) for v in found] == [(x, x) for x in range(30)]
    assert 0 < len(continued.study.history.rejected) < 30 * 29 // 9


# Several workers, stops and failures


def ask(simulation, worker):
    record = simulation.study.ask(worker)
    return (record, simulation.build_trial(record)) if isinstance(record, Record) else record


def test_a_running_trial_that_may_reveal_more_makes_the_others_wait():
    def late(hp):
        if hp.Boolean("one"):
            hp.Boolean("two")

    simulation = grid(lambda hp: None, late=late)
    first = ask(simulation, "a")
    assert ask(simulation, "b") is Verdict.WAIT
    assert simulation.train(*first) == {"one": False}
    second = ask(simulation, "a")
    assert second[0].values == {"one": True}
    assert ask(simulation, "b") is Verdict.WAIT
    assert simulation.train(*second) == {"one": True, "two": False}
    third = ask(simulation, "b")
    assert third[0].values == {"one": True, "two": True}
    simulation.train(*third)
    assert ask(simulation, "a") is Verdict.STOP


def test_a_late_hyperparameter_does_not_upset_trials_that_run_already():
    def late(hp):
        hp.Boolean("late")

    simulation = grid(lambda hp: hp.Choice("x", [1, 2, 3]), late=late)
    held = [ask(simulation, str(worker)) for worker in range(3)]
    assert ask(simulation, "more") is Verdict.WAIT
    found = [simulation.train(*held[place]) for place in (0, 2, 1)]
    found += simulation.run()
    assert_each_once(found, 6)


@pytest.mark.parametrize("stop", range(12))
def test_it_can_be_stopped_and_continued_anywhere(stop):
    def build(hp):
        two(hp)
        hp.Boolean("c")

    simulation = grid(build)
    found = simulation.run(stop)
    interrupted = ask(simulation, "gone")
    continued = simulation.reopened()
    assert continued.study.recover(lambda worker: False) == [interrupted[0].number]
    assert [tuple(v.values()) for v in found + continued.run()] == run(build)


def test_a_finished_grid_with_a_limit_goes_on_when_the_limit_is_raised():
    simulation = grid(two, max_trials=3)
    assert len(simulation.run()) == 3
    simulation.max_trials = 6
    assert [tuple(v.values()) for v in simulation.reopened().run()] == run(two)[3:]


def test_wishes_ahead_of_the_grid_do_not_make_it_skip_anything():
    simulation = grid(two)
    simulation.study.enqueue({"a": "u", "b": 3})
    assert_each_once(simulation.run(), 6)


def test_a_random_search_can_be_finished_by_a_grid():
    storage = MemoryStorage()
    begun = Simulation(lambda: algorithms.create("random"), build_scopes, storage=storage)
    found = begun.run(7)
    assert_each_once(found + grid(build_scopes, storage=storage).run(), 16)


def test_a_build_that_fails_half_way_ends_its_branch_only():
    def build(hp):
        if hp.Choice("a", [1, 2, 3]) == 2:
            raise RuntimeError
        hp.Int("b", 1, 2)

    simulation, found = grid(build), []
    while isinstance(record := simulation.study.ask("me"), Record):
        try:
            hp = simulation.build_trial(record)
        except RuntimeError:
            simulation.study.fail(record.number, "error", values={"a": 2})
            continue
        found.append(simulation.train(record, hp))
    assert_each_once(found, 4)
    assert len(simulation.study.history) == 5


def test_many_workers_find_the_same_as_one():
    def build(hp):
        for name in "abcd":
            hp.Choice(name, [1, 2, 3])

    assert_each_once(run_interleaved(grid(build), 5, random.Random(0)), 81)


def test_what_it_has_read_is_all_that_is_stored():
    simulation = grid(build_plain_if)
    simulation.run()
    names = [set(record.values) for record in simulation.study.history.trials]
    assert all(found in ({"model", "units"}, {"model", "units", "norm"}) for found in names)
    assert read(simulation.build_trial(simulation.study.history[0])) == {"model": "a", "units": 1}
