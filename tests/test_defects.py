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
from keratune.numerics import gp
from keratune.oracles import BayesianOptimizationOracle, RandomSearchOracle
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

    def __init__(self, of, objective=None, seed=0, max_trials=10, oracle=None, **kwargs):
        self.of = of
        super().__init__(oracle or RandomSearchOracle(objective, max_trials, seed), **kwargs)

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


def test_a_model_based_search_stays_away_from_where_the_loss_was_infinite(project):
    def of(hp):
        x = hp.Float("x", 0.0, 1.0)
        return 5.0 + abs(x - 0.2) if x <= 0.8 else float("inf")

    oracle = BayesianOptimizationOracle(
        max_trials=16, num_initial_points=5, seed=1, max_consecutive_failed_trials=None
    )
    tuner = ByHand(of, oracle=oracle, **project)
    tuner.search(verbose=0)
    values = [trial.hyperparameters["x"] for trial in oracle.trials.values()]
    assert sum(x > 0.8 for x in values[5:]) <= 2
    assert min(abs(x - 0.2) for x in values) < 0.05


def test_a_model_based_search_never_trains_the_same_twice(project):
    def of(hp):
        return 1.0 + hp.Boolean("a") + hp.Boolean("b")

    oracle = BayesianOptimizationOracle(max_trials=12, num_initial_points=2, seed=0)
    ByHand(of, oracle=oracle, **project).search(verbose=0)
    values = [tuple(trial.hyperparameters.values.items()) for trial in oracle.trials.values()]
    assert len(values) == len(set(values)) == 4


def space_of(*declarations):
    hp = kt.HyperParameters()
    for declare in declarations:
        declare(hp)
    return hp


def ended(oracle, trial, value):
    oracle.update_trial(trial.trial_id, {"default_objective": value})
    oracle.end_trial(trial)


def test_a_hyperparameter_that_shows_up_while_a_trial_runs_upsets_no_model(project):
    oracle = BayesianOptimizationOracle(
        max_trials=20,
        num_initial_points=2,
        seed=0,
        hyperparameters=space_of(lambda hp: hp.Float("a", 0.0, 1.0)),
    )
    for number in range(4):
        ended(oracle, oracle.create_trial("first"), float(number))
    oracle.create_trial("slow")
    oracle.update_space(space_of(lambda hp: hp.Float("b", 0.0, 1.0)))
    for number in range(4):
        trial = oracle.create_trial("first")
        assert set(trial.hyperparameters.values) == {"a", "b"}
        ended(oracle, trial, float(number))


def test_a_model_based_search_passes_over_trials_of_any_status():
    oracle = BayesianOptimizationOracle(
        max_trials=20,
        num_initial_points=2,
        seed=0,
        hyperparameters=space_of(lambda hp: hp.Float("a", 0.0, 1.0)),
    )
    for number in range(4):
        ended(oracle, oracle.create_trial("tuner0"), float(number))
    for name, status in (("odd", "WEIRD"), ("running", "RUNNING"), ("idle", "IDLE")):
        trial = kt_trial(oracle, name, status)
        oracle.trials[name] = trial
    assert oracle.create_trial("tuner0").status == "RUNNING"


def kt_trial(oracle, name, status):
    from keratune.trial import Trial

    trial = Trial(oracle.get_space(), name, status)
    trial.hyperparameters.values["a"] = 0.5
    return trial


def test_a_space_of_constants_is_tried_once_by_a_model_based_search():
    oracle = BayesianOptimizationOracle(
        max_trials=5,
        num_initial_points=1,
        seed=0,
        hyperparameters=space_of(lambda hp: hp.Fixed("a", 3)),
    )
    ended(oracle, oracle.create_trial("tuner0"), 1.0)
    assert oracle.create_trial("tuner0").status == "STOPPED"


