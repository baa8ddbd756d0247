"""A trial that runs out of memory is trained again in smaller parts, to the same weights."""

import keras
import numpy as np
import pytest

import keratune as kt

X = np.random.default_rng(0).normal(size=(64, 3)).astype("float32")
Y = X.sum(axis=1, keepdims=True)


class Small(keras.callbacks.Callback):
    """A device that holds so many rows."""

    def __init__(self, rows):
        super().__init__()
        self.rows = rows

    def on_train_batch_begin(self, batch, logs=None):
        if len(X) / self.params["steps"] > self.rows:
            raise MemoryError("RESOURCE_EXHAUSTED: out of memory")


def build(hp):
    hp.Float("x", 0.0, 1.0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.01), "mse")
    return model


def search(folder, rows, *fit_args, **kwargs):
    tuner = kt.RandomSearch(
        build, "loss", max_trials=1, seed=0, directory=folder, project_name="p", **kwargs
    )
    tuner.search(X, Y, *fit_args, epochs=3, shuffle=False, verbose=0, callbacks=[Small(rows)])
    return tuner


@pytest.mark.parametrize("batch", [(), (32,)], ids=["default", "given"])
def test_it_ends_with_the_weights_of_whole_batches(tmp_path, batch):
    whole = search(tmp_path / "whole", 64, *batch, micro_batches=True)
    parts = search(tmp_path / "parts", 8, *batch, micro_batches=True)
    record = parts.history[0]
    assert (record.status, record.splits, record.attempt) == ("COMPLETED", 2, 0)
    assert whole.history[0].splits == 0
    for one, other in zip(
        whole.get_best_models()[0].get_weights(),
        parts.get_best_models()[0].get_weights(),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_a_model_that_not_even_one_row_fits_has_failed(tmp_path):
    record = search(tmp_path, 0, micro_batches=True).history[0]
    assert (record.status, record.kind, record.splits) == ("FAILED", "out_of_memory", 5)


def test_nothing_is_split_unless_allowed(tmp_path):
    record = search(tmp_path, 8).history[0]
    assert (record.status, record.kind, record.splits) == ("FAILED", "out_of_memory", 0)
