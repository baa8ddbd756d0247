"""What Bayesian optimisation makes of beliefs, and of trials from elsewhere."""

import numpy as np

from keratune import algorithms
from keratune.history import Observation, Record
from keratune.objectives import Objective
from keratune.parameters import Float
from keratune.storage import MemoryStorage
from keratune.study import Limits, Study

BEST = (0.3, 0.7, 0.45, 0.2)


def loss(values):
    gaps = np.array([values[name] for name in "abcd"]) - BEST
    return float((gaps**2).sum() + 0.3 * (gaps[0] + gaps[1]) ** 2)


def search(count, prior=None, given=(), seed=0, storage=None):
    """The losses of a Bayesian search on a 4-d bowl, in order."""
    study = Study.open(
        storage or MemoryStorage(),
        Objective("loss", "min"),
        algorithms.create("bayesian"),
        seed=seed,
        limits=Limits(count),
    )
    study.planner.defaults_first = False
    believed = prior or [None] * 4
    study.declare([Float(n, 0.0, 1.0, prior=p) for n, p in zip("abcd", believed, strict=True)])
    study.give([Observation(str(i), values, loss(values)) for i, values in enumerate(given)])
    while isinstance(record := study.ask("me"), Record):
        study.tell(record.number, {"loss": loss(record.values)})
    return [loss(record.values) for record in study.history.trials]


def best(count, **kwargs):
    return np.mean([min(search(count, seed=seed, **kwargs)) for seed in range(4)])


def test_a_right_belief_finds_sooner_and_a_wrong_one_is_forgotten():
    without = best(10)
    assert best(10, prior=[b + 0.05 for b in BEST]) < 0.5 * without
    wrong = [1.0 - b for b in BEST]
    assert best(30, prior=wrong) < 0.25 * without


def test_what_was_given_is_learnt_from_and_spares_the_first_trials():
    rng = np.random.default_rng(0)
    given = [dict(zip("abcd", row, strict=True)) for row in rng.random((15, 4))]
    assert best(4, given=given) < 0.5 * best(4)


def test_a_search_with_priors_and_given_trials_resumes_as_if_never_stopped():
    given = [dict(zip("abcd", [0.1 * i] * 4, strict=True)) for i in range(6)]
    whole = search(9, prior=[0.5] * 4, given=given)
    storage = MemoryStorage()
    search(5, prior=[0.5] * 4, given=given, storage=storage)
    assert search(9, prior=[0.5] * 4, given=given, storage=storage) == whole
