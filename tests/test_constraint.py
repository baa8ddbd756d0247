"""A constraint on configurations: it holds in every trial of every search."""

import keras
import numpy as np
import pytest

import keratune as kt
from keratune.algorithms import create
from keratune.errors import FatalError, FatalValueError
from keratune.history import Record
from keratune.parameters import Int
from keratune.storage.memory import MemoryStorage
from keratune.study import Limits, Study, Verdict

X = np.linspace(-1.0, 1.0, 8, dtype="float32").reshape(8, 1)
FIT = {"epochs": 1, "batch_size": 8, "verbose": 0}


class Trainless(kt.HyperModel):
    """Builds a real model, and scores its values without training."""

    def build(self, hp):
        hp.Int("a", 1, 12, default=1)
        hp.Int("b", 1, 12, default=12)
        if hp.Boolean("deep"):
            hp.Float("c", 0.0, 1.0)
        return keras.Sequential(
            [keras.Input((1,)), keras.layers.Dense(1, kernel_initializer="zeros")]
        )

    def fit(self, hp, model, *args, **kwargs):
        return {"loss": float((hp["a"] - 8) ** 2 - hp["b"])}


def holds(hp):
    return hp["b"] <= hp["a"]


TUNERS = {
    "random": lambda **k: kt.RandomSearch(Trainless(), "loss", max_trials=12, **k),
    "bayesian": lambda **k: kt.BayesianOptimization(Trainless(), "loss", max_trials=12, **k),
    "grid": lambda **k: kt.GridSearch(Trainless(), "loss", max_trials=12, **k),
    "evolution": lambda **k: kt.Evolution(Trainless(), "loss", max_trials=25, **k),
    "quasirandom": lambda **k: kt.QuasiRandom(Trainless(), "loss", max_trials=12, **k),
    "population": lambda **k: kt.PopulationBasedTraining(
        Trainless(), "loss", 4, 4, 1, explored=["a", "b", "c"], **k
    ),
    "hyperband": lambda **k: kt.Hyperband(Trainless(), "loss", max_epochs=4, factor=2, **k),
}


def tried(tuner):
    return [dict(trial.hyperparameters.values) for trial in tuner.oracle.trials.values()]


@pytest.mark.parametrize("name", TUNERS)
def test_it_holds_in_every_trial(name, project):
    tuner = TUNERS[name](constraint=holds, seed=0, **project)
    tuner.search(X, X, **FIT)
    values = tried(tuner)
    assert len(values) >= 12 and all(v["b"] <= v["a"] for v in values)
    assert tuner.history.completed_count == len(values)


def test_a_hyperband_that_is_resumed_with_a_constraint_promotes_the_next_best(project):
    def make(**kwargs):
        return kt.Hyperband(
            Trainless(), "loss", max_epochs=4, factor=2, seed=0, **project, **kwargs
        )

    first = make()
    oracle = first.oracle
    for _ in range(4):  # the first round of the first bracket
        trial = oracle.create_trial("tuner0")
        oracle.update_trial(trial.trial_id, {"loss": float(trial.hyperparameters.values["a"])})
        oracle.end_trial(trial)
    best = first.history.best()[0].values["a"]
    second = make(constraint=lambda hp: hp["a"] != best)
    second.search(X, X, **FIT)
    assert len(second.history.rejected) < 30
    assert all(r.values["a"] != best for r in second.history.trials[4:])


def test_a_grid_leaves_out_what_is_forbidden_and_nothing_else(project):
    def small(hp):
        hp.Int("a", 1, 4)
        hp.Int("b", 1, 4)
        return keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])

    class Small(Trainless):
        def build(self, hp):
            return small(hp)

    tuner = kt.GridSearch(Small(), "loss", constraint=lambda hp: hp["b"] < hp["a"], **project)
    tuner.search(X, X, **FIT)
    assert [tuple(v.values()) for v in tried(tuner)] == [
        (a, b) for a in range(1, 5) for b in range(1, a)
    ]


@pytest.mark.parametrize("name", ["random", "bayesian", "grid"])
def test_a_resumed_search_equals_the_uninterrupted_one(name, tmp_path):
    def make(project_name):
        return TUNERS[name](constraint=holds, seed=4, directory=tmp_path, project_name=project_name)

    whole = make("whole")
    whole.search(X, X, **FIT)
    for most in (3, 8, 12):
        parts = make("parts")
        parts.oracle.max_trials = most
        parts.search(X, X, **FIT)
    assert tried(parts) == tried(whole)


