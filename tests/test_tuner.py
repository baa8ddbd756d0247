"""The tuner as its users see it: hooks, what may be returned, messages, disk, going on again."""

import copy
import inspect
import json
import random
import re
import subprocess
import sys
import textwrap
import traceback

import keras
import numpy as np
import pytest

import keratune as kt
from keratune.base_tuner import BaseTuner
from keratune.errors import (
    FailedTrialError,
    FatalTypeError,
    FatalValueError,
)
from keratune.oracles import RandomSearchOracle
from keratune.training import checkpoints
from keratune.training import keras as keras_training
from keratune.training.base import get_hypermodel

X = np.linspace(-1.0, 1.0, 16, dtype="float32").reshape(8, 2)
Y = (X.sum(axis=1, keepdims=True) * 0.5).astype("float32")
FIT = {"epochs": 2, "batch_size": 8, "validation_data": (X, Y), "verbose": 0}


def build(hp):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="out")])
    rate = hp.Float("rate", 0.01, 0.2)
    model.compile(keras.optimizers.SGD(rate), loss="mse", metrics=["mae"])
    return model


class Values(kt.HyperModel):
    """Trains nothing: each fit returns the next of some values."""

    def __init__(self, *values):
        super().__init__()
        self.values = list(values)

    def build(self, hp):
        hp.Float("x", 0.0, 1.0)
        return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])

    def fit(self, hp, model, *args, **kwargs):
        value = self.values.pop(0)
        if isinstance(value, Exception):
            raise value
        return value


class ByHand(kt.Tuner):
    """Evaluates trials without Keras: `of(hp)` returns what `run_trial` returns."""

    def __init__(self, of, objective=None, seed=0, max_trials=3, max_retries_per_trial=0, **kwargs):
        self.of = of
        oracle = RandomSearchOracle(
            objective, max_trials, seed, max_retries_per_trial=max_retries_per_trial
        )
        super().__init__(oracle, **kwargs)

    def run_trial(self, trial, *args, **kwargs):
        return self.of(trial.hyperparameters)


def tuner_of(hypermodel, project, objective="val_loss", **arguments):
    return kt.RandomSearch(
        hypermodel, objective, **{"max_trials": 2, "seed": 0, **project, **arguments}
    )


def scores(tuner):
    return [trial.score for trial in tuner.oracle.trials.values()]


def statuses(tuner):
    return [trial.status for trial in tuner.oracle.trials.values()]


# Hooks


def test_the_hooks_are_called_in_kerastuners_order(project):
    calls = []

    class Watched(kt.RandomSearch):
        pass

    def watch(name):
        def hook(self, *args, **kwargs):
            calls.append(name)
            return getattr(super(Watched, self), name)(*args, **kwargs)

        setattr(Watched, name, hook)

    for name in (
        "on_search_begin pre_create_trial on_trial_begin run_trial _build_and_fit_model _try_build "
        "_build_hypermodel on_epoch_begin on_batch_begin on_batch_end on_epoch_end on_trial_end "
        "save on_search_end"
    ).split():
        watch(name)
    tuner = Watched(build, "val_loss", max_trials=1, seed=0, **project)
    assert calls == []  # a subclass's constructor may not have run yet
    tuner.search(X, Y, **FIT)
    epoch = ["on_epoch_begin", "on_batch_begin", "on_batch_end", "on_epoch_end"]
    assert calls == [
        "on_search_begin",
        "pre_create_trial",
        "on_trial_begin",
        "run_trial",
        "_build_and_fit_model",
        "_try_build",
        "_build_hypermodel",
        *epoch,
        *epoch,
        "on_trial_end",
        "save",
        "pre_create_trial",
        "on_search_end",
    ]


def test_hooks_get_the_trial_the_model_and_the_logs(project):
    class Watched(kt.RandomSearch):
        def on_epoch_end(self, trial, model, epoch, logs=None):
            seen.append((trial.trial_id, type(model).__name__, epoch, sorted(logs)))

    seen = []
    Watched(build, "val_loss", max_trials=1, seed=0, **project).search(X, Y, **FIT)
    assert seen == [
        ("0", "Sequential", epoch, ["loss", "mae", "val_loss", "val_mae"]) for epoch in (0, 1)
    ]


# Constructors


