"""What is learnt from programs about hyperparameters."""

import pytest

from keratune.parameters import Boolean, Choice, Fixed, Float, Int
from keratune.structure import Lessons, Structure


class Program:
    """Stands for a compiled one: what counts is which one it is."""


@pytest.fixture
def structure():
    return Structure()


def learnt(structure, *trials):
    """Take up trials, each a program, a batch and a configuration; return what is known then."""
    lessons = Lessons(structure)
    for trial in trials:
        structure.learn(*lessons.of(*trial))
    return structure.lifted, structure.structural


def test_before_anything_was_seen_real_numbers_are_inputs_of_a_program_and_all_else_its_structure():
    def held(parameter):
        return Structure().holds(parameter)

    assert not held(Float("rate", 0.0, 1.0)) and not held(Choice("rate", [0.1, 0.01]))
    assert not held(Fixed("a", 3))
    assert held(Int("units", 1, 9)) and held(Boolean("norm")) and held(Choice("kind", ["a", "b"]))


def test_what_differs_within_a_program_is_lifted(structure):
    one, other = Program(), Program()
    seed = Int("seed", 1, 9)
    assert structure.holds(seed)
    lifted, structural = learnt(
        structure,
        (one, 0, {"units": 8, "seed": 1}),
        (other, 1, {"units": 16, "seed": 1}),
        (one, 2, {"units": 8, "seed": 2, "tuner/epochs": 3}),
    )
    assert (lifted, structural) == ({"seed"}, set())
    assert not structure.holds(seed)


def test_what_keeps_a_batch_from_sharing_a_program_is_structural_until_a_program_shows_otherwise(
    structure,
):
    one, other = Program(), Program()
    first = (one, 0, {"units": 8, "scale": 0.5, "rate": 0.1})
    second = (other, 0, {"units": 8, "scale": 1.5, "rate": 0.2})
    assert learnt(structure, first, second) == (set(), {"scale", "rate"})
    assert structure.holds(Float("scale", 0.0, 2.0))
    third = (one, 1, {"units": 8, "scale": 0.5, "rate": 0.3})
    assert learnt(structure, first, second, third) == ({"rate"}, {"scale"})
    assert learnt(structure, first, second) == ({"rate"}, {"scale"})


def test_a_program_that_is_gone_proves_nothing(structure):
    lessons, kept = Lessons(structure), Program()
    lessons.of(Program(), 0, {"rate": 0.1})
    assert lessons.of(kept, 0, {"rate": 0.2}) == (set(), set())


def test_programs_are_counted(structure):
    space = [Int("units", 1, 4), Boolean("norm"), Float("rate", 0.0, 1.0), Fixed("a", 1)]
    assert structure.programs(space) == 8
    structure.learn(["units"], [])
    assert structure.programs(space) == 2
    structure.learn([], ["rate"])
    assert structure.programs(space) == float("inf")
