"""A small training that can be cut after any epoch and continued from the state kept there."""

import json

import keras
import numpy as np
import pytest

from keratune.training.keras_callback_state import (
    callback_state,
    pack,
    set_callback_state,
    unpack,
)
from keratune.training.keras_state import fresh_names, seeded
from keratune.training.keras_variables import capture, restore

on_jax = pytest.mark.skipif(keras.backend.backend() != "jax", reason="measured on JAX")
not_on_tensorflow = pytest.mark.skipif(
    keras.backend.backend() == "tensorflow", reason="no seed reaches its shuffling within `fit`"
)

X = np.random.default_rng(0).normal(size=(40, 4)).astype("float32")
Y = (X.sum(axis=1) > 0).astype("float32")


def build(seed=0, learning_rate=None):
    seeded(seed)
    fresh_names()
    rate = learning_rate or keras.optimizers.schedules.ExponentialDecay(0.02, 5, 0.9)
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((4,)),
            layers.Dense(6, activation="relu"),
            layers.Dropout(0.3),
            layers.BatchNormalization(),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(keras.optimizers.Adam(rate), "binary_crossentropy", metrics=["accuracy"])
    return model


class Seeds(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        seeded(1000 + epoch)


class Interruptible(keras.callbacks.Callback):
    """Keeps the state after each epoch; starts from one where it is given one."""

    def __init__(self, callbacks, start=None):
        super().__init__()
        self.callbacks, self.start, self.kept = callbacks, start, {}

    def on_train_begin(self, logs=None):
        if self.start:
            restore(self.model, self.start["variables"])
            for callback, state in zip(self.callbacks, self.start["callbacks"], strict=True):
                set_callback_state(callback, state)

    def on_epoch_end(self, epoch, logs=None):
        states = [callback_state(callback) for callback in self.callbacks]
        self.kept[epoch] = {
            "variables": capture(self.model),
            "callbacks": through_json(states),
            "stopped": self.model.stop_training,
        }


def through_json(value):
    packed, arrays = pack(value)
    return unpack(json.loads(json.dumps(packed, allow_nan=False)), arrays)


def fit(model, epochs, callbacks=(), first=0, start=None):
    keeper = Interruptible(list(callbacks), start)
    history = model.fit(
        X,
        Y,
        batch_size=8,
        epochs=epochs,
        initial_epoch=first,
        validation_split=0.2,
        verbose=0,
        callbacks=[Seeds(), *callbacks, keeper],
    )
    return history.history, keeper.kept


def same(first, second):
    return first.keys() == second.keys() and all(np.array_equal(first[k], second[k]) for k in first)
