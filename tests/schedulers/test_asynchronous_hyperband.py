"""Asynchronous Hyperband: brackets of different boldness take turns on common rungs."""

import pytest

from keratune.schedulers import Hyperband
from keratune.testing import schedulers as contract


def starts(trials, max_epochs=9, **kwargs):
    """Return the epochs of the rungs on which new trials start, in order."""
    simulation = contract.Simulation(
        lambda: Hyperband(min_epochs=1, **kwargs), max_trials=trials, max_epochs=max_epochs
    )
    simulation.run()
    created = [e.event for e in simulation.storage.read(0)]
    return [event.epochs for event in created if type(event).__name__ == "TrialCreated"]


@pytest.mark.parametrize(
    ("factor", "max_epochs", "sizes"),
    [
        # K = 2: ceil(3/3 * 9), ceil(3/2 * 3), ceil(3/1 * 1)
        (3, 9, [(1, 9), (3, 5), (9, 3)]),
        # K = 3: ceil(4/4 * 8), ceil(4/3 * 4), ceil(4/2 * 2), ceil(4/1 * 1)
        (2, 8, [(1, 8), (2, 6), (4, 4), (8, 4)]),
        (3, 1, [(1, 5)]),
    ],
)
def test_brackets_take_turns_the_boldest_first(factor, max_epochs, sizes):
    once = [epochs for epochs, count in sizes for _ in range(count)]
    assert starts(2 * len(once), max_epochs, factor=factor) == once * 2


def test_trials_of_bolder_brackets_are_promoted_among_those_that_started_higher():
    simulation = contract.Simulation(lambda: Hyperband(min_epochs=1), max_trials=34, max_epochs=9)
    simulation.run()
    trained = [record.trained for record in simulation.study.history.trials]
    assert set(trained) == {1, 3, 9}
    first, second, third = trained[:9], trained[9:14], trained[14:17]
    assert 0 < sum(epochs > 1 for epochs in first) < 9
    assert 0 < sum(epochs > 3 for epochs in second) < 5
    assert third == [9, 9, 9]


def test_the_settings_are_shown():
    assert repr(Hyperband(factor=4)) == "Hyperband(min_epochs=None, factor=4, max_epochs=None)"
