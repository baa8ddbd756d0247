"""What went wrong for users elsewhere and must not go wrong here, each named by what they saw."""

import json
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

import keratune as kt
from keratune import base_tuner
from keratune.oracles import RandomSearchOracle
from keratune.storage.project_folder import ProjectFolder

X = np.linspace(-1.0, 1.0, 16, dtype="float32").reshape(8, 2)
Y = X.sum(axis=1, keepdims=True)
FIT = {"epochs": 2, "batch_size": 8, "validation_data": (X, Y), "verbose": 0}


def build(hp):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(hp.Float("rate", 0.01, 0.2)), loss="mse")
    return model


class ByHand(kt.Tuner):
    """Evaluates trials without Keras."""

    def __init__(self, of, objective=None, seed=0, max_trials=10, **kwargs):
        self.of = of
        super().__init__(RandomSearchOracle(objective, max_trials, seed), **kwargs)

    def run_trial(self, trial, *args, **kwargs):
        return self.of(trial.hyperparameters)


@pytest.mark.parametrize(
    "name", ["f1_score", "r2_score", "cosine_similarity", "pearson_correlation", "fbeta_score"]
)
def test_the_best_trial_is_the_one_with_the_largest_f1_score_or_the_like(name, project):
    tuner = ByHand(lambda hp: {f"val_{name}": hp.Float("x", 0.0, 1.0)}, f"val_{name}", **project)
    tuner.search(verbose=0)
    values = [trial.hyperparameters["x"] for trial in tuner.oracle.trials.values()]
    assert tuner.get_best_hyperparameters()[0]["x"] == max(values)


def test_the_model_of_several_executions_has_the_weights_of_the_best_of_them(project):
    tuner = kt.RandomSearch(
        build, "val_loss", max_trials=1, seed=0, executions_per_trial=2, **project
    )
    tuner.search(X, Y, **FIT)
    trial = tuner.oracle.get_best_trials()[0]
    values = trial.metrics.get_history("val_loss")[0].value
    assert trial.score == pytest.approx(np.mean(values))
    assert tuner.get_best_models()[0].evaluate(X, Y, verbose=0) == min(values)


def test_a_worker_that_has_to_wait_does_not_spin(project):
    class Waiting(kt.Oracle):
        asked = 0

        def populate_space(self, trial_id):
            self.asked += 1
            return {"status": "IDLE" if self.asked < 8 else "STOPPED"}

    oracle = Waiting(kt.Objective("score", "max"))
    began = time.monotonic()
    base_tuner.BaseTuner(oracle, **project).search(verbose=0)
    assert oracle.asked == 8
    assert time.monotonic() - began > 0.3  # 0.01 + 0.02 + 0.04 + ...


def test_a_distribution_strategy_of_another_kind_is_no_obstacle(project):
    class Strategy:
        """What `keras.distribution` objects are: no `extended`, no `scope`."""

    tuner = kt.RandomSearch(
        build, "val_loss", max_trials=1, seed=0, distribution_strategy=Strategy(), **project
    )
    tuner.search(X, Y, **FIT)
    assert len(tuner.get_best_models()) == 1


def test_the_time_per_trial_does_not_grow_with_the_files(project, monkeypatch):
    written = []
    write = ProjectFolder.write_text

    def counting(self, name, text):
        written.append(name)
        write(self, name, text)

    monkeypatch.setattr(ProjectFolder, "write_text", counting)
    tuner = ByHand(lambda hp: hp.Float("x", 0.0, 1.0), max_trials=60, **project)
    tuner.search(verbose=0)
    assert written.count("oracle.json") < 30
    assert written.count("tuner0.json") == 1
    assert written.count("trial_07/trial.json") <= 2
    state = json.loads((ProjectFolder(tuner.oracle._folder.path).path / "oracle.json").read_text())
    assert len(state["end_order"]) == 60


def test_importing_is_quick_because_nothing_heavy_comes_along():
    heavy = ["tensorflow", "torch", "jax", "keras", "sklearn", "pandas", "grpc", "IPython"]
    code = f"import sys, keratune; print([name for name in {heavy} if name in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_the_display_tells_failures_from_successes_and_retries_by_their_trial(project, capsys):
    outcomes = [ValueError("bad luck"), 2.0, 1.0]

    def of(hp):
        hp.Float("x", 0.0, 1.0)
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    tuner = ByHand(of, max_trials=2, **project)
    tuner.oracle.max_retries_per_trial = 1
    tuner.search()
    lines = capsys.readouterr().out.splitlines()
    ends = [line.split(" in ")[0] for line in lines if " in 0s | " in line]
    assert ends == [
        "Trial 0: failed, will be tried again",
        "Trial 0: default_objective 2",
        "Trial 1: default_objective 1",
    ]


def test_no_terminal_is_cleared_and_nothing_is_drawn_into_a_pipe(project, capfd):
    ByHand(lambda hp: hp.Float("x", 0.0, 1.0), max_trials=2, **project).search()
    shown = capfd.readouterr()
    assert shown.err == ""
    assert "\x1b" not in shown.out
    assert len(shown.out.splitlines()) == 2


@pytest.mark.parametrize("name", ["mean_io_u", "PrecisionAtRecall", "IoU", "my_metric"])
def test_a_metric_that_keras_cannot_make_by_name_is_no_type_error(name, project):
    try:
        direction = kt.RandomSearch(build, name, **project).oracle.objective.direction
    except ValueError as error:
        assert "Could not infer optimization direction" in str(error)
    else:
        assert direction == "max"


def test_a_search_without_a_limit_of_failures_goes_on_to_its_end(project):
    def of(hp):
        hp.Float("x", 0.0, 1.0)
        raise ValueError("always")

    tuner = ByHand(of, max_trials=6, **project)
    tuner.oracle.max_consecutive_failed_trials = None
    tuner.search(verbose=0)
    assert len(tuner.oracle.end_order) == 6
