"""Keras models trained in worker processes are those that one process trains."""

import keras
import numpy as np
import pytest

import keratune as kt

X = np.random.default_rng(0).normal(size=(96, 4)).astype("float32")
Y = X.sum(axis=1)


def build_model(hp):
    model = keras.Sequential(
        [
            keras.layers.Input((4,)),
            keras.layers.Dense(hp.Int("units", 2, 8), activation="relu"),
            keras.layers.Dropout(0.1),
            keras.layers.Dense(1),
        ]
    )
    model.compile(keras.optimizers.Adam(hp.Float("rate", 1e-3, 1e-1, sampling="log")), "mse")
    return model


def found(tuner):
    return [(dict(record.values), record.score) for record in tuner.history.trials]


@pytest.mark.slow
@pytest.mark.skipif(keras.config.backend() == "tensorflow", reason="its shuffling has no seed")
def test_a_seeded_search_in_two_processes_equals_the_one_in_this_process(tmp_path):
    tuners = {}
    for executor in (1, 2):
        tuners[executor] = tuner = kt.RandomSearch(
            build_model,
            "val_loss",
            max_trials=4,
            seed=5,
            executor=executor,
            directory=tmp_path,
            project_name=f"executor{executor}",
        )
        stop = keras.callbacks.EarlyStopping("val_loss", patience=1)
        tuner.search(X, Y, epochs=3, validation_split=0.25, callbacks=[stop], verbose=0)
    assert len(found(tuners[2])) == 4
    if keras.config.backend() == "jax":
        assert found(tuners[2]) == found(tuners[1])
    else:
        for (values, score), (other_values, other) in zip(
            found(tuners[2]), found(tuners[1]), strict=True
        ):
            assert values == other_values and score == pytest.approx(other, rel=1e-4)
    predictions = [t.get_best_models(1)[0].predict(X, verbose=0) for t in tuners.values()]
    np.testing.assert_allclose(*predictions, rtol=1e-4, atol=1e-6)