def test_a_random_search_draws_evenly_from_what_is_allowed(project):
    tuner = kt.RandomSearch(
        Trainless(), "loss", max_trials=120, seed=0, constraint=holds, **project
    )
    study = tuner.oracle.study
    drawn = [study.planner.suggest(number) for number in range(1, 500)]
    assert all(values["b"] <= values["a"] for values in drawn)
    # Evenly over the triangle, the mean of a is 25 / 3.
    assert np.mean([values["a"] for values in drawn]) == pytest.approx(25 / 3, abs=0.4)


def test_all_of_the_few_that_are_allowed_are_tried():
    study = Study.open(
        MemoryStorage(), kt.Objective("loss", "min"), create("random"), seed=0, limits=Limits()
    )
    study.declare([Int("a", 0, 39), Int("b", 0, 39)])
    study.constrain(lambda hp: hp["a"] == hp["b"])
    while isinstance(trial := study.ask("worker"), Record):
        study.tell(trial.number, {"loss": 1.0})
    assert trial is Verdict.STOP
    assert sorted(r.values["a"] for r in study.history.trials) == list(range(40))


def test_where_a_name_is_not_active_the_constraint_does_not_count(project):
    tuner = kt.RandomSearch(
        Trainless(), "loss", max_trials=20, seed=0, constraint=lambda hp: hp["c"] > 0.5, **project
    )
    tuner.search(X, X, **FIT)
    values = tried(tuner)
    assert {v["deep"] for v in values} == {True, False}
    assert all(v["c"] > 0.5 for v in values if v["deep"])


def test_what_the_build_reads_counts(project):
    class Late(Trainless):
        def build(self, hp):
            model = super().build(hp)
            if hp["a"] > 6:
                hp.Choice("late", [1, 2, 3])
            return model

    tuner = kt.RandomSearch(
        Late(), "loss", max_trials=20, seed=1, constraint=lambda hp: hp["late"] == 2, **project
    )
    tuner.search(X, X, **FIT)
    late = [v["late"] for v in tried(tuner) if "late" in v]
    assert len(late) > 3 and set(late) == {2}


def test_enqueuing_what_is_forbidden_is_refused(project):
    tuner = TUNERS["random"](constraint=holds, seed=0, **project)
    with pytest.raises(ValueError, match=r"breaks `constraint`. Received: \{'a': 1, 'b': 2\}"):
        tuner.enqueue({"a": 1, "b": 2})
    tuner.enqueue({"a": 3})
    tuner.search(X, X, **FIT)
    assert any(v["a"] == 3 for v in tried(tuner))


def test_a_constraint_that_allows_nothing_says_so(project):
    tuner = TUNERS["random"](constraint=lambda hp: hp["a"] > 12, seed=0, **project)
    with pytest.raises(FatalValueError, match="has forbidden each of 1000 random configurations"):
        tuner.search(X, X, **FIT)


def test_a_misspelt_name_is_said_once(project, caplog):
    tuner = TUNERS["random"](constraint=lambda hp: hp.get("deeep"), seed=0, **project)
    tuner.search(X, X, **FIT)
    lines = [record.getMessage() for record in caplog.records if "deeep" in record.getMessage()]
    assert len(lines) == 1 and "Did you mean 'deep'?" in lines[0]


def test_two_workers_share_one_search(project, tmp_path):
    url = f"sqlite:///{tmp_path}/study.db"
    tuners = [
        TUNERS["random"](constraint=holds, seed=0, storage=url, tuner_id=f"tuner{k}", **project)
        for k in range(2)
    ]
    for turn in range(12):
        tuner = tuners[turn % 2]
        trial = tuner.oracle.create_trial(tuner.tuner_id)
        values = trial.hyperparameters.values
        assert values["b"] <= values["a"]
        tuner.oracle.update_trial(trial.trial_id, {"loss": float(turn)})
        tuner.oracle.end_trial(trial)
    assert tuners[0].oracle.create_trial("tuner0").status == "STOPPED"
    assert len(tried(tuners[1])) == 12


def test_what_is_no_function_is_refused_at_once(project):
    with pytest.raises(TypeError, match="`constraint` must be a function. Received: .*'b <= a'"):
        TUNERS["random"](constraint="b <= a", **project)


@pytest.mark.parametrize("broken", [lambda hp: hp["a"] < None, lambda a, b: b <= a])
def test_one_that_raises_ends_the_search_and_shows_the_configuration(project, broken):
    tuner = TUNERS["random"](constraint=broken, seed=0, **project)
    with pytest.raises(FatalError, match="`constraint` raised TypeError: .*'a': 1, 'b': 12"):
        tuner.search(X, X, **FIT)
