"""A script written for KerasTuner, which its environment makes a chief or a worker.

`python chief_script.py FOLDER KIND`. It logs every epoch and every trial, and what it has seen in
the end. `TEST_SECONDS` is how long each of them takes, `TEST_RESUME` keeps what there is.
"""

import json
import os
import pathlib
import sys
import time

import keratune

keratune.install_as_keras_tuner()
import keras_tuner as kt  # noqa: E402

FOLDER, KIND = pathlib.Path(sys.argv[1]), sys.argv[2]
SECONDS = float(os.environ.get("TEST_SECONDS", "0"))
COMMON = {
    "directory": FOLDER,
    "project_name": "project",
    "overwrite": "TEST_RESUME" not in os.environ,
}


def log(file, line):
    with (FOLDER / file).open("a") as target:
        target.write(f"{line}\n")


class Stateful(kt.Oracle):
    """Counts what it has given out and got back: the state that only a chief can keep."""

    given, ended = 0, 0

    def populate_space(self, trial_id):
        if self.given == 6:
            return {"status": "STOPPED"}
        self.given += 1
        return {"status": "RUNNING", "values": {"x": self.given / 10}}

    def end_trial(self, trial):
        self.ended += 1
        super().end_trial(trial)

    def score_trial(self, trial):
        super().score_trial(trial)
        trial.score += 100 * self.ended

    def get_state(self):
        return {**super().get_state(), "given": self.given, "ended": self.ended}

    def set_state(self, state):
        super().set_state(state)
        self.given, self.ended = state["given"], state["ended"]


class Quick(kt.Tuner):
    """Runs trials without Keras."""

    def run_trial(self, trial, *args, **kwargs):
        x = trial.hyperparameters.Float("x", -1.0, 1.0)
        log("trials.log", f"{self.tuner_id} {trial.trial_id}")
        if KIND == "failing":
            raise ValueError("the cause of it all")
        time.sleep(SECONDS)
        return x**2


class Logged(kt.RandomSearch):
    """Logs the epochs that are trained."""

    def on_epoch_end(self, trial, model, epoch, logs=None):
        log("epochs.log", f"{self.tuner_id} {trial.trial_id} {epoch}")
        time.sleep(SECONDS)


def build_model(hp):
    import keras

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(hp.Float("rate", 1e-3, 1e-1, sampling="log")), "mse")
    return model


def create():
    if KIND == "stateful":
        return Quick(oracle=Stateful(kt.Objective("default_objective", "min")), **COMMON)
    if KIND == "hyperband":
        return kt.Hyperband(build_model, "val_loss", max_epochs=3, factor=3, seed=1, **COMMON)
    if KIND == "training":
        return Logged(build_model, "val_loss", max_trials=2, seed=1, **COMMON)
    return Quick(oracle=kt.oracles.RandomSearchOracle(max_trials=6, seed=1), **COMMON)


def search(tuner):
    if KIND in ("quick", "stateful", "failing"):
        tuner.search(verbose=0)
        return
    import numpy as np

    x = np.ones((8, 2), "float32")
    tuner.search(x, x[:, :1], validation_data=(x, x[:, :1]), epochs=8, verbose=0)
    assert len(tuner.get_best_models(1)) == 1


log("started.log", os.environ["KERASTUNER_TUNER_ID"])
tuner = create()
search(tuner)
tuner.results_summary(1)
outcome = {
    "ended": time.time(),
    "trials": sorted(tuner.oracle.trials),
    "left": tuner.remaining_trials,
    "best": tuner.oracle.get_best_trials(1)[0].score,
    "scores": sorted(trial.score for trial in tuner.oracle.trials.values()),
}
name = os.environ["KERASTUNER_TUNER_ID"]
(FOLDER / f"{name}.json").write_text(json.dumps(outcome))
