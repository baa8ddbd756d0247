"""Searches whose trials are trained together: the same trials, scores and endings as one by one."""

import logging
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

import keratune as kt
from keratune.training.jax_cache import compilation_cache

pytest.importorskip("greenlet")
pytestmark = pytest.mark.skipif(keras.backend.backend() != "jax", reason="only JAX can do it")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(48, 6)).astype("float32")
Y = (X[:, 0] + X[:, 1] ** 2 > 0.5).astype("float32")
DATA = {"x": X, "y": Y, "validation_split": 0.25, "batch_size": 12, "verbose": 0}
EPOCHS = 4


@pytest.fixture(scope="module", autouse=True)
def compiled_once(tmp_path_factory):
    with compilation_cache(tmp_path_factory.mktemp("compiled")):
        yield


def build_model(hp):
    model = keras.Sequential(
        [
            keras.layers.Input((6,)),
            keras.layers.Dense(hp.Choice("units", [4, 8]), activation="relu"),
            keras.layers.Dropout(hp.Float("dropout", 0.1, 0.4)),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    rate = hp.Float("learning_rate", 1e-3, 1e-1, sampling="log")
    model.compile(keras.optimizers.Adam(rate), "binary_crossentropy", metrics=["accuracy"])
    return model


def searched(folder, vectorize, hypermodel=build_model, trials=6, kind=kt.RandomSearch, **kwargs):
    """Search, and return the tuner; what `fit` takes goes to `search`."""
    names = ("epochs", "callbacks", "cv")
    fit = {"epochs": EPOCHS, **{name: kwargs.pop(name) for name in names if name in kwargs}}
    data = {**DATA, **fit}
    if "cv" in fit:
        del data["validation_split"]
    if kind is not kt.Hyperband:
        kwargs["max_trials"] = trials
    queue = kwargs.pop("queue", [])
    tuner = kind(
        hypermodel,
        objective="val_loss",
        seed=3,
        directory=folder,
        project_name=str(vectorize),
        vectorize=vectorize,
        **kwargs,
    )
    tuner.enqueue(*queue)
    tuner.search(**data)
    return tuner


def assert_same_training(record, other):
    """Compare what two trials have measured, as far as both were trained."""
    assert record.values == other.values
    for execution, curve in record.curves.items():
        for step in curve.keys() & other.curves[execution].keys():
            for name, value in curve[step].items():
                expected = other.curves[execution][step][name]
                assert value == pytest.approx(expected, rel=1e-4, abs=1e-6), (record.number, name)


def assert_same_search(tuner, other):
    assert len(tuner.history) == len(other.history)
    for record, expected in zip(tuner.history.trials, other.history.trials, strict=True):
        assert_same_training(record, expected)
        assert record.status == expected.status
        assert record.score == pytest.approx(expected.score, rel=1e-4)


@pytest.fixture(scope="module")
def one_by_one(tmp_path_factory):
    return searched(tmp_path_factory.mktemp("alone"), False)


# What is found


@pytest.mark.parametrize("vectorize", [4, "auto", True, 1])
def test_trials_and_scores_are_those_of_ordinary_training(one_by_one, vectorize, tmp_path):
    assert_same_search(searched(tmp_path, vectorize), one_by_one)


def test_the_best_model_has_the_weights_of_its_best_epoch(one_by_one, tmp_path):
    models = [t.get_best_models(1)[0] for t in (searched(tmp_path, 4), one_by_one)]
    predictions = [model.predict(X, verbose=0) for model in models]
    np.testing.assert_allclose(*predictions, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("vectorize", [3, "auto"])
@pytest.mark.parametrize(
    "kwargs",
    [{"kind": kt.BayesianOptimization}, {"scheduler": kt.schedulers.ASHA(min_epochs=1)}],
    ids=["bayesian", "asha"],
)
def test_every_trial_is_trained_as_one_of_its_values_is(kwargs, vectorize, tmp_path):
    history = searched(tmp_path, vectorize, **kwargs).history
    queue = [dict(record.values) for record in history.trials]
    alone = searched(tmp_path, False, trials=len(queue), queue=queue).history
    assert len(alone) == len(history) >= 6
    for record, expected in zip(history.trials, alone.trials, strict=True):
        assert_same_training(record, expected)
    assert all(record.status in ("COMPLETED", "PAUSED") for record in history.trials)


@pytest.mark.parametrize("vectorize", [4, "auto"])
def test_trials_that_hyperband_promotes_go_on_where_they_were(vectorize, tmp_path):
    tuner = searched(
        tmp_path, vectorize, kind=kt.Hyperband, max_epochs=4, factor=2, hyperband_iterations=1
    )
    history = tuner.history
    assert len(history) == tuner.oracle.scheduler.total()[0]
    promoted = [r for r in history.trials if "tuner/trial_id" in r.values]
    assert promoted
    for record in history.trials:
        assert record.status == "COMPLETED"
        begin, end = record.values["tuner/initial_epoch"], record.values["tuner/epochs"]
        assert sorted(record.curves[0]) == list(range(begin + 1, end + 1))
    if vectorize == "auto":
        alone = searched(
            tmp_path, False, kind=kt.Hyperband, max_epochs=4, factor=2, hyperband_iterations=1
        )
        assert_same_search(tuner, alone)


@pytest.mark.parametrize(
    "kwargs",
    [
        {"executions_per_trial": 2},
        {"cv": 2, "epochs": 2},
        {"callbacks": [keras.callbacks.EarlyStopping("val_loss", patience=1, min_delta=0.02)]},
    ],
    ids=["executions", "cv", "early stopping"],
)
def test_what_a_trial_consists_of_is_trained_as_ever(kwargs, tmp_path):
    together, alone = (searched(tmp_path, v, trials=4, **kwargs) for v in (4, False))
    assert_same_search(together, alone)
    lengths = [
        [{e: len(c) for e, c in record.curves.items()} for record in tuner.history.trials]
        for tuner in (together, alone)
    ]
    assert lengths[0] == lengths[1]


class FitsTwice(kt.HyperModel):
    """Trains in two stages, the second with a tenth of the learning rate."""

    def build(self, hp):
        return build_model(hp)

    def fit(self, hp, model, *args, epochs, **kwargs):
        model.fit(*args, epochs=epochs, **kwargs)
        model.optimizer.learning_rate = model.optimizer.learning_rate * 0.1
        return model.fit(*args, epochs=2, **kwargs)


def test_a_hypermodel_may_fit_in_its_own_way(tmp_path):
    together, alone = (searched(tmp_path, v, FitsTwice(), trials=4) for v in (4, False))
    assert_same_search(together, alone)
    assert {len(r.curves[0]) for r in together.history.trials} == {EPOCHS + 2}


# Models that cannot be trained together, and trials that go wrong


def build_uncompiled(hp):
    model = build_model(hp)
    model.compile("sgd", "binary_crossentropy", jit_compile=hp.Boolean("compiled"))
    return model


def test_a_model_that_must_be_trained_alone_is_and_one_line_says_why(tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="keratune"):
        together = searched(tmp_path, 4, build_uncompiled, trials=8)
    assert_same_search(together, searched(tmp_path, False, build_uncompiled, trials=8))
    lines = [r.getMessage() for r in caplog.records if "by themselves" in r.getMessage()]
    assert len(lines) == 1 and "not to be compiled by XLA" in lines[0]


def test_a_build_that_fails_ends_its_trial_alone(tmp_path):
    def build(hp):
        if hp.Float("dropout", 0.1, 0.4) > 0.3:
            raise ValueError("too much is left out")
        return build_model(hp)

    history = searched(tmp_path, 4, build).history
    for record in history.trials:
        failed = record.values["dropout"] > 0.3
        assert record.status == ("FAILED" if failed else "COMPLETED")
        assert not failed or "too much is left out" in record.message
    assert {record.status for record in history.trials} == {"FAILED", "COMPLETED"}


def test_a_trial_that_is_nan_leaves_the_others_alone(one_by_one, tmp_path):
    def build(hp):
        model = build_model(hp)
        if hp.Float("learning_rate", 1e-3, 1e-1, sampling="log") < 5e-3:
            model.set_weights([np.nan * w for w in model.get_weights()])
        return model

    history = searched(tmp_path, 4, build).history
    diverged = [r for r in history.trials if r.values["learning_rate"] < 5e-3]
    assert 0 < len(diverged) < len(history)
    for record, expected in zip(history.trials, one_by_one.history.trials, strict=True):
        if record in diverged:
            assert record.score is None or np.isnan(record.score)
        else:
            assert_same_training(record, expected)


class Raises(keras.callbacks.Callback):
    """Fails, or halts, in the second epoch of one trial."""

    def __init__(self, error, dropout):
        super().__init__()
        self.error, self.dropout = error, dropout

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1 and self.model.layers[1].rate == self.dropout:
            raise self.error


def test_a_callback_that_raises_ends_its_trial_alone(one_by_one, tmp_path):
    dropout = one_by_one.history[2].values["dropout"]
    history = searched(tmp_path, 4, callbacks=[Raises(ValueError("no"), dropout)]).history
    assert [r.status for r in history.trials].count("COMPLETED") == 5
    assert history[2].status == "FAILED"


def test_limits_are_kept(tmp_path):
    history = searched(tmp_path, 4, limits={"params": 40}).history  # 33 with 4 units, 65 with 8
    assert {record.values["units"] for record in history.trials} == {4}
    assert len(history.ended) == 6


# The end of a search


class Slow(keras.callbacks.Callback):
    """Takes time in every epoch of the trials with 8 units."""

    def on_epoch_end(self, epoch, logs=None):
        if self.model.layers[0].units == 8:
            time.sleep(0.5)


@pytest.mark.slow
def test_a_trial_that_takes_too_long_is_ended_alone(tmp_path):
    queue = [{"units": units} for units in (8, 4, 8, 4)]
    project = {"trials": 4, "queue": queue, "epochs": 20, "callbacks": [Slow()]}
    history = searched(tmp_path, 4, trial_timeout=8, **project).history
    for record in history.trials:
        late = record.values["units"] == 8
        assert len(record.curves[0]) < 20 if late else len(record.curves[0]) == 20
        assert ("trial_timeout" in (record.message or "")) == late


def test_a_budget_of_time_pauses_what_is_trained(tmp_path):
    tuner = searched(
        tmp_path, 3, callbacks=[Slow()], epochs=10**4, stop=[kt.stop.TimeBudget(6)], trials=3
    )
    records = tuner.history.trials
    assert {record.status for record in records} == {"PAUSED"}
    assert len(records) == 3 and all(record.curves[0] for record in records)
    assert all(record.score is not None for record in records)


def test_ctrl_c_lets_the_epoch_end_and_the_next_search_goes_on(one_by_one, tmp_path):
    class CtrlC(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                signal.raise_signal(signal.SIGINT)
                signal.signal(signal.SIGINT, signal.SIG_IGN)  # once

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            searched(tmp_path, 4, callbacks=[CtrlC()])
    finally:
        signal.signal(signal.SIGINT, before)
    tuner = searched(tmp_path, 4)
    assert_same_search(tuner, one_by_one)


# Other processes

SCRIPT = """
import os, sys
sys.path.insert(0, {tests!r})
import keras
import test_vectorize as here

class Log(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        rate = float(self.model.layers[1].rate)
        os.write(log, f"{{rate:.6f}} {{epoch}}\\n".encode())

    def on_epoch_begin(self, epoch, logs=None):
        if kill and epoch == 2:
            os.kill(os.getpid(), 9)

folder, kill = sys.argv[1], sys.argv[2] == "kill"
log = os.open(folder + "/epochs.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
here.searched(folder, 4, trials=4, callbacks=lambda hp: [Log()])
"""


def test_a_group_that_is_killed_goes_on_behind_its_last_epoch(one_by_one, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parent)))
    for how, code in (("kill", -signal.SIGKILL), ("end", 0)):
        done = subprocess.run([sys.executable, script, tmp_path, how], capture_output=True)
        assert done.returncode == code, done.stderr.decode()[-2000:]
    lines = (tmp_path / "epochs.log").read_text().splitlines()
    assert len(lines) == len(set(lines)) == 4 * EPOCHS  # none was trained twice
    history = searched(tmp_path, 4, trials=4).history
    for record, expected in zip(history.trials, one_by_one.history.trials, strict=False):
        assert_same_training(record, expected)
        assert record.status == "COMPLETED" and len(record.curves[0]) == EPOCHS


@pytest.mark.slow
def test_each_worker_process_trains_trials_together(one_by_one, tmp_path):
    assert_same_search(searched(tmp_path, 2, executor=2), one_by_one)


# Programs


def build_of_four(hp):
    """Two hyperparameters of four shapes, and two that are numbers."""
    model = keras.Sequential([keras.layers.Input((6,))])
    for _ in range(hp.Int("layers", 1, 2)):
        model.add(keras.layers.Dense(hp.Choice("units", [4, 8])))
        model.add(keras.layers.Dropout(hp.Float("dropout", 0.1, 0.4)))
    model.add(keras.layers.Dense(1, activation="sigmoid"))
    rate = hp.Float("learning_rate", 1e-3, 1e-1, sampling="log")
    model.compile(keras.optimizers.SGD(rate), "binary_crossentropy")
    return model


@pytest.mark.parametrize(
    "kwargs",
    [{}, {"kind": kt.BayesianOptimization}, {"scheduler": kt.schedulers.ASHA(min_epochs=1)}],
    ids=["random", "bayesian", "asha"],
)
def test_each_structure_is_compiled_once(kwargs, tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="keratune"):
        history = searched(tmp_path, 8, build_of_four, trials=32, **kwargs).history
    structures = {(r.values["layers"], r.values["units"]) for r in history.trials}
    (line,) = [r.getMessage() for r in caplog.records if "compiled" in r.getMessage()]
    assert len(structures) == 4 and line == "Programs were compiled 4 times."


def build_of_many(hp):
    """Hundreds of shapes, and two that are numbers."""
    model = keras.Sequential([keras.layers.Input((6,)), keras.layers.Dense(hp.Int("units", 2, 99))])
    if hp.Boolean("norm"):
        model.add(keras.layers.BatchNormalization())
    model.add(keras.layers.Dropout(hp.Float("dropout", 0.1, 0.4)))
    model.add(keras.layers.Dense(1, activation="sigmoid"))
    rate = hp.Choice("learning_rate", [1e-1, 1e-2, 1e-3])
    model.compile(keras.optimizers.SGD(rate), "binary_crossentropy")
    return model


@pytest.mark.parametrize(("kind", "batch"), [(kt.RandomSearch, 4), (kt.BayesianOptimization, 3)])
def test_where_there_are_many_structures_trials_share_them_in_batches(
    kind, batch, tmp_path, caplog
):
    with caplog.at_level(logging.INFO, logger="keratune"):
        history = searched(tmp_path, 4, build_of_many, trials=16, kind=kind).history
    shapes = [(r.values["units"], r.values["norm"]) for r in history.trials]
    assert all(shapes[number] == shapes[number - number % batch] for number in range(batch, 16))
    (line,) = [r.getMessage() for r in caplog.records if "compiled" in r.getMessage()]
    assert line == f"Programs were compiled {len(set(shapes))} times."
    assert len({tuple(r.values.values()) for r in history.trials}) == 16
    assert history.structure.lifted == {"dropout", "learning_rate"}
    assert not history.structure.structural


def test_what_the_space_has_lost_since_is_not_shared(tmp_path):
    def build(hp, low, high):
        model = keras.Sequential([keras.layers.Input((6,))])
        model.add(keras.layers.Dense(hp.Int("units", low, high)))
        model.add(keras.layers.Dropout(hp.Float("dropout", 0.1, 0.4)))
        model.add(keras.layers.Dense(1, activation="sigmoid"))
        model.compile("sgd", "binary_crossentropy")
        return model

    searched(tmp_path, 4, lambda hp: build(hp, 50, 99), trials=17, epochs=1)
    narrower = kt.HyperParameters()
    narrower.Int("units", 2, 20)
    history = searched(
        tmp_path,
        4,
        lambda hp: build(hp, 2, 20),
        trials=24,
        epochs=1,
        hyperparameters=narrower,
    ).history
    assert all(record.values["units"] <= 20 for record in history.trials[17:])


def test_context_variables_of_the_users_are_there_in_builds(tmp_path):
    seen = []

    def build(hp):
        seen.append(np.geterr()["divide"])
        return build_model(hp)

    with np.errstate(divide="raise"):
        searched(tmp_path, "auto", build, trials=2, epochs=1)
    assert set(seen) == {"raise"}


def test_lines_of_keras_are_printed_where_they_are_asked_for(tmp_path, caplog, capsys, monkeypatch):
    monkeypatch.setitem(DATA, "verbose", 2)
    with caplog.at_level(logging.INFO, logger="keratune"):
        searched(tmp_path, 2, trials=2)
    assert "Epoch 1/4" in capsys.readouterr().out
    assert any("`verbose=2` asks for Keras's own lines" in r.getMessage() for r in caplog.records)
