"""Claims about TPE: its densities, what it learns from, and how far it gets."""

from __future__ import annotations

import statistics
import time

import numpy as np
import pytest

from keratune._random import stream
from keratune.algorithms import tpe
from keratune.algorithms.random import RandomSearch
from keratune.history import Observation
from keratune.objectives import Objective, ParetoObjective
from keratune.space import HyperParameters
from keratune.storage import MemoryStorage
from keratune.study import Limits, Study
from keratune.surrogates.encoding import Encoding
from keratune.testing.algorithms import best_losses


def square(hp):
    hp.Float("x", 0.0, 1.0)
    hp.Float("y", 0.0, 1.0)


def branches(hp):
    hp.Choice("model", ["a", "b", "c"])
    for model in ("a", "b", "c"):
        with hp.conditional_scope("model", [model]):
            hp.Float(f"x_{model}", 0.0, 1.0)
    hp.Int("units", 1, 4)


def study(declare=square, seed=0, objective=None, **settings):
    opened = Study.open(
        MemoryStorage(),
        objective or Objective("loss", "min"),
        tpe.TPE(**settings),
        seed=seed,
        limits=Limits(max_consecutive_failures=None),
    )
    opened.planner.defaults_first = False
    hp = HyperParameters()
    hp.begin({}, None)
    declare(hp)
    opened.declare(hp.space)
    return opened


def run(opened, count, loss):
    """Run trials; return their values. A loss of None is a failure."""
    tried = []
    for _ in range(count):
        record = opened.ask("worker")
        tried.append(dict(record.values))
        value = loss(record.values)
        if value is None:
            opened.fail(record.number, "error", "no")
        else:
            opened.tell(record.number, {"loss": value})
    return tried


def suggestions(opened, count=30):
    history = opened.history
    return [opened.planner.algorithm.suggest(history, stream(0, number)) for number in range(count)]


def distance(values, x, y):
    return float(np.hypot(values["x"] - x, values["y"] - y))


def test_it_beats_random_search_on_a_bowl():
    ours, random = best_losses(tpe.TPE), best_losses(RandomSearch)
    assert statistics.median(ours) < 0.3 * statistics.median(random)


@pytest.mark.parametrize("believes", [False, True])
def test_a_density_has_mass_one_and_draws_follow_it(believes):
    def declare(hp):
        hp.Choice("model", ["a", "b", "c"], prior={"a": 3, "b": 1, "c": 1})
        with hp.conditional_scope("model", ["a"]):
            hp.Float("x", 0.0, 1.0, prior=0.8)
        hp.Int("units", 1, 4)

    encoding = Encoding(study(declare).history.space)
    rng = np.random.default_rng(0)
    density = tpe._Parzen.of(encoding, encoding.spread(rng.random((6, 3))), believes=believes)
    anywhere = encoding.spread(rng.random((20_000, 3)))
    weights = np.exp(density.log_density(anywhere))
    assert np.mean(weights) == pytest.approx(1.0, abs=0.03)
    drawn = density.draw(20_000, rng)
    for of_rows in (lambda X: X[:, 0] == 0, lambda X: X[:, 1] < 0.4, lambda X: X[:, 2] > 0.6):
        share = np.mean(weights * of_rows(anywhere))
        assert np.mean(of_rows(drawn)) == pytest.approx(share, abs=0.03)


def test_what_a_trial_lacks_is_uniform_in_its_kernel():
    encoding = Encoding(study(branches).history.space)
    rows = encoding.encode([{"model": "a", "x_a": 0.2, "units": 1}])
    density = tpe._Parzen.of(encoding, rows)
    others = encoding.encode([{"model": "b", "x_b": u, "units": 1} for u in (0.1, 0.5, 0.9)])
    assert np.ptp(density.log_density(others)) == 0.0


def test_it_goes_to_the_good_branch_and_learns_within_it():
    def loss(values):
        return abs(values["x_b"] - 0.8) if values["model"] == "b" else 1.0

    late = run(study(branches), 60, loss)[-20:]
    within = [values["x_b"] for values in late if values["model"] == "b"]
    assert len(within) >= 15
    assert statistics.median(abs(x - 0.8) for x in within) < 0.1


def test_failed_trials_keep_it_away():
    late = run(study(), 60, lambda v: None if v["x"] > 0.5 else v["y"])[-30:]
    assert sum(values["x"] > 0.5 for values in late) <= 5


def test_running_trials_keep_others_away():
    opened = study()
    run(opened, 20, lambda values: values["x"])
    before = suggestions(opened)
    centre = {name: statistics.median(v[name] for v in before) for name in ("x", "y")}
    for place in range(10):
        opened.ask(f"worker {place}", lambda number: {**centre, "x": centre["x"] + 1e-3 * number})

    def nearness(found):
        return statistics.mean(distance(values, **centre) for values in found)

    assert nearness(suggestions(opened)) > 1.2 * nearness(before)


def test_paused_trials_teach_as_finished_ones_do():
    opened = study()
    for record in [opened.ask(f"worker {place}") for place in range(30)]:
        opened.report(record.number, 1, {"loss": distance(record.values, 0.2, 0.7)})
        opened.pause(record.number)
    assert statistics.median(distance(v, 0.2, 0.7) for v in suggestions(opened)) < 0.2


def test_observations_from_elsewhere_teach_as_trials_do():
    opened = study()
    rng = np.random.default_rng(0)
    points = [dict(zip("xy", map(float, p), strict=True)) for p in rng.random((30, 2))]
    opened.give(
        [Observation(str(i), p, distance(p, 0.2, 0.7)) for i, p in enumerate(points)],
    )
    assert statistics.median(distance(v, 0.2, 0.7) for v in suggestions(opened)) < 0.2


def test_first_trials_lie_where_good_values_are_believed():
    def declare(hp):
        hp.Float("x", 0.0, 1.0, prior=0.8)
        hp.Float("y", 0.0, 1.0)

    first = run(study(declare), 10, lambda values: 0.0)
    assert statistics.median(abs(values["x"] - 0.8) for values in first) < 0.2


def test_of_two_objectives_it_learns_the_front():
    objective = ParetoObjective([Objective("loss", "min"), Objective("size", "min")])
    opened = study(objective=objective)
    for _ in range(60):
        record = opened.ask("worker")
        x, y = record.values["x"], record.values["y"]
        opened.tell(record.number, {"loss": x + y, "size": 1.0 - x + y})
    assert statistics.median(values["y"] for values in suggestions(opened)) < 0.15


def test_forbidden_candidates_are_passed_over():
    opened = study()
    opened.constrain(lambda hp: hp["x"] <= hp["y"])
    run(opened, 30, lambda values: 1.0 - values["x"])
    assert all(values["x"] <= values["y"] for values in suggestions(opened))


def test_a_thousand_trials_cost_milliseconds():
    def declare(hp):
        for j in range(8):
            hp.Float(f"x{j}", 0.0, 1.0)

    opened = study(declare)
    run(opened, 1000, lambda values: sum(values.values()))
    began = time.process_time()
    suggestions(opened, 5)
    assert (time.process_time() - began) / 5 < 0.1


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"num_initial_points": 1}, "at least 2. Received"), ({"candidates": 0}, "at least 1. Rec")],
)
def test_settings_without_a_meaning_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        tpe.TPE(**settings)
