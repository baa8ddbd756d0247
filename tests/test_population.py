"""Population based training: who goes on from whom, and that weights and rates do."""

from pathlib import Path

import keras
import numpy as np
import pytest

import keratune as kt
from keratune import algorithms
from keratune.base_tuner import BaseTuner
from keratune.configurations import CONTINUES, searched
from keratune.objectives import Objective
from keratune.oracles import PopulationOracle
from keratune.parameters import Choice, Float
from keratune.population import EPOCHS, GENERATION, INITIAL_EPOCH, MEMBER, Population
from keratune.storage.memory import MemoryStorage
from keratune.study import Study

RNG = np.random.default_rng(0)
X = RNG.normal(size=(96, 4)).astype("float32")
Y = (X[:, :1] * X[:, 1:2]).astype("float32")


def build(hp):
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(hp.Choice("units", [4, 8]), activation="relu"),
            keras.layers.Dense(1),
        ]
    )
    rate = hp.Float("rate", 1e-4, 1e-1, sampling="log")
    model.compile(keras.optimizers.Adam(rate), loss="mse")
    return model


@pytest.fixture(scope="module")
def searched_tuner(tmp_path_factory):
    rates = []

    class Watch(keras.callbacks.Callback):
        def __deepcopy__(self, memo):
            return self

        def on_epoch_begin(self, epoch, logs=None):
            rates.append((epoch, float(self.model.optimizer.learning_rate)))

    tuner = kt.PopulationBasedTraining(
        build,
        "val_loss",
        population=4,
        max_epochs=6,
        interval=2,
        seed=0,
        directory=tmp_path_factory.mktemp("runs"),
        project_name="population",
    )
    fit = {"validation_split": 0.25, "batch_size": 32, "verbose": 0}
    tuner.search(X, Y, callbacks=[Watch()], **fit)
    return tuner, rates


def test_every_member_trains_all_its_epochs_and_no_epoch_twice(searched_tuner):
    tuner, _ = searched_tuner
    trials = tuner.history.trials
    assert len(trials) == 4 * 3
    for record in trials:
        first, last = record.values[INITIAL_EPOCH], record.values[EPOCHS]
        assert list(record.curves[0]) == list(range(first + 1, last + 1))
    assert sorted(r.values[MEMBER] for r in trials if r.values[GENERATION] == 2) == [0, 1, 2, 3]


def test_the_worst_member_goes_on_from_the_best_with_another_rate_and_the_same_shape(
    searched_tuner,
):
    tuner, rates = searched_tuner
    history = tuner.history
    first = [r for r in history.trials if r.values[GENERATION] == 0]
    best, worst = min(first, key=lambda r: r.score), max(first, key=lambda r: r.score)
    heir = next(
        r
        for r in history.trials
        if r.values[GENERATION] == 1 and r.values[MEMBER] == worst.values[MEMBER]
    )
    assert heir.values[CONTINUES] == best.trial_id
    assert heir.values["units"] == best.values["units"]
    assert heir.values["rate"] != best.values["rate"]
    assert heir.score < worst.score
    trained = [rate for epoch, rate in rates if epoch == 2]
    assert any(rate == pytest.approx(heir.values["rate"], rel=1e-5) for rate in trained)


def test_the_others_go_on_as_they_were(searched_tuner):
    history = searched_tuner[0].history
    for record in history.trials:
        if CONTINUES in record.values:
            parent = history[history.number_of(record.values[CONTINUES])]
            if parent.values[MEMBER] == record.values[MEMBER]:
                assert searched(parent.values) == searched(record.values)


def test_only_the_states_that_a_longer_search_goes_on_from_are_left(searched_tuner):
    tuner, _ = searched_tuner
    left = {file.parent.name for file in Path(tuner.project_dir).glob("trial_*/final*.npz")}
    last = {f"trial_{r.trial_id}" for r in tuner.history.trials if r.values[GENERATION] == 2}
    assert left == last
    assert tuner.get_best_models()[0].count_params() > 0


