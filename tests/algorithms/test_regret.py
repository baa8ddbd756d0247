"""What learns finds more than chance does."""

import numpy as np
import pytest

from keratune import algorithms
from keratune.history import Record
from keratune.objectives import Objective
from keratune.parameters import Choice, Float, Int
from keratune.storage.memory import MemoryStorage
from keratune.study import Limits, Study

SPACE = [
    Float("rate", 1e-4, 1.0, sampling="log"),
    Float("share", 0.0, 1.0),
    Int("units", 1, 64),
    Float("other", -1.0, 1.0),
    Choice("kind", ["a", "b", "c"]),
]


def loss(values):
    bowl = (np.log10(values["rate"]) + 2.5) ** 2 / 4 + (values["share"] - 0.3) ** 2
    rest = (values["units"] / 64 - 0.6) ** 2 + (values["other"] - 0.2) ** 2
    return float(bowl + rest + {"a": 0.0, "b": 0.1, "c": 0.3}[values["kind"]])


def best(name, seed, trials=60):
    study = Study.open(
        MemoryStorage(),
        Objective("loss", "min"),
        algorithms.create(name),
        seed=seed,
        limits=Limits(trials),
    )
    study.planner.defaults_first = False
    study.declare(SPACE)
    while isinstance(record := study.ask("me"), Record):
        study.tell(record.number, {"loss": loss(record.values)})
    return study.history.best()[0].score


@pytest.fixture(scope="module")
def chance():
    return np.median([best("random", seed) for seed in range(10)])


@pytest.mark.parametrize("name", ["tpe", "cmaes", "evolution"])
def test_the_median_of_ten_searches_is_well_below_that_of_chance(name, chance):
    assert np.median([best(name, seed) for seed in range(10)]) < 0.6 * chance


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("tpe", {"num_initial_points": 1}),
        ("tpe", {"candidates": 0}),
        ("cmaes", {"population": 3}),
        ("evolution", {"population": 0}),
        ("evolution", {"tournament": 0}),
        ("quasirandom", {"sequence": "faure"}),
    ],
    ids=str,
)
def test_bad_options_are_refused_with_what_was_received(name, options):
    with pytest.raises(ValueError, match="Received"):
        algorithms.create(name, **options)


def test_quasirandom_points_are_spread_more_evenly_than_random_ones():
    def largest_gap(name):
        study = Study.open(
            MemoryStorage(), Objective("loss", "min"), algorithms.create(name), seed=0
        )
        study.planner.defaults_first = False
        study.declare([Float("x", 0.0, 1.0)])
        points = []
        for _ in range(64):
            trial = study.ask("me")
            points.append(trial.values["x"])
            study.tell(trial.number, {"loss": 0.0})
        return np.diff(np.sort(points)).max()

    assert largest_gap("quasirandom") < 0.5 * largest_gap("random")