def test_wrong_arguments_of_the_constructor_are_named(project):
    oracle = RandomSearchOracle("val_loss")
    with pytest.raises(ValueError, match="Expected `oracle` argument to be an instance of `Oracl"):
        BaseTuner(oracle="random", **project)
    with pytest.raises(ValueError, match=r"Unrecognized arguments \['max_trial'\]"):
        tuner_of(build, project, max_trial=3)
    with pytest.raises(ValueError, match="Received `hypermodel=None`"):
        kt.Tuner(oracle, **project)
    with pytest.raises(FatalValueError, match="`hypermodel` argument should be either"):
        tuner_of(3, project)
    with pytest.raises(FatalValueError, match=r"Received the class Values: pass Values\(\)"):
        tuner_of(Values, project)
    with pytest.raises(ValueError, match="`direction`"):
        tuner_of(build, project, kt.Objective("val_loss", "minimum"))
    with pytest.raises(ValueError, match="Could not infer optimization direction"):
        tuner_of(build, project, "my_own")
    for name in ("tune_new_entries", "allow_new_entries"):
        with pytest.raises(ValueError, match=f"{name}=False"):
            tuner_of(build, project, **{name: False})
    with pytest.warns(DeprecationWarning, match="logger"):
        assert tuner_of(build, project, logger="kept").logger == "kept"
    with pytest.raises(NotImplementedError, match="run_trial"):
        BaseTuner(oracle, **project).run_trial(None)


def test_the_documented_attributes_are_there(project):
    tuner = tuner_of(build, project, executions_per_trial=2, tuner_id="me")
    assert tuner.seed == 0
    assert (tuner.tuner_id, tuner.executions_per_trial) == ("me", 2)
    assert (tuner.directory, tuner.project_name) == (project["directory"], "project")
    assert tuner.project_dir == f"{project['directory']}/project"
    assert tuner.get_trial_dir("0") == f"{project['directory']}/project/trial_0"
    assert tuner.remaining_trials == 2


@pytest.mark.parametrize(
    "name", ["Oracle", "Tuner", "RandomSearch", "GridSearch", "HyperModel", "Objective"]
)
def test_everything_public_in_kerastuner_is_here_with_the_same_arguments(name):
    import keras_tuner

    theirs, ours = getattr(keras_tuner, name), getattr(kt, name)
    for member in [m for m in dir(theirs) if not m.startswith("_")] + ["__init__"]:
        assert hasattr(ours, member), member
        given, wanted = getattr(ours, member), getattr(theirs, member)
        assert callable(given) == callable(wanted), member
        if not inspect.isfunction(wanted):
            continue
        names = [list(inspect.signature(function).parameters) for function in (wanted, given)]
        if names[0] != ["args", "kwargs"]:  # a decorator of theirs hides the arguments
            assert [n for n in names[1] if n in names[0]] == names[0], member


def test_hypermodels_of_all_kinds_are_taken(project):
    class Bare(kt.HyperModel):
        def __init__(self, units):
            self.units = units  # and no super().__init__()

        def build(self, hp):
            hp.Choice("units", self.units)
            return build(hp)

    names = [p.name for p in tuner_of(Bare([1, 2]), project).oracle.get_space().space]
    assert names == ["units", "rate"]
    closed = Bare([1, 2])
    closed.tunable = False
    project["project_name"] = "closed"
    assert tuner_of(closed, project).oracle.get_space().space == []
    assert get_hypermodel(None) is None


def test_a_copied_hypermodel_builds_with_its_own_attributes():
    original = Values(1.0)
    twin = copy.copy(original)
    twin.build = None
    assert original.build is not None
    twin = copy.copy(original)
    twin.tunable = False
    hp = kt.HyperParameters()
    twin.build(hp)
    assert hp.space == []
    original.build(hp)
    assert [p.name for p in hp.space] == ["x"]


# What fit and run_trial may return


@pytest.mark.parametrize(
    ("objective", "returned", "score"),
    [
        (None, 0.5, 0.5),
        (None, np.float32(0.5), 0.5),
        (None, 2, 2.0),
        (None, {"default_objective": 0.5, "other": 1.0}, 0.5),
        ("val_loss", 0.5, 0.5),
        ("val_loss", {"val_loss": 0.5}, 0.5),
        ("val_loss", [{"val_loss": 0.5}, {"val_loss": 1.5}], 1.0),
        (["loss", kt.Objective("hits", "max")], {"loss": 1.0, "hits": 3.0}, -2.0),
    ],
    ids=str,
)
@pytest.mark.parametrize("by", ["fit", "run_trial"])
def test_every_documented_return_value_is_scored(project, objective, returned, score, by):
    if by == "fit":
        tuner = tuner_of(Values(returned), project, objective, max_trials=1)
    else:
        tuner = ByHand(lambda hp: returned, objective, max_trials=1, **project)
    tuner.search(verbose=0)
    assert scores(tuner) == [score]
    assert tuner.oracle.get_best_trials()[0].best_step == 0


def test_a_history_counts_with_its_best_epoch(project):
    history = keras.callbacks.History()
    history.history = {"loss": [3.0, 2.0, 1.0], "val_loss": [float("nan"), 0.5, 0.75]}
    tuner = tuner_of(Values(history), project, max_trials=1)
    tuner.search(verbose=0)
    trial = tuner.oracle.get_best_trials()[0]
    assert (trial.score, trial.best_step) == (0.5, 1)
    assert trial.metrics.get_last_value("loss") == 2.0


