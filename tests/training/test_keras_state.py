"""Seeds, global settings, memory, variables and callbacks around the training of a model."""

import gc
import json
import random
import time
import weakref

import keras
import numpy as np
import pytest

from keratune.training import keras_state
from keratune.training.keras_state import (
    callback_state,
    capture,
    free_memory,
    fresh_names,
    pack,
    preserved_global_state,
    restore,
    seeded,
    set_callback_state,
    unpack,
)

on_jax = pytest.mark.skipif(keras.backend.backend() != "jax", reason="measured on JAX")
not_on_tensorflow = pytest.mark.skipif(
    keras.backend.backend() == "tensorflow", reason="no seed reaches its shuffling within `fit`"
)

X = np.random.default_rng(0).normal(size=(40, 4)).astype("float32")
Y = (X.sum(axis=1) > 0).astype("float32")


@pytest.fixture(autouse=True)
def settings_of_other_tests():
    with preserved_global_state():
        yield


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


# Randomness


def draws():
    numbers = [random.random(), np.random.random()]
    tensors = [keras.random.normal((3,)), keras.layers.Dense(2)(np.ones((1, 2), "float32"))]
    return numbers + [keras.ops.convert_to_numpy(tensor).tolist() for tensor in tensors]


def test_one_seed_fixes_all_that_keras_draws():
    seeded(7)
    first = draws()
    seeded(7)
    assert draws() == first
    seeded(8)
    assert all(a != b for a, b in zip(draws(), first, strict=True))


@pytest.mark.parametrize("seed", [0, -1, 2**32 - 1, 2**40 + 3])
def test_any_integer_is_a_seed(seed):
    seeded(seed)
    first = draws()
    seeded(seed % 2**32)
    assert draws() == first


@on_jax
def test_seeding_an_epoch_costs_far_less_than_a_millisecond():
    def cost():
        start = time.perf_counter()
        for seed in range(100):
            seeded(seed)
        return (time.perf_counter() - start) / 100

    assert min(cost() for _ in range(5)) < 0.0005


# Global settings


def settings():
    return {
        "policy": keras.config.dtype_policy().name,
        "floatx": keras.config.floatx(),
        "epsilon": keras.config.epsilon(),
        "logging": keras.config.is_interactive_logging_enabled(),
        "objects": dict(keras.saving.get_custom_objects()),
        "scoped": keras.saving.get_registered_object("scoped", custom_objects=None),
        "random": random.getstate(),
        "numpy": np.random.get_state()[1].tolist(),
    }


def upset_everything():
    keras.config.set_dtype_policy("mixed_bfloat16")
    keras.config.set_floatx("float64")
    keras.config.set_epsilon(0.5)
    keras.config.enable_unsafe_deserialization()
    keras.config.disable_interactive_logging()
    keras.saving.get_custom_objects().clear()
    seeded(5)


@pytest.mark.parametrize("upset", [upset_everything, keras.utils.clear_session])
def test_the_users_settings_come_back_whatever_happened_inside(upset):
    keras.config.set_dtype_policy("mixed_float16")
    keras.config.disable_interactive_logging()
    with keras.saving.custom_object_scope({"scoped": Seeds}):
        before = settings()
        with pytest.raises(RuntimeError), preserved_global_state():
            with preserved_global_state():
                upset()
            upset()
            raise RuntimeError
        assert settings() == before


def test_the_users_random_numbers_go_on_as_if_nothing_was_drawn_between():
    seeded(3)
    draws()
    with preserved_global_state():
        expected = draws()[:3]
    with preserved_global_state():
        seeded(99)
        draws()
    assert draws()[:3] == expected


def test_automatic_names_go_on_where_the_user_was():
    fresh_names()
    keras.layers.Dense(1)
    with preserved_global_state():
        fresh_names()
        assert keras.layers.Dense(1).name == "dense"
        assert keras.layers.Dense(1).name == "dense_1"
    assert keras.layers.Dense(1).name == "dense_1"


def test_fresh_names_restart_layers_and_metrics_and_leave_settings_alone():
    keras.config.set_dtype_policy("mixed_float16")
    with keras.saving.custom_object_scope({"scoped": Seeds}):
        before = settings()
        fresh_names()
        assert settings() == before
        for _ in range(2):
            fresh_names()
            assert keras.metrics.AUC().name == "auc"
            assert keras.layers.Dense(1).name == "dense"


def test_a_keras_without_its_private_tracker_is_no_reason_to_fail(monkeypatch):
    monkeypatch.setattr(keras_state, "_tracker", lambda: None)
    with preserved_global_state():
        seeded(1)
        fresh_names()


# Memory


def test_a_finished_model_leaves_memory():
    model = weakref.ref(build())
    fit(model(), 1)
    free_memory(allowed_growth=0)
    gc.collect()
    assert model() is None


@on_jax
def test_memory_is_freed_in_full_only_after_it_has_grown(monkeypatch):
    sizes = iter([100.0, 100.0, 120.0, 140.0, 90.0, 100.0])
    cleared = []
    monkeypatch.setattr(keras_state, "_resident_mebibytes", lambda: next(sizes))
    monkeypatch.setattr(keras_state, "_drop_compiled_programs", lambda: cleared.append(True))
    monkeypatch.setattr(keras_state._Floor, "mebibytes", -np.inf)
    counts = []
    for _ in range(4):
        free_memory(allowed_growth=32)
        counts.append(len(cleared))
    assert counts == [1, 1, 2, 2]


# Variables


