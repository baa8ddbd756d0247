"""The variables of a model in training, moved to another model."""

import keras
import numpy as np
import pytest
from keras_training import build, fit, not_on_tensorflow, same

from keratune.training.keras_state import preserved_global_state
from keratune.training.keras_variables import build_config, capture, ensure_built, restore


@pytest.fixture(autouse=True)
def settings_of_other_tests():
    with preserved_global_state():
        yield


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


def test_weights_can_be_taken_without_the_optimizer():
    model = build()
    fit(model, 1)
    weights = capture(model, optimizer=False)
    assert weights.keys() == {key for key in capture(model) if key.startswith("v/")}


def test_a_model_that_its_data_built_is_built_without_them():
    built, other = (keras.Sequential([keras.layers.Dense(3)]) for _ in range(2))
    built(np.zeros((2, 4), "float32"))
    ensure_built(other, build_config(built))
    restore(other, capture(built))
    assert same(capture(other), capture(built))
