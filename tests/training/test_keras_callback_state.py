"""The state of callbacks, moved to others of their class."""

import keras
import numpy as np
import pytest
from keras_training import build, fit, not_on_tensorflow, same, through_json

from keratune.training.keras_callback_state import (
    callback_state,
    set_callback_state,
    unpack,
)
from keratune.training.keras_state import preserved_global_state
from keratune.training.keras_variables import capture


@pytest.fixture(autouse=True)
def settings_of_other_tests():
    with preserved_global_state():
        yield


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