@not_on_tensorflow
def test_a_training_continued_in_a_new_model_is_the_same_to_the_last_bit():
    whole, states = fit(build(1), 6)
    _, kept = fit(build(1), 3)
    rest, continued = fit(build(99), 6, first=3, start=kept[2])
    assert rest == {name: values[3:] for name, values in whole.items()}
    assert same(continued[5]["variables"], states[5]["variables"])


def test_a_state_holds_seed_generators_batch_statistics_and_the_optimizer():
    model = build()
    names = {variable.path.split("/")[-1] for variable in model.variables}
    assert {"seed_generator_state", "moving_mean", "kernel"} <= names
    state = capture(model)
    assert {key[0] for key in state} == {"v"}
    fit(model, 1)
    state = capture(model)
    assert [key for key in state if key[0] == "v"][:2] == ["v/0000", "v/0001"]
    assert sum(key[0] == "o" for key in state) == len(model.optimizer.variables)


def test_a_state_is_a_copy_that_later_training_leaves_alone():
    model = build()
    fit(model, 1)
    state = capture(model)
    before = {key: array.copy() for key, array in state.items()}
    restore(model, state)
    fit(model, 2)
    assert same(state, before)
    assert not same(state, capture(model))


def test_a_state_can_be_taken_in_the_middle_of_an_epoch():
    taken = []

    class Halfway(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            taken.append(capture(self.model))

    model = build()
    fit(model, 1, [Halfway()])
    assert not same(taken[0], taken[1])
    assert same(taken[-1], capture(model))


def test_bfloat16_variables_survive_without_loss():
    keras.config.set_dtype_policy("bfloat16")
    first, second = build(1), build(2)
    state = capture(first)
    assert {array.dtype.kind for array in state.values()} <= {"f", "i", "u"}
    restore(second, state)
    assert same(capture(second), state)


def test_another_architecture_is_refused_before_anything_is_changed():
    model = build()
    state = capture(model)
    wider = {**state, "v/0000": np.zeros((4, 7), "float32")}
    with pytest.raises(ValueError, match=r"v/0000.*\(4, 6\).*Received: shape=\(4, 7\)"):
        restore(model, wider)
    with pytest.raises(ValueError, match="one array for each variable. Received: 1 arrays"):
        restore(model, {"v/0000": state["v/0000"]})
    assert same(capture(model), state)


def test_an_optimizer_state_without_an_optimizer_is_refused():
    model = build()
    fit(model, 1)
    bare = keras.Sequential.from_config(model.get_config())
    with pytest.raises(ValueError, match="must have an optimizer"):
        restore(bare, capture(model))


# Callbacks


def stoppers():
    return [
        keras.callbacks.EarlyStopping("val_loss", 0.05, patience=2, restore_best_weights=True),
        keras.callbacks.ReduceLROnPlateau("val_loss", factor=0.5, patience=1, min_delta=0.05),
    ]


@not_on_tensorflow
def test_stopping_and_learning_rates_are_the_same_wherever_the_training_was_cut():
    model = build(1, learning_rate=0.2)
    whole, kept = fit(model, 9, stoppers())
    assert 2 < len(whole["loss"]) < 9
    for epoch, state in kept.items():
        resumed = build(50 + epoch, learning_rate=0.2)
        first = 9 if state["stopped"] else epoch + 1
        rest, _ = fit(resumed, 9, stoppers(), first, state)
        assert rest == ({} if state["stopped"] else {k: v[epoch + 1 :] for k, v in whole.items()})
        assert same(capture(resumed), capture(model))


class Custom(keras.callbacks.Callback):
    def __init__(self, folder="/somewhere"):
        super().__init__()
        self.folder = folder
        self.phase = "warm"
        self.best = -np.inf
        self.count = keras.Variable(0.0)
        self.seen = {"epochs": [], 3: (1, None)}
        self.scalar = np.float32(0.1)
        self.file = open  # not plain


def test_plain_attributes_travel_and_the_rest_stays():
    first = Custom()
    first.phase, first.seen["epochs"] = "main", [1, 2]
    first.scalar, first.best = np.float32(0.3), float("nan")
    first.count.assign(4.0)
    state = through_json(callback_state(first))
    assert not {"file", "folder", "_model"} & state.keys()
    second = Custom("/elsewhere")
    variable = second.count
    set_callback_state(second, state)
    assert (second.phase, second.folder, second.seen) == ("main", "/elsewhere", first.seen)
    assert np.isnan(second.best)
    assert second.scalar == np.float32(0.3) and second.scalar.dtype == np.float32
    assert second.count is variable and float(keras.ops.convert_to_numpy(variable)) == 4.0


def test_the_state_of_a_callback_is_a_copy():
    callback = Custom()
    callback.weights = [np.zeros(2)]
    state = callback_state(callback)
    callback.weights[0] += 1
    callback.seen["epochs"].append(5)
    assert state["weights"][0].tolist() == [0, 0]
    assert state["seen"]["epochs"] == []


def test_a_chosen_comparison_is_not_chosen_a_second_time():
    first, second = stoppers()[0], stoppers()[0]
    fit(build(), 1, [first])
    set_callback_state(second, through_json(callback_state(first)))
    assert second.monitor_op is first.monitor_op
    assert second.min_delta == first.min_delta == -0.05


@pytest.mark.parametrize(
    "value",
    [None, True, 3, 0.1, "text", [1, (2, "x")], {"$": 1}, {1: 2}, float("inf"), float("-inf"), ()],
)
def test_packing_and_unpacking_give_the_value_back(value):
    found = through_json(value)
    assert found == value and type(found) is type(value)


def test_an_unknown_tag_is_refused():
    with pytest.raises(ValueError, match=r"Received: \$='later'"):
        unpack({"$": "later"}, {})
