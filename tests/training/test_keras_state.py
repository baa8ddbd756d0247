"""Seeds, global settings and memory around the training of a model."""

import gc
import random
import time
import weakref

import keras
import numpy as np
import pytest
from keras_training import Seeds, build, fit, on_jax

from keratune.training import keras_state
from keratune.training.keras_state import (
    free_memory,
    fresh_names,
    preserved_global_state,
    seeded,
)


@pytest.fixture(autouse=True)
def settings_of_other_tests():
    with preserved_global_state():
        yield


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


on_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="only TensorFlow registers gradients by name"
)


@on_tensorflow
def test_no_graph_of_a_finished_training_stays_on_tensorflow():
    def graphs():
        return sum(type(thing).__name__ == "FuncGraph" for thing in gc.get_objects())

    free_memory(allowed_growth=-1e9)
    before = graphs()
    for width in (3, 4, 5):
        model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(width)])
        model.compile("adam", "mse")
        model.fit(np.ones((8, 4)), np.ones((8, width)), verbose=0)
    del model
    free_memory(allowed_growth=-1e9)
    assert graphs() <= before


@on_tensorflow
def test_the_gradients_of_user_code_stay_registered():
    import tensorflow as tf

    @tf.custom_gradient
    def doubled(x):
        return x * 2, lambda upstream: upstream * 7

    @tf.function
    def traced(x):
        return doubled(x)

    x = tf.constant(1.0)
    traced(x)
    free_memory(allowed_growth=-1e9)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = traced(x)
    assert float(tape.gradient(y, x)) == 7.0
