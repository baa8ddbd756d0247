"""The smoke suite: the same search, the same behaviour on JAX, TensorFlow and PyTorch."""

import math

import keras
import numpy as np
import pytest

import keratune as kt

pytestmark = pytest.mark.backends

X = np.random.default_rng(0).normal(size=(48, 4)).astype("float32")
Y = (X.sum(axis=1) > 0).astype("float32")
DATA = {"validation_split": 0.25, "batch_size": 12, "verbose": 0}


def build_model(hp):
    model = keras.Sequential(
        [
            keras.layers.Input((4,)),
            keras.layers.Dense(hp.Int("units", 4, 8, step=4), activation="relu"),
            keras.layers.Dropout(hp.Float("dropout", 0.0, 0.4, step=0.2)),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    learning_rate = hp.Float("learning_rate", 1e-3, 1e-1, sampling="log")
    model.compile(keras.optimizers.Adam(learning_rate), "binary_crossentropy", metrics=["accuracy"])
    return model


def search(tmp_path, name="project", epochs=2, max_trials=3, **kwargs):
    tuner = kt.RandomSearch(
        build_model, "val_loss", max_trials, seed=0, directory=tmp_path, project_name=name
    )
    tuner.search(X, Y, epochs=epochs, **DATA, **kwargs)
    return tuner


def test_a_search_finds_trains_scores_and_keeps_the_best_model(tmp_path):
    tuner = search(tmp_path)
    best = tuner.oracle.get_best_trials(3)
    assert [trial.score for trial in best] == sorted(trial.score for trial in best)
    model = tuner.get_best_models()[0]
    loss, _ = model.evaluate(X[36:], Y[36:], batch_size=12, verbose=0)
    assert math.isclose(loss, best[0].score, rel_tol=1e-5)


def test_the_same_seed_gives_the_same_trials_and_scores(tmp_path):
    first, second = search(tmp_path, "first"), search(tmp_path, "second")
    for one, other in zip(first.history.trials, second.history.trials, strict=True):
        assert one.values == other.values
        assert math.isclose(one.score, other.score, rel_tol=1e-5)


class Interrupting(keras.callbacks.Callback):
    """Presses Ctrl-C at the end of an epoch, once."""

    pressed = 0

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1 and not Interrupting.pressed:
            Interrupting.pressed = 1
            raise KeyboardInterrupt


def test_an_interrupted_trial_goes_on_where_it_stopped(tmp_path):
    Interrupting.pressed = 0
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path, epochs=4, callbacks=[Interrupting()])
    tuner = search(tmp_path, epochs=4, callbacks=[Interrupting()])
    assert [record.status for record in tuner.history.trials] == ["COMPLETED"] * 3
    assert sorted(tuner.history.trials[0].curves[0]) == [1, 2, 3, 4]
    assert len({record.number for record in tuner.history.trials}) == 3


def test_batch_size_epochs_and_callbacks_may_depend_on_the_hyperparameters(tmp_path):
    tuner = kt.GridSearch(build_model, "val_accuracy", 2, seed=0, directory=tmp_path)
    tuner.search(
        X,
        Y,
        validation_split=0.25,
        verbose=0,
        batch_size=lambda hp: hp.Choice("batch_size", [12, 18]),
        epochs=lambda hp: hp.Int("epochs", 1, 2),
        callbacks=lambda hp: [keras.callbacks.EarlyStopping(patience=hp.Int("patience", 1, 3))],
    )
    for record in tuner.history.trials:
        assert {"batch_size", "epochs", "patience"} <= set(record.values)
        assert len(record.curves[0]) <= record.values["epochs"]


def test_a_failing_trial_is_recorded_and_the_search_goes_on(tmp_path):
    def sometimes(hp):
        if hp.Choice("kind", ["good", "bad"]) == "bad":
            raise RuntimeError("a hard corner")
        return build_model(hp)

    tuner = kt.RandomSearch(sometimes, "val_loss", 6, seed=1, directory=tmp_path)
    tuner.search(X, Y, epochs=1, **DATA)
    for record in tuner.history.trials:
        assert record.status == ("FAILED" if record.values["kind"] == "bad" else "COMPLETED")
    failed = [record for record in tuner.history.trials if record.status == "FAILED"]
    assert failed and all("a hard corner" in record.message for record in failed)


def test_tensorboard_gets_every_trials_curves_and_hyperparameters(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logs = tmp_path / "logs"
    search(tmp_path, max_trials=2, callbacks=[keras.callbacks.TensorBoard(str(logs))])
    for trial in ("0", "1"):
        folder = logs / trial / "execution0"
        curves = EventAccumulator(str(folder / "train")).Reload()
        assert "epoch_loss" in curves.Tags()["scalars"] or curves.Tags()["tensors"]
        session = EventAccumulator(str(folder)).Reload()
        assert (
            "hparams"
            in session.summary_metadata["_hparams_/session_start_info"].plugin_data.plugin_name
        )