@pytest.mark.parametrize(
    ("objective", "returned", "error", "message"),
    [
        ("val_loss", None, FatalTypeError, "is None. Did you forget to return the metrics"),
        ("val_loss", "text", FatalTypeError, "to be one of float, dict"),
        ("val_loss", (1.0, 2.0), FatalTypeError, "to be one of float, dict"),
        ("val_loss", {"val_los": 1.0}, FatalValueError, "the specified objective, val_loss.*'val_"),
        (None, {"loss": 1.0}, FatalTypeError, "to be a single float"),
        (None, keras.callbacks.History(), FatalTypeError, "to be a single float"),
    ],
)
@pytest.mark.parametrize("by", ["fit", "run_trial"])
def test_a_wrong_return_value_ends_the_search_at_once(
    project, objective, returned, error, message, by
):
    source = "HyperModel.fit()" if by == "fit" else "Tuner.run_trial()"
    if by == "fit":
        tuner = tuner_of(Values(returned), project, objective)
    else:
        tuner = ByHand(lambda hp: returned, objective, **project)
    with pytest.raises(error, match=message) as caught:
        tuner.search(verbose=0)
    assert source in str(caught.value)
    assert statuses(tuner) != ["FAILED"]


def test_metrics_reported_by_hand_count_and_are_deprecated(project):
    tuner = ByHand(None, "val_loss", max_trials=1, **project)

    def reporting(hp):
        tuner.oracle.update_trial("0", {"val_loss": 3.0}, step=0)
        tuner.oracle.update_trial("0", {"val_loss": 2.0}, step=1)

    tuner.of = reporting
    with pytest.warns(DeprecationWarning, match="Please remove the call"):
        tuner.search(verbose=0)
    trial = tuner.oracle.get_best_trials()[0]
    assert (trial.score, trial.best_step) == (2.0, 1)


def test_run_trial_may_be_overridden_around_the_base_class(project):
    class Doubled(kt.RandomSearch):
        def run_trial(self, trial, *args, **kwargs):
            trial.hyperparameters.Int("declared_here", 1, 5)
            histories = super().run_trial(trial, *args, **kwargs)
            return {"val_loss": 100 + min(histories[0].history["val_loss"])}

    tuner = Doubled(build, "val_loss", max_trials=2, seed=0, **project)
    tuner.search(X, Y, **FIT)
    assert all(score > 100 for score in scores(tuner))
    assert "declared_here" in tuner.oracle.get_space().values
    loaded = Doubled(build, "val_loss", max_trials=2, seed=0, **project)
    assert scores(loaded) == scores(tuner)


def test_a_custom_loop_needs_no_keras_fit(project):
    class Loop(kt.HyperModel):
        def build(self, hp):
            hp.Float("rate", 0.1, 1.0)
            return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])

        def fit(self, hp, model, x, callbacks=None, **kwargs):
            for callback in callbacks:
                callback.set_model(model)
            values = []
            for epoch in range(2):
                value = abs(hp["rate"] - 0.5) + 1 - epoch
                for callback in callbacks:
                    callback.on_epoch_end(epoch, logs={"my_metric": value})
                values.append(value)
            return {"my_metric": min(values)}

    tuner = tuner_of(Loop(), project, kt.Objective("my_metric", "min"))
    tuner.search(X, verbose=0)
    best = tuner.get_best_hyperparameters()[0]
    assert min(scores(tuner)) == pytest.approx(abs(best["rate"] - 0.5))
    assert tuner.get_best_models()[0].count_params() == 3


# Executions


def test_the_score_is_the_mean_over_executions_and_every_value_is_kept(project, capsys):
    values = Values({"val_loss": 1.0}, {"val_loss": 2.0}, {"val_loss": 6.0})
    tuner = tuner_of(values, project, max_trials=1, executions_per_trial=3)
    tuner.search(verbose=0)
    trial = tuner.oracle.get_best_trials()[0]
    assert trial.score == 3.0
    assert trial.metrics.get_history("val_loss")[0].value == [1.0, 2.0, 6.0]
    capsys.readouterr()
    tuner.results_summary()
    assert "Score: 3.0 (mean of 1, 2, 6; standard deviation 2.65)" in capsys.readouterr().out
    stored = json.loads((tuner_path(tuner) / "trial_0" / "trial.json").read_text())
    observations = stored["metrics"]["metrics"]["val_loss"]["observations"]
    assert observations == [{"value": [1.0, 2.0, 6.0], "step": 0}]
    again = tuner_of(values, project, max_trials=1, executions_per_trial=3)
    assert again.oracle.get_trial("0").get_state() == trial.get_state()


def tuner_path(tuner):
    return tuner.oracle._folder.path


# Arguments of search


class Marker(keras.callbacks.Callback):
    made = []

    def __init__(self):
        super().__init__()
        self.made.append(self)
        self.trained = 0

    def on_train_begin(self, logs=None):
        self.trained += 1


class Uncopyable(keras.callbacks.Callback):
    def __deepcopy__(self, memo):
        raise ValueError("holds a socket")


