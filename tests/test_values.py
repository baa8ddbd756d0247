"""A trial holds exactly what its build read, for whoever looks at it, whenever."""

import json

import pytest

import keratune as kt
from keratune.algorithms import create
from keratune.history import Result
from keratune.oracles import RandomSearchOracle
from keratune.parameters import Boolean, Float
from keratune.storage import MemoryStorage
from keratune.study import Study


class Layered(kt.Tuner):
    """Reads a width for each layer, and returns their sum."""

    def run_trial(self, trial, *args, **kwargs):
        hp = trial.hyperparameters
        return float(sum(hp.Int(f"units_{i}", 1, 2) for i in range(hp.Int("layers", 1, 3))))


def test_live_trials_and_their_files_hold_what_was_read_in_the_order_of_reading(project, tmp_path):
    tuner = Layered(RandomSearchOracle(max_trials=30, seed=0), **project)
    tuner.search(verbose=0)
    assert len(tuner.history) == 2 + 4 + 8
    for record in tuner.history.trials:
        live = dict(tuner.oracle.trials[record.trial_id].hyperparameters.values)
        assert list(live.items()) == list(record.values.items())
        assert len(live) == 1 + live["layers"]
        file = tmp_path / "project" / f"trial_{record.trial_id}" / "trial.json"
        assert json.loads(file.read_text())["hyperparameters"]["values"] == live


def test_a_search_says_that_nothing_is_left_to_be_tried(project, capsys):
    Layered(RandomSearchOracle(max_trials=30, seed=0), **project).search()
    assert "ends after 14 trials: nothing is left" in capsys.readouterr().out
    Layered(RandomSearchOracle(max_trials=10, seed=0), **project).search()
    assert "The search has ended before, with 14 trials." in capsys.readouterr().out


def test_a_worker_that_was_taken_for_dead_cannot_spoil_the_study_by_a_late_duplicate():
    storage = MemoryStorage()
    study = Study.open(storage, kt.Objective("loss", "min"), create("random"), seed=0)
    study.declare([Boolean("deep"), Float("rate", 0.0, 1.0)])
    first = study.ask("a")
    study.settle(first.number, {"deep": first.values["deep"]})
    second = study.ask("a")
    assert study.recover(lambda worker: False) == [first.number, second.number]
    study.settle(second.number, {"deep": first.values["deep"]})
    again = Study.open(storage, kt.Objective("loss", "min"), create("random"), seed=0)
    assert {again.ask("b").number, again.ask("b").number} == {first.number, second.number}


def test_a_crash_behind_the_last_execution_loses_no_value(project):
    """The trial is told without being built again; what its build had read stays."""
    import keras
    import numpy as np

    def build(hp):
        model = keras.Sequential(
            [keras.layers.Input((2,)), keras.layers.Dense(hp.Int("units", 2, 9))]
        )
        model.compile("sgd", "mse")
        return model

    class Crashing(kt.RandomSearch):
        crashed = False

        def on_trial_end(self, trial):
            if not Crashing.crashed:
                Crashing.crashed = True
                raise KeyboardInterrupt
            super().on_trial_end(trial)

    x = np.ones((8, 2), "float32")
    fit = {"x": x, "y": x[:, :1], "validation_split": 0.5, "epochs": 1, "verbose": 0}
    fit["batch_size"] = lambda hp: hp.Choice("batch_size", [2, 4])
    with pytest.raises(KeyboardInterrupt):
        Crashing(build, "val_loss", 1, seed=0, **project).search(**fit)
    tuner = Crashing(build, "val_loss", 1, seed=0, **project)
    tuner.search(**fit)
    assert set(tuner.history[0].values) == {"units", "batch_size"}
    assert tuner.history[0].results[0] == Result(1, tuner.history[0].results[0].metrics)