def test_a_longer_search_trains_the_further_epochs_only(tmp_path):
    def search(max_epochs):
        trained = []

        class Count(keras.callbacks.Callback):
            def __deepcopy__(self, memo):
                return self

            def on_epoch_begin(self, epoch, logs=None):
                trained.append(epoch)

        place = {"directory": tmp_path, "project_name": "longer"}
        tuner = kt.PopulationBasedTraining(build, "val_loss", 4, max_epochs, 1, seed=0, **place)
        tuner.search(X, Y, validation_split=0.25, verbose=0, callbacks=[Count()])
        return trained

    assert sorted(search(1)) == [0] * 4
    assert sorted(search(2)) == [1] * 4


def test_a_missing_state_is_said(tmp_path, caplog):
    place = {"directory": tmp_path, "project_name": "missing"}
    first = kt.PopulationBasedTraining(build, "val_loss", 4, 1, 1, seed=0, **place)
    first.search(X, Y, validation_split=0.25, verbose=0)
    for file in Path(first.project_dir).glob("trial_*/final*.npz"):
        file.unlink()
    second = kt.PopulationBasedTraining(build, "val_loss", 4, 2, 1, seed=0, **place)
    second.search(X, Y, validation_split=0.25, verbose=0)
    lines = [r.getMessage() for r in caplog.records if "state is missing" in r.getMessage()]
    assert len(lines) == 1 and "it trains from the beginning" in lines[0]


def test_confirming_is_refused_before_anything_is_trained(tmp_path):
    tuner = kt.PopulationBasedTraining(build, "val_loss", 4, 2, directory=tmp_path)
    for call in (lambda: tuner.search(X, Y, confirm=2), lambda: tuner.confirm(2, 2, X, Y)):
        with pytest.raises(ValueError, match="a schedule of hyperparameters.*another `seed`"):
            call()
    assert not tuner.history.trials


class Instant(BaseTuner):
    """Scores values without training."""

    def run_trial(self, trial, **kwargs):
        a, b = (trial.hyperparameters.Float(name, 0.0, 1.0) for name in "ab")
        return {"loss": (a - 0.9) ** 2 + (b - 0.8) ** 2, "recall": 1.0 - a}


class Pair(kt.HyperModel):
    def build(self, hp):
        hp.Float("a", 0.0, 1.0)
        hp.Float("b", 0.0, 1.0)


def instant(project, population=6, max_epochs=10, interval=None, **kwargs):
    objective = Objective("loss", "min")
    oracle = PopulationOracle(objective, population, max_epochs, interval, seed=0)
    return Instant(oracle, Pair(), **project, **kwargs)


def test_a_constraint_is_kept_and_the_search_comes_to_its_end(project):
    tuner = instant(project, constraint=lambda hp: hp["b"] <= hp["a"])
    tuner.search(verbose=0)
    trials = tuner.history.trials
    assert all(r.values["b"] <= r.values["a"] for r in trials)
    assert sum(r.values[EPOCHS] == 10 for r in trials) == 6
    explored = [
        r
        for r in trials
        if CONTINUES in r.values
        and r.values["a"] not in {o.values["a"] for o in trials if o.number < r.number}
    ]
    assert explored


def test_what_a_new_constraint_forbids_begins_anew(project):
    instant(project, 4, 2, 1).search(verbose=0)
    tuner = instant(project, 4, 4, 1, constraint=lambda hp: hp["a"] <= 0.3)
    before = len(tuner.history)
    forbidden = [r for r in tuner.history.trials if r.values["a"] > 0.3 and r.values[EPOCHS] == 2]
    tuner.search(verbose=0)
    later = tuner.history.trials[before:]
    assert forbidden and all(r.values["a"] <= 0.3 for r in later)
    assert {r.values[MEMBER] for r in later if r.values[EPOCHS] == 4} == {0, 1, 2, 3}


def test_an_exploration_that_the_limits_reject_is_another_one_then_none_then_a_new_beginning():
    study, _ = studies()
    population = Population(4, 10, 5)
    source = told_by(population, study)
    for n in range(4):
        study.tell(study.ask("me", source).number, {"loss": -study.history[n].values["rate"]})
    tried = []
    while True:  # member 0, the worst one
        trial = study.ask("me", source)
        tried.append((trial.values["rate"], CONTINUES in trial.values))
        if not tried[-1][1]:
            break
        study.reject(trial.number, "params 2 > 1")
    rates = [rate for rate, _ in tried]
    assert len(set(rates[:20])) > 3
    assert len(tried) == 22 and rates[20] == pytest.approx(0.4)
    assert trial.values[MEMBER] == 0 and trial.values[GENERATION] == 0