@pytest.mark.parametrize("kind", ["none", "tuple", "list", "single", "factory"])
def test_callbacks_may_be_given_in_any_form(project, kind):
    given = Marker()
    Marker.made.clear()
    callbacks = {
        "none": None,
        "tuple": (given,),
        "list": [given],
        "single": given,
        "factory": lambda hp: [Marker()] if hp["rate"] else [],
    }[kind]
    seen = []

    class Watched(kt.RandomSearch):
        def _build_and_fit_model(self, trial, *args, **kwargs):
            seen.append(kwargs["callbacks"])
            return super()._build_and_fit_model(trial, *args, **kwargs)

    tuner = Watched(build, "val_loss", max_trials=2, seed=0, **project)
    tuner.search(X, Y, callbacks=callbacks, **FIT)
    assert statuses(tuner) == ["COMPLETED"] * 2
    own = [[c for c in callbacks if isinstance(c, Marker)] for callbacks in seen]
    assert [len(listed) for listed in own] == ([0, 0] if kind == "none" else [1, 1])
    assert given.trained == 0
    if own[0]:
        assert own[0][0] is not own[1][0]
        assert own[0][0].trained == own[1][0].trained == 1
    names = {type(callback).__name__ for callback in seen[0]}
    assert {"TunerCallback", "SaveBestEpoch"} <= names


def test_a_callback_that_cannot_be_copied_is_named_with_the_way_out(project):
    tuner = tuner_of(build, project)
    with pytest.raises(FatalValueError, match="should be deep-copyable") as caught:
        tuner.search(X, Y, callbacks=[Uncopyable()], **FIT)
    assert "callbacks=lambda hp: [Uncopyable(...)]" in str(caught.value)
    tuner.search(X, Y, callbacks=lambda hp: [Uncopyable()], **FIT)
    assert statuses(tuner) == ["COMPLETED"] * 2


def test_arguments_of_fit_may_be_hyperparameters(project):
    given = []

    class Watched(kt.RandomSearch):
        def _build_and_fit_model(self, trial, *args, **kwargs):
            given.append((kwargs["batch_size"], kwargs["epochs"]))
            return super()._build_and_fit_model(trial, *args, **kwargs)

    tuner = Watched(build, "val_loss", max_trials=3, seed=0, **project)
    arguments = {
        **FIT,
        "batch_size": lambda hp: hp.Choice("batch_size", [4, 8]),
        "epochs": lambda hp: hp.Int("epochs", 1, 2),
    }
    tuner.search(X, Y, **arguments)
    values = [trial.hyperparameters.values for trial in tuner.oracle.trials.values()]
    assert given == [(v["batch_size"], v["epochs"]) for v in values]
    assert {"batch_size", "epochs", "rate"} == set(tuner.oracle.get_space().values)


def test_validation_every_other_epoch_is_scored_where_it_was_measured(project):
    tuner = tuner_of(build, project, max_trials=1)
    tuner.search(X, Y, **{**FIT, "epochs": 5}, validation_freq=2)
    trial = tuner.oracle.get_best_trials()[0]
    assert trial.best_step == 3
    assert trial.score == pytest.approx(tuner.get_best_models()[0].evaluate(X, Y, verbose=0)[0])


# Objectives that are not there


def test_a_misspelt_objective_is_found_before_the_first_epoch_and_may_be_corrected(project):
    epochs = []

    class Watched(kt.RandomSearch):
        def on_epoch_end(self, trial, model, epoch, logs=None):
            epochs.append(epoch)

    def watched(name, direction="min"):
        objective = kt.Objective(name, direction)
        return Watched(build, objective, max_trials=2, seed=0, **project)

    with pytest.raises(FatalValueError, match="Did you mean 'val_mae'") as caught:
        watched("val_mea").search(X, Y, **FIT)
    assert epochs == []
    assert "['loss', 'mae', 'val_loss', 'val_mae']" in str(caught.value)
    tuner = watched("val_mae")
    tuner.search(X, Y, **FIT)
    assert statuses(tuner) == ["COMPLETED"] * 2
    assert tuner.oracle.objective.name == "val_mae"
    with pytest.raises(RuntimeError, match="pass `overwrite=True`"):
        watched("val_mae", "max")
    with pytest.raises(RuntimeError, match="val_loss"):
        watched("val_loss")


def test_a_validation_metric_without_validation_data_says_what_to_pass(project):
    tuner = tuner_of(build, project)
    with pytest.raises(FatalValueError, match="validation_data"):
        tuner.search(X, Y, epochs=1, verbose=0)


# Models that are not wanted


