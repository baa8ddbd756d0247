"""What is learnt from programs about hyperparameters."""

import pytest

from keratune.parameters import Boolean, Choice, Fixed, Float, Int
from keratune.space import HyperParameters
from keratune.structure import Lessons, Structure


class Program:
    """Stands for a compiled one: what counts is which one it is."""


class Search:
    """What lessons read of a history."""

    def __init__(self):
        self.space, self.structure = HyperParameters(), Structure()
        for parameter in (
            Int("units", 1, 99),
            Int("second", 1, 99),
            Int("seed", 1, 9),
            Float("scale", 0.0, 2.0),
            Float("rate", 0.0, 1.0),
        ):
            self.space.merge([parameter])


@pytest.fixture
def search():
    return Search()


@pytest.fixture
def structure(search):
    return search.structure


def learnt(search, *trials):
    """Take up trials, each a program, a batch and a configuration; return what is known then."""
    lessons = Lessons(search)
    for trial in trials:
        search.structure.learn(*lessons.of(*trial))
    return search.structure.lifted, search.structure.structural


def test_before_anything_was_seen_real_numbers_are_inputs_of_a_program_and_all_else_its_structure():
    def held(parameter):
        return Structure().holds(parameter)

    assert not held(Float("rate", 0.0, 1.0)) and not held(Choice("rate", [0.1, 0.01]))
    assert not held(Fixed("a", 3))
    assert held(Int("units", 1, 9)) and held(Boolean("norm")) and held(Choice("kind", ["a", "b"]))


def test_what_differs_within_a_program_is_lifted(search, structure):
    one, other = Program(), Program()
    seed = search.space.named("seed")[0]
    assert structure.holds(seed)
    lifted, structural = learnt(
        search,
        (one, 0, {"units": 8, "seed": 1}),
        (other, 1, {"units": 16, "seed": 1}),
        (one, 2, {"units": 8, "seed": 2, "tuner/epochs": 3}),
    )
    assert (lifted, structural) == ({"seed"}, set())
    assert not structure.holds(seed)


def test_what_keeps_trials_that_share_their_structure_from_sharing_a_program_is_structural(
    search, structure
):
    one, other = Program(), Program()
    first = (one, 0, {"units": 8, "scale": 0.5, "rate": 0.1})
    assert learnt(search, first, (one, 0, {"units": 8, "scale": 0.5, "rate": 0.2})) == (
        {"rate"},
        set(),
    )
    assert learnt(search, first, (other, 0, {"units": 8, "scale": 1.5, "rate": 0.3})) == (
        {"rate"},
        {"scale"},
    )
    assert structure.holds(Float("scale", 0.0, 2.0))


def test_programs_of_trials_that_share_no_structure_teach_nothing(search):
    first = (Program(), 0, {"units": 8, "rate": 0.1})
    assert learnt(search, first, (Program(), 0, {"units": 9, "rate": 0.2})) == (set(), set())


def test_what_has_once_seemed_lifted_by_coincidence_is_structural_for_good(search, structure):
    one, other = Program(), Program()  # the second layer is not always there
    learnt(
        search,
        (one, 0, {"units": 8, "second": 8, "rate": 0.1}),
        (one, 1, {"units": 8, "second": 9, "rate": 0.2}),
    )
    assert structure.lifted == {"second", "rate"}
    deeper = (other, 2, {"units": 9, "second": 8, "rate": 0.1})
    learnt(search, deeper, (Program(), 2, {"units": 9, "second": 9, "rate": 0.2}))
    assert (structure.lifted, structure.structural) == ({"rate"}, {"second"})
    structure.learn(["second"], [])
    assert structure.structural == {"second"} and structure.lifted == {"rate"}


def test_a_program_that_is_gone_proves_nothing(search):
    lessons, kept = Lessons(search), Program()
    lessons.of(Program(), 0, {"rate": 0.1})
    assert lessons.of(kept, 0, {"rate": 0.2}) == (set(), set())


def test_programs_are_counted(structure):
    space = [Int("units", 1, 4), Boolean("norm"), Float("rate", 0.0, 1.0), Fixed("a", 1)]
    assert structure.programs(space) == 8
    structure.learn(["units"], [])
    assert structure.programs(space) == 2
    structure.learn([], ["rate"])
    assert structure.programs(space) == float("inf")