def studies():
    storage = MemoryStorage()
    made = [
        Study.open(storage, Objective("loss", "min"), algorithms.create("random"), seed=0)
        for _ in range(2)
    ]
    made[0].declare([Float("rate", 0.05, 1.0)])
    return made


def told_by(population, study):
    """Return what gives a study its next values, new members those of 0.1, 0.2, ..."""

    def source(number):
        history = study.history
        rng = np.random.default_rng([number, history.rejections(number)])
        step, values = population.proposed(history, number, rng)
        values = values or {"rate": 0.1 * (number + 1)}
        return {**values, **population.schedule(history, step)}

    return source


def test_a_process_that_saw_a_trial_before_it_was_rejected_plans_like_one_that_did_not():
    writer, reader = studies()
    population = Population(4, 10, 5)
    trial = writer.ask("me", told_by(population, writer))
    reader.sync()
    assert population.step(reader.history, RNG).member == 1
    writer.reject(trial.number, "params 2 > 1")
    reader.sync()
    assert population.step(reader.history, RNG).member == 0
    again = writer.ask("me", told_by(population, writer))
    reader.sync()
    assert again.number == trial.number and population.step(reader.history, RNG).member == 1


def test_an_enqueued_configuration_is_a_member(project):
    tuner = instant(project, 4, 4, 1)
    tuner.enqueue({"a": 0.5, "b": 0.5})
    tuner.search(verbose=0)
    first = tuner.history[0]
    assert (first.origin, first.values[MEMBER], first.values[EPOCHS]) == ("enqueued", 0, 1)
    assert len(tuner.history) == 16


def test_members_that_keep_the_outcomes_come_before_those_that_do_not(project):
    tuner = instant(project, 8, 20, 2, outcomes=["recall >= 0.5"])
    tuner.search(verbose=0)
    last = [r for r in tuner.history.trials if r.values[EPOCHS] == 20]
    assert sum(r.metrics["recall"] >= 0.5 for r in last) >= 6


def test_a_failed_member_goes_on_from_one_of_the_best():
    study = Study.open(
        MemoryStorage(), Objective("loss", "min"), algorithms.create("random"), seed=0
    )
    study.declare([Float("rate", 0.1, 1.0)])
    population = Population(4, 4, 2)
    for member in range(4):
        step = population.step(study.history, RNG)
        values = {"rate": 0.2 + 0.1 * member, **population.schedule(study.history, step)}
        trial = study.ask("me", lambda number, values=values: values)
        if member == 0:
            study.fail(trial.number, "error", "diverged")
        else:
            study.tell(trial.number, {"loss": float(member)})
    step = population.step(study.history, RNG)
    assert (step.member, step.generation, step.parent, step.explores) == (0, 1, 1, True)


def test_only_numbers_with_a_fraction_change_unless_others_are_named():
    values = {"rate": 0.5, "kind": "a"}
    space = [Float("rate", 0.1, 1.0), Choice("kind", ["a", "b"])]
    for explored, changing in ((None, {"rate"}), (["kind"], {"kind"})):
        population = Population(4, 10, explored=explored)
        assert {p.name for p in space if population._may_change(p)} == changing
    assert values["kind"] == "a"


@pytest.mark.parametrize(
    "arguments", [{"size": 3}, {"max_epochs": 0}, {"interval": 0}], ids=["size", "epochs", "every"]
)
def test_bad_arguments_are_refused_with_what_was_received(arguments):
    with pytest.raises(ValueError, match="Received"):
        Population(**arguments)


def test_a_misspelt_name_to_explore_is_answered_with_those_that_there_are(tmp_path):
    tuner = kt.PopulationBasedTraining(
        build, "val_loss", population=4, explored=["rates"], directory=tmp_path, project_name="p"
    )
    with pytest.raises(ValueError, match=r"\['rate', 'units'\].*Received: \['rates'\]"):
        tuner.search(X, Y, validation_split=0.25, verbose=0)