def test_oversized_models_never_end_a_search_that_also_has_fitting_ones(project):
    def sized(hp):
        units = hp.Choice("units", [1, 100, 200, 300, 400, 500, 600])
        model = keras.Sequential(
            [keras.layers.Dense(units), keras.layers.Dense(1)]  # built by fit only
        )
        model.compile("sgd", "mse")
        return model

    tuner = kt.GridSearch(
        sized, "val_loss", max_model_size=50, max_consecutive_failed_trials=3, **project
    )
    tuner.search(X, Y, **FIT)
    assert statuses(tuner) == ["COMPLETED"] + ["FAILED"] * 6
    assert "Oversized model: 401 parameters" in tuner.oracle.get_trial("0001").message


def test_parameters_that_are_not_trained_count_for_the_size(project):
    def frozen(hp):
        model = build(hp)
        model.get_layer("out").trainable = False
        return model

    tuner = tuner_of(frozen, project, max_model_size=2, max_trials=1)
    tuner.search(X, Y, **FIT)
    assert statuses(tuner) == ["FAILED"]


def test_what_is_no_model_is_shown_in_the_message(project):
    tuner = tuner_of(lambda hp: hp.Int("units", 1, 3), project)
    with pytest.raises(FatalTypeError, match=r"Expected the model-building function.*of type"):
        tuner.search(X, Y, **FIT)


def test_overriding_the_optimizer_keeps_all_other_compile_options(project):
    models = []

    class Watched(kt.RandomSearch):
        def on_epoch_begin(self, trial, model, epoch, logs=None):
            models.append(model)

    def weighted(hp):
        inputs = keras.Input((2,))
        outputs = [keras.layers.Dense(1, name=name)(inputs) for name in ("a", "b")]
        model = keras.Model(inputs, outputs)
        model.compile(
            "sgd",
            loss=["mse", "mae"],
            loss_weights=[1.0, 0.0],
            steps_per_execution=2,
            jit_compile=False,
            run_eagerly=True,
        )
        hp.Boolean("any")
        return model

    optimizer = keras.optimizers.Adam(0.5)
    tuner = Watched(weighted, "loss", max_trials=2, seed=0, optimizer=optimizer, **project)
    tuner.search(X, [Y, Y], epochs=1, batch_size=4, verbose=0)
    assert len(models) == 2
    for model in models:
        assert type(model.optimizer) is keras.optimizers.Adam
        assert float(model.optimizer.learning_rate) == 0.5
        assert model.steps_per_execution == 2
        assert (model.run_eagerly, model.jit_compile) == (True, False)
        config = model.get_compile_config()
        assert (config["loss"], config["loss_weights"]) == (["mse", "mae"], [1.0, 0.0])
    assert len({id(model.optimizer) for model in models} | {id(optimizer)}) == 3


def test_overriding_loss_and_metrics_replaces_them(project):
    tuner = tuner_of(
        build, project, "val_mean_squared_error", loss="mae", metrics=["mean_squared_error"]
    )
    tuner.search(X, Y, **FIT)
    assert statuses(tuner) == ["COMPLETED"] * 2
    names = set(tuner.oracle.get_trial("0").metrics.metrics)
    assert {"val_mean_squared_error", "mean_squared_error"} <= names
    assert "val_mae" not in names


# The user's world


def test_the_users_global_state_outlives_constructor_and_search(project):
    @keras.saving.register_keras_serializable("tests")
    def doubled(x):
        return 2 * x

    def scoped(hp):
        assert keras.saving.get_registered_object("scoped_relu")
        assert keras.config.dtype_policy().name == "mixed_float16"
        return build(hp)

    policy = keras.config.dtype_policy()
    keras.utils.set_random_seed(11)
    try:
        with keras.saving.custom_object_scope({"scoped_relu": keras.activations.relu}):
            keras.config.set_dtype_policy("mixed_float16")
            before = (random.getstate(), np.random.get_state()[1].tolist())
            tuner = tuner_of(scoped, project)
            assert (random.getstate(), np.random.get_state()[1].tolist()) == before
            tuner.search(X, Y, **FIT)
            assert statuses(tuner) == ["COMPLETED"] * 2
            assert (random.getstate(), np.random.get_state()[1].tolist()) == before
            assert keras.config.dtype_policy().name == "mixed_float16"
            assert keras.saving.get_registered_object("scoped_relu") is keras.activations.relu
            assert tuner.get_best_models()[0].dtype_policy.name == "mixed_float16"
            assert keras.utils.get_registered_object("tests>doubled") is doubled
    finally:
        keras.config.set_dtype_policy(policy)


# Weights


def test_the_best_model_evaluates_to_the_score(project):
    tuner = tuner_of(build, project, max_trials=3, executions_per_trial=1)
    tuner.search(X, Y, **{**FIT, "epochs": 3})
    models = tuner.get_best_models(10)
    assert len(models) == 3
    best = [trial.score for trial in tuner.oracle.get_best_trials(10)]
    found = [model.evaluate(X, Y, verbose=0)[0] for model in models]
    assert found == pytest.approx(best, rel=1e-6)
    folder = tuner_path(tuner) / "trial_0"
    names = {file.name for file in folder.iterdir()}
    assert names == {"trial.json", "model.keras", "checkpoint.weights.h5", "build_config.json"}
    assert tuner._get_checkpoint_fname("0") == str(folder / "checkpoint.weights.h5")


