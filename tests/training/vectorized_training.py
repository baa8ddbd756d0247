"""Trainings to run together and one by one: small models of many kinds, and what compares them."""

import keras
import numpy as np
import pytest

from keratune.training.keras_callbacks import EpochSeeds
from keratune.training.keras_state import fresh_names, seeded

on_jax = pytest.mark.skipif(keras.backend.backend() != "jax", reason="only JAX can do it")

layers = keras.layers
rng = np.random.default_rng(0)
X = rng.normal(size=(70, 6)).astype("float32")
Y = (X.sum(axis=1) > 0).astype("float32")
IMAGES = rng.normal(size=(40, 6, 6, 1)).astype("float32")
DIGITS = rng.integers(0, 3, 40)
SERIES = rng.normal(size=(40, 5, 3)).astype("float32")
ROWS = {"epochs": 10, "batch_size": 16, "verbose": 0}


def numbers(seed):
    """The hyperparameters of a member, as a search would draw them."""
    drawn = np.random.default_rng(seed)
    return {
        "learning_rate": float(10 ** drawn.uniform(-3, -1.5)),
        "rate": float(drawn.uniform(0.1, 0.5)),
        "l2": float(10 ** drawn.uniform(-4, -2)),
        "other": float(drawn.uniform(0.05, 0.2)),
    }


def compiled(model, optimizer, loss="binary_crossentropy", **kwargs):
    model.compile(optimizer, loss, **{"metrics": ["accuracy"], **kwargs})
    return model


def mlp(learning_rate, rate, l2, other):
    penalty = keras.regularizers.L2(l2)
    model = keras.Sequential(
        [
            layers.Input((6,)),
            layers.Dense(8, activation="relu", kernel_regularizer=penalty),
            layers.BatchNormalization(),
            layers.Dropout(rate),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    return compiled(model, keras.optimizers.Adam(learning_rate))


def slim(learning_rate, rate, l2, other):
    """The quickest to compile."""
    model = keras.Sequential([layers.Input((6,)), layers.Dense(1, activation="sigmoid")])
    return compiled(model, keras.optimizers.SGD(learning_rate * 10), metrics=[])


def cnn(learning_rate, rate, l2, other):
    model = keras.Sequential(
        [
            layers.Input((6, 6, 1)),
            layers.GaussianNoise(other),
            layers.Conv2D(4, 3, activation="relu"),
            layers.GlobalMaxPooling2D(),
            layers.Dropout(rate),
            layers.Dense(3, activation="softmax"),
        ]
    )
    loss = "sparse_categorical_crossentropy"
    return compiled(model, keras.optimizers.Adam(learning_rate), loss)


def lstm(learning_rate, rate, l2, other):
    model = keras.Sequential(
        [
            layers.Input((5, 3)),
            layers.LSTM(4, dropout=rate, recurrent_dropout=other),
            layers.Dense(3, activation="softmax"),
        ]
    )
    loss = "sparse_categorical_crossentropy"
    return compiled(model, keras.optimizers.RMSprop(learning_rate, momentum=rate), loss)


class Shrinking(keras.Model):
    """Has a training step of its own, which shrinks the outputs by a hyperparameter."""

    def __init__(self, strength, **kwargs):
        super().__init__(**kwargs)
        self.strength = strength
        self.dense = layers.Dense(1, activation="sigmoid")

    def call(self, inputs):
        return self.dense(inputs)

    def train_step(self, state, data):
        trainable, other, slots, metrics = state
        x, y = data

        def loss_of(weights):
            outputs, changed = self.stateless_call(weights, other, x)
            loss = keras.ops.mean(keras.losses.binary_crossentropy(y[:, None], outputs))
            return loss + self.strength * keras.ops.mean(outputs**2), changed

        import jax

        (loss, other), gradients = jax.value_and_grad(loss_of, has_aux=True)(trainable)
        trainable, slots = self.optimizer.stateless_apply(slots, gradients, trainable)
        return {"loss": loss, "shrunk": loss * self.strength}, (trainable, other, slots, metrics)


def custom_step(learning_rate, rate, l2, other):
    return compiled(Shrinking(rate), keras.optimizers.Adam(learning_rate), metrics=[])


def scheduled(learning_rate, rate, l2, other):
    """Numbers of a schedule, of the optimizer and of the loss differ."""
    decay = keras.optimizers.schedules.CosineDecay(learning_rate, int(20 + rate * 100))
    optimizer = keras.optimizers.AdamW(
        decay, beta_1=0.5 + rate, beta_2=0.9 + other / 4, weight_decay=l2, clipnorm=other
    )
    model = keras.Sequential([layers.Input((6,)), layers.Dense(1, activation="sigmoid")])
    return compiled(model, optimizer, keras.losses.BinaryCrossentropy(label_smoothing=rate))


def two_outputs(learning_rate, rate, l2, other):
    inputs = keras.Input((6,))
    hidden = layers.Dense(4, activation="relu")(inputs) * rate
    outputs = {name: layers.Dense(1, name=name)(hidden) for name in ("first", "second")}
    model = keras.Model(inputs, outputs)
    loss, weights = {"first": "mse", "second": "mae"}, {"first": rate, "second": other}
    optimizer = keras.optimizers.SGD(learning_rate, momentum=rate, nesterov=True)
    model.compile(optimizer, loss, loss_weights=weights, metrics={"first": ["mae"]})
    return model


def built(build, seed):
    """A model as a trial with this seed would have it."""
    fresh_names()
    seeded(seed)
    return build(**numbers(seed))


def seeds(seed):
    return EpochSeeds(lambda fit, epoch: seed * 1000 + epoch)


def fitted(build, seed, args, kwargs, callbacks=()):
    """What ordinary training makes of a trial: its history and its model."""
    model = built(build, seed)
    history = model.fit(*args, **kwargs, callbacks=[seeds(seed), *callbacks])
    return history, model


def assert_alike(member, history, model, tolerance=1e-4):
    """Histories and all variables agree, relative to the larger numbers among them."""
    assert list(member.history.history) == list(history.history)
    assert member.history.epoch == history.epoch
    for name, values in history.history.items():
        np.testing.assert_allclose(
            member.history.history[name], values, rtol=tolerance, atol=1e-7, err_msg=name
        )
    for mine, other in zip(state(member.model), state(model), strict=True):
        scale = np.abs(other).max() if other.size else 0
        np.testing.assert_allclose(mine, other, rtol=tolerance, atol=tolerance * scale)


def state(model):
    variables = [*model.variables, *model.optimizer.variables]
    return [np.asarray(keras.ops.convert_to_numpy(v)).astype("float64") for v in variables]