def test_a_model_based_proposal_asks_its_model_hundreds_of_times_not_thousands(monkeypatch):
    """KerasTuner's asks it 5,466 times at 20 trials in 5 dimensions."""
    oracle = BayesianOptimizationOracle(
        max_trials=50,
        num_initial_points=20,
        seed=0,
        hyperparameters=space_of(lambda hp: [hp.Float(f"x{i}", 0.0, 1.0) for i in range(5)]),
    )
    for _ in range(20):
        trial = oracle.create_trial("tuner0")
        values = trial.hyperparameters.values
        ended(oracle, trial, float(np.sin(9 * np.array(list(values.values()))).sum()))
    asked = []
    for owner, name in ((gp.Process, "predict"), (gp.Process, "gradients"), (gp, "condition")):
        monkeypatch.setattr(owner, name, counted(getattr(owner, name), asked))
    assert oracle.populate_space("20")["status"] == "RUNNING"
    assert 0 < len(asked) < 1000


def counted(function, calls):
    def wrapper(*args, **kwargs):
        calls.append(1)
        return function(*args, **kwargs)

    return wrapper


def test_another_verbosity_after_an_interruption_is_no_error(project, capsys):
    outcomes = [1.0, KeyboardInterrupt(), 2.0, 3.0]

    def of(hp):
        hp.Float("x", 0.0, 1.0)
        outcome = outcomes.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    tuner = ByHand(of, max_trials=3, **project)
    with pytest.raises(KeyboardInterrupt):
        tuner.search(verbose=0)
    tuner.search(verbose=1)
    assert len(tuner.oracle.end_order) == 3
    assert "Trial 1: default_objective 2" in capsys.readouterr().out


@pytest.mark.parametrize("branches", [1, 4, 16])
def test_the_constructor_builds_once_for_each_branch(branches, project):
    builds = []

    def branching(hp):
        builds.append(1)
        kind = hp.Choice("kind", list(range(branches)))
        for branch in range(branches):
            with hp.conditional_scope("kind", [branch]):
                if kind == branch:
                    hp.Int(f"units_{branch}", 1, 9)

    tuner = kt.RandomSearch(branching, kt.Objective("loss", "min"), **project)
    assert len(builds) <= branches + 1
    assert len(tuner.oracle.get_space().space) == branches + 1


def test_a_hypermodels_class_instead_of_an_instance_is_refused_at_once(project):
    class Model(kt.HyperModel):
        def build(self, hp):
            return build(hp)

    with pytest.raises(ValueError, match=r"Model\(\)"):
        kt.RandomSearch(Model, "val_loss", **project)


def test_a_wrapper_of_build_runs_once_however_build_is_inherited():
    class Named(kt.HyperModel):
        def _build_wrapper(self, hp, *args, **kwargs):
            with hp.name_scope("block"):
                return super()._build_wrapper(hp, *args, **kwargs)

        def build(self, hp):
            hp.Int("units", 1, 9)

    class Child(Named):
        def build(self, hp):
            hp.Boolean("more")
            return super().build(hp)

    hp = kt.HyperParameters()
    Child().build(hp)
    assert [parameter.name for parameter in hp.space] == ["block/more", "block/units"]


def test_a_model_based_search_begins_after_a_few_random_trials(project, monkeypatch):
    from keratune.surrogates import surrogate

    fitted, fit = [], surrogate.fit

    def seen(features, X, *args, **kwargs):
        fitted.append(len(X))
        return fit(features, X, *args, **kwargs)

    monkeypatch.setattr(surrogate, "fit", seen)

    def of(hp):
        return sum(hp.Float(f"x{i}", 0.0, 1.0) for i in range(6))

    space = space_of(lambda hp: [hp.Float(f"x{i}", 0.0, 1.0) for i in range(6)])
    oracle = BayesianOptimizationOracle(max_trials=9, seed=0, hyperparameters=space)
    ByHand(of, oracle=oracle, **project).search(verbose=0)
    assert fitted[0] == 7