def test_a_model_loads_although_its_builder_is_gone(project):
    tuner = tuner_of(build, project)
    tuner.search(X, Y, **FIT)
    score = tuner.oracle.get_best_trials()[0].score

    def gone(hp):
        raise AssertionError("the code has changed")

    tuner.hypermodel = get_hypermodel(gone)
    assert tuner.get_best_models()[0].evaluate(X, Y, verbose=0)[0] == score


def test_a_model_that_keras_cannot_load_is_rebuilt(project):
    class Halved(keras.layers.Layer):
        def __init__(self, by):
            super().__init__()
            self.by = by  # and no get_config()

        def call(self, x):
            return x / self.by

    def custom(hp):
        model = build(hp)
        model.add(Halved(hp.Choice("by", [2.0, 4.0])))
        model.compile("sgd", "mse", metrics=["mae"])
        return model

    tuner = tuner_of(custom, project)
    tuner.search(X, Y, **FIT)
    score = tuner.oracle.get_best_trials()[0].score
    assert tuner.get_best_models()[0].evaluate(X, Y, verbose=0)[0] == score


@pytest.mark.parametrize(("keep", "kept"), [(2, 2), (0, 0), (False, 0)])
def test_checkpoints_bound_what_is_on_disk(project, keep, kept):
    tuner = tuner_of(build, project, max_trials=5, checkpoints=keep)
    tuner.search(X, Y, **FIT)
    files = [file.name for file in tuner_path(tuner).glob("trial_*/*")]
    assert files.count("model.keras") == files.count("checkpoint.weights.h5") == kept
    assert not [name for name in files if name.endswith(".npz")]
    if kept:
        models, best = tuner.get_best_models(kept), tuner.oracle.get_best_trials(kept)
        values = [model.evaluate(X, Y, verbose=0)[0] for model in models]
        assert values == [trial.score for trial in best]
    with pytest.raises(FileNotFoundError, match="checkpoints"):
        tuner.get_best_models(5)


def test_a_first_epoch_of_nan_is_passed_over(project):
    class Spoilt(kt.HyperModel):
        def build(self, hp):
            return build(hp)

        def fit(self, hp, model, *args, **kwargs):
            def spoil(epoch, logs):
                if epoch == 0:
                    logs["val_loss"] = float("nan")

            first = keras.callbacks.LambdaCallback(on_epoch_end=spoil)
            kwargs["callbacks"] = [first, *kwargs["callbacks"]]
            return model.fit(*args, **kwargs)

    tuner = tuner_of(Spoilt(), project, max_trials=1)
    tuner.search(X, Y, **{**FIT, "epochs": 3})
    trial = tuner.oracle.get_best_trials()[0]
    assert trial.best_step == 2
    found = tuner.get_best_models()[0].evaluate(X, Y, verbose=0)[0]
    assert found == pytest.approx(trial.score, rel=1e-6)


# Failures


def test_nan_and_infinity_are_failures_and_never_best(project):
    inf = float("inf")
    values = Values({"val_loss": float("nan")}, {"val_loss": -inf}, {"val_loss": 2.0}, inf)
    tuner = tuner_of(values, project, max_trials=4)
    tuner.search(verbose=0)
    assert statuses(tuner) == ["FAILED", "FAILED", "COMPLETED", "FAILED"]
    assert [t.score for t in tuner.oracle.get_best_trials(4)] == [2.0]


def test_a_retry_after_nan_counts_with_what_it_came_to(project):
    values = Values({"val_loss": float("nan")}, ValueError("once"), {"val_loss": 0.5})
    tuner = tuner_of(values, project, max_trials=1, max_retries_per_trial=2)
    tuner.search(verbose=0)
    assert (scores(tuner), values.values) == ([0.5], [])


def test_a_failing_trial_is_shown_at_once_with_the_users_own_frame(project, capsys):
    def mistaken(hp):
        raise ValueError("units of the wrong kind")

    values = Values(1.0)
    values.fit = lambda hp, model, *args, **kwargs: mistaken(hp)
    tuner = tuner_of(values, project, max_trials=1)
    tuner.search(verbose=1)
    shown = capsys.readouterr().out
    assert "Trial 0 failed" in shown
    assert "in mistaken" in shown
    assert "test_tuner.py" in shown
    assert "ValueError: units of the wrong kind" in shown
    assert "worker.py" not in shown
    tuner.results_summary()
    summary = capsys.readouterr().out
    assert "Showing 10 best trials" in summary
    assert "Traceback (most recent call last)" in summary
    assert "units of the wrong kind" in summary


