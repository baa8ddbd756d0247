"""Which models have one structure, and which of their numbers differ."""

import dataclasses
import functools

import keras
import numpy as np
import pytest
from vectorized_training import X, Y, built, compiled, layers, mlp, on_jax

from keratune.training.keras_state import fresh_names
from keratune.vectorized.anatomy import differing, dissect

pytestmark = on_jax


def anatomy(model):
    model._symbolic_build(data_batch=(X[:4], Y[:4], None))
    return dissect(model)


def small(layer=None, loss="mse", **kwargs):
    fresh_names()
    last = layers.Dense(1, name="last")  # whatever name the other has taken
    model = keras.Sequential([layers.Input((6,)), *([layer] if layer else []), last])
    return anatomy(compiled(model, keras.optimizers.SGD(0.1), loss, metrics=[], **kwargs))


def assert_lifted(one, other, *suffixes):
    """The two have one structure, and differ in leaves whose paths end so."""
    assert one.structure == other.structure
    assert hash(one.structure) == hash(other.structure)
    paths = [one.leaves[index].path for index in differing([one, other])]
    assert len(paths) >= len(suffixes)
    for suffix in suffixes:
        assert any(path.endswith(suffix) for path in paths), paths


def test_hyperparameters_that_are_numbers_leave_the_structure_alone():
    one, other = (anatomy(built(mlp, seed)) for seed in (1, 2))
    assert_lifted(one, other, ".rate", ".kernel_regularizer.l2")


def test_a_layer_that_keeps_what_it_has_worked_out_shows_both():
    class Scaled(layers.Layer):
        def __init__(self, rate):
            super().__init__()
            self.rate, self.scale = rate, (1 - rate, 2.0)

        def call(self, inputs):
            return inputs * self.scale[0]

    assert_lifted(small(Scaled(0.25)), small(Scaled(0.5)), ".rate", ".scale[0]")


def test_what_functions_have_closed_over_counts():
    def loss(weight, power):
        return lambda y, p: weight * keras.ops.mean((y - p) ** power)

    assert_lifted(small(loss=loss(0.5, 2)), small(loss=loss(0.75, 2)), " weight")
    assert small(loss=loss(0.5, 2)).structure != small(loss=loss(0.5, 4)).structure


def test_arguments_of_partials_and_fields_of_dataclasses_count():
    @dataclasses.dataclass
    class Settings:
        weight: float

    def weighed(y, p, settings):
        return settings.weight * keras.ops.mean((y - p) ** 2)

    one, other = (
        small(loss=functools.partial(weighed, settings=Settings(weight))) for weight in (0.5, 0.75)
    )
    assert_lifted(one, other, ".weight")


def test_globals_that_a_function_reads_count(monkeypatch):
    one = small(loss=by_global)
    monkeypatch.setitem(globals(), "STRENGTH", 0.75)
    assert_lifted(one, small(loss=by_global), " STRENGTH")


STRENGTH = 0.5


def by_global(y, p):
    return STRENGTH * keras.ops.mean((y - p) ** 2)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (lambda: small(layers.Dense(2)), lambda: small(layers.Dense(3))),
        (lambda: small(layers.Dense(2)), lambda: small(layers.Dense(2, activation="relu"))),
        (lambda: small(layers.Dense(2)), lambda: small(layers.Dense(2, use_bias=False))),
        (lambda: small(layers.Dropout(0.2)), lambda: small(layers.Dropout(0.0))),
        (lambda: small(loss="mse"), lambda: small(loss="mae")),
        (lambda: small(), lambda: small(weighted_metrics=["mae"])),
        (lambda: small(jit_compile=True), lambda: small(steps_per_execution=4)),
        (lambda: graph(False), lambda: graph(True)),
        (lambda: tied(False), lambda: tied(True)),
        (
            lambda: small(layers.Normalization(mean=0.0, variance=1.0)),
            lambda: small(layers.Normalization(mean=1.0, variance=1.0)),
        ),
    ],
)
def test_other_programs_have_other_structures(one, other):
    assert one().structure != other().structure
    assert one().structure == one().structure


def graph(swapped):
    """The same layers, wired in another order."""
    fresh_names()
    inputs = keras.Input((6,))
    pair = [layers.Dense(3)(inputs), layers.Dense(3)(inputs)]
    outputs = layers.Dense(1)(layers.Subtract()(pair[::-1] if swapped else pair))
    return anatomy(compiled(keras.Model(inputs, outputs), keras.optimizers.SGD(0.1), "mse"))


def tied(shared):
    """One layer used twice, or two layers of one form."""
    fresh_names()
    inputs = keras.Input((6,))
    first = layers.Dense(6, name="first")
    second = first if shared else layers.Dense(6, name="second")
    outputs = layers.Dense(1)(second(first(inputs)))
    return anatomy(compiled(keras.Model(inputs, outputs), keras.optimizers.SGD(0.1), "mse"))


def test_a_number_can_be_replaced_where_it_was_found():
    class Pair(layers.Layer):
        def __init__(self):
            super().__init__()
            self.numbers = {"inner": [(0.25, 0.5)]}

        def call(self, inputs):
            return inputs

    layer = Pair()
    found = [leaf for leaf in small(layer).leaves if "numbers" in leaf.path]
    assert [leaf.value for leaf in found] == [0.25, 0.5]
    found[1].place.put(0.75)
    assert layer.numbers == {"inner": [(0.25, 0.75)]}
    assert found[0].place.get() == 0.25


def test_equal_arrays_are_equal_and_others_are_not():
    class Holding(layers.Layer):
        def __init__(self, array):
            super().__init__()
            self.array = array

        def call(self, inputs):
            return inputs * self.array

    one, same, other = (small(Holding(np.full(6, value))) for value in (1.0, 1.0, 2.0))
    assert one.structure == same.structure != other.structure