def test_the_limit_of_failures_ends_with_the_cause_and_the_tuner_stays_usable(project):
    values = Values(*[ValueError("broken script")] * 3, {"val_loss": 1.0})
    tuner = tuner_of(values, project, max_trials=4)
    with pytest.raises(RuntimeError, match=r"Number of consecutive failures[\s\S]*broken script"):
        tuner.search(verbose=0)
    assert statuses(tuner) == ["FAILED"] * 3
    tuner.search(verbose=0)
    assert statuses(tuner) == ["FAILED"] * 3 + ["COMPLETED"]


def test_a_trial_that_its_code_gives_up_is_not_tried_again(project):
    values = Values(FailedTrialError("too large"), {"val_loss": 1.0})
    tuner = tuner_of(values, project, max_retries_per_trial=3)
    tuner.search(verbose=0)
    assert statuses(tuner) == ["FAILED", "COMPLETED"]
    assert "too large" in tuner.oracle.get_trial("0").message


# What is printed


def test_quiet_searches_write_nothing(project, capfd):
    values = Values(ValueError("once"), {"val_loss": 1.0}, ValueError("twice"), ValueError("3"))
    tuner = tuner_of(values, project, max_trials=2, max_retries_per_trial=1)
    tuner.search(verbose=0)
    project["project_name"] = "other"
    tuner_of(build, project).search(X, Y, **FIT)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_keras_writes_its_own_lines_only_when_asked(project, capsys):
    def shown_by(verbose):
        project["project_name"] = f"verbose_{verbose}"
        tuner_of(build, project, max_trials=1).search(X, Y, **{**FIT, "verbose": verbose})
        return capsys.readouterr().out

    assert "Epoch 1/2" not in shown_by(1)
    assert "Epoch 1/2" in shown_by(2)


def test_summaries_have_kerastuners_format(project, capsys):
    import keras_tuner

    def text_of(library):
        def sample(hp):
            hp.Int("units", 1, 4)
            hp.Float("rate", 0.001, 0.1, sampling="log")
            hp.Choice("kind", ["a", "b"], default="b")
            hp.Boolean("flag")
            hp.Fixed("fixed", 3)
            return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])

        class Constant(library.HyperModel):
            def build(self, hp):
                return sample(hp)

            def fit(self, hp, model, *args, **kwargs):
                return {"val_loss": 0.25}

        project["project_name"] = "same"
        tuner = library.RandomSearch(
            Constant(), "val_loss", max_trials=1, overwrite=True, **project
        )
        tuner.search(verbose=0)
        capsys.readouterr()
        tuner.search_space_summary()
        tuner.results_summary()
        return capsys.readouterr().out

    def without_values(text):
        return re.sub(r"^(units|rate|kind|flag): .*$", r"\1: ...", text, flags=re.M)

    assert without_values(text_of(kt)) == without_values(text_of(keras_tuner))


# Going on


def calls_of(project, **arguments):
    seen = []

    def of(hp):
        seen.append(hp.Float("x", 0.0, 1.0))
        return seen[-1]

    return ByHand(of, **project, **arguments), seen


def test_searching_again_goes_on_where_max_trials_allows(project):
    tuner, seen = calls_of(project, max_trials=2)
    assert tuner.search(verbose=0) is None
    tuner.search(verbose=0)
    assert len(seen) == 2
    tuner.oracle.max_trials = 4
    tuner.search(verbose=0)
    again, more = calls_of(project, max_trials=6)
    again.search(verbose=0)
    assert (len(seen), len(more)) == (4, 2)
    straight, all_at_once = calls_of({**project, "project_name": "straight"}, max_trials=6)
    straight.search(verbose=0)
    assert seen + more == all_at_once


def test_resuming_names_every_argument_that_differs(project, capsys):
    tuner_of(build, project).oracle.save()
    capsys.readouterr()
    tuner = tuner_of(
        build, project, max_trials=7, seed=5, max_retries_per_trial=1, tune_new_entries=True
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Reloading Tuner from")
    assert "`max_trials` was 2 and is 7 from now on." in lines
    assert "`max_retries_per_trial` was 0 and is 1 from now on." in lines
    assert "`seed` stays 0, from which the study was begun; 5 is not used." in lines
    assert len(lines) == 4
    assert tuner.oracle.seed == 0
    tuner_of(build, project, max_trials=7, max_retries_per_trial=1)
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_another_search_algorithm_is_refused(project):
    tuner_of(build, project).oracle.save()
    with pytest.raises(RuntimeError, match="pass `overwrite=True`"):
        kt.GridSearch(build, "val_loss", **project)


def test_overwriting_starts_anew(project):
    calls_of(project)[0].search(verbose=0)
    tuner, seen = calls_of(project, overwrite=True)
    assert tuner.oracle.trials == {}
    tuner.search(verbose=0)
    assert len(seen) == 3


def test_a_tuner_with_a_name_of_its_own_resumes_with_its_state(project):
    class Stateful(ByHand):
        runs = 0

        def run_trial(self, trial, *args, **kwargs):
            self.runs += 1
            return super().run_trial(trial, *args, **kwargs)

        def get_state(self):
            return {"runs": self.runs, "worst": float("inf")}

        def set_state(self, state):
            self.runs = state["runs"]
            assert state["worst"] == float("inf")

    def of(hp):
        return hp.Float("x", 0.0, 1.0)

    Stateful(of, tuner_id="mine", **project).search(verbose=0)
    again = Stateful(of, tuner_id="mine", max_trials=4, **project)
    assert (again.runs, len(again.oracle.trials)) == (3, 3)
    again.search(verbose=0)
    assert again.runs == 4
    assert (tuner_path(again) / "mine.json").exists()


KILLED = """
import os, sys
import keratune as kt

class Dying(kt.Tuner):
    def run_trial(self, trial, **kwargs):
        x = trial.hyperparameters.Float("x", 0.0, 1.0)
        print(trial.trial_id, x, flush=True)
        os._exit(1)

Dying(
    kt.oracles.RandomSearchOracle(max_trials=3, seed=0), directory=sys.argv[1], project_name="p"
).search(verbose=0)
"""


def test_a_search_killed_in_its_first_trial_takes_that_trial_up_again(tmp_path):
    folder = tmp_path / "run[1]*?"  # characters that a glob reads as a pattern
    folder.mkdir()
    script = tmp_path / "killed.py"
    script.write_text(textwrap.dedent(KILLED))
    killed = subprocess.run(
        [sys.executable, script, folder], capture_output=True, text=True, timeout=120
    )
    name, x = killed.stdout.split()
    tuner, seen = calls_of({"directory": folder, "project_name": "p"})
    tuner.search(verbose=0)
    assert list(tuner.oracle.trials) == [name, "1", "2"]
    assert seen[0] == float(x)
    assert statuses(tuner) == ["COMPLETED"] * 3


def test_an_interrupted_search_goes_on_in_the_same_process(project):
    interruptions = [KeyboardInterrupt()]

    def of(hp):
        x = hp.Float("x", 0.0, 1.0)
        if len(tuner.oracle.trials) == 2 and interruptions:
            raise interruptions.pop()
        return x

    tuner = ByHand(of, **project)
    with pytest.raises(KeyboardInterrupt):
        tuner.search(verbose=0)
    begun = dict(tuner.oracle.get_trial("1").hyperparameters.values)
    tuner.search()
    assert statuses(tuner) == ["COMPLETED"] * 3
    assert dict(tuner.oracle.get_trial("1").hyperparameters.values) == begun


def test_a_run_that_reported_and_died_before_its_end_counts_with_its_second_run(project):
    class Dying(ByHand):
        dies = True

        def on_trial_end(self, trial):
            if self.dies:
                raise KeyboardInterrupt
            super().on_trial_end(trial)

    first = Dying(lambda hp: 1.0, max_trials=1, **project)
    with pytest.raises(KeyboardInterrupt):
        first.search(verbose=0)
    second = Dying(lambda hp: 99.0, max_trials=1, **project)
    second.dies = False
    second.search(verbose=0)
    assert scores(second) in ([1.0], [99.0])
    assert second.oracle.get_trial("0").metrics.get_history("default_objective")[0].value == [
        scores(second)[0]
    ]


def test_a_weird_model_goes_through(project):
    class Weird(keras.Model):
        optimizer_called = True

        def fit(self, *args, **kwargs):
            return {"val_loss": 0.5}

        def save_weights(self, fname, **kwargs):
            raise OSError("cannot be saved")

        def get_build_config(self):
            return None

    tuner = tuner_of(lambda hp: Weird() if hp.Int("any", 1, 3) else None, project)
    tuner.search(X, Y, **FIT)
    assert scores(tuner) == [0.5, 0.5]


def test_an_error_of_on_trial_end_reaches_the_user(project):
    class Broken(ByHand):
        def on_trial_end(self, trial):
            super().on_trial_end(trial)
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full") as caught:
        Broken(lambda hp: 1.0, **project).search(verbose=0)
    assert "on_trial_end" in "".join(traceback.format_tb(caught.value.__traceback__))


def test_weights_without_the_build_that_they_are_of_say_what_is_missing(tmp_path):
    def built():
        return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])

    variables = {f"v{k}": np.zeros(1) for k in range(2)}
    checkpoints.write_arrays(tmp_path / checkpoints.BEST_FILE, variables, {})
    unbuilt = keras.Sequential([keras.layers.Dense(1)])
    with pytest.raises(FileNotFoundError, match=r"build_config\.json is missing, which says how"):
        keras_training.load(tmp_path, lambda: unbuilt)
    (tmp_path / checkpoints.BEST_FILE).unlink()
    trained = built()
    trained.save_weights(tmp_path / checkpoints.WEIGHTS_FILE)
    loaded = keras_training.load(tmp_path, built)
    assert np.array_equal(loaded.get_weights()[0], trained.get_weights()[0])
