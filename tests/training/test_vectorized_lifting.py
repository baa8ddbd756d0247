"""Numbers of a model as inputs of its program: what is worked out in Python, asked, and refused."""

import math

import numpy as np
import pytest
from vectorized_training import on_jax

from keratune.vectorized.lifting import Lifted, NotLiftableError, Recording

jax = pytest.importorskip("jax")
jaxpr_as_fun = pytest.importorskip("jax.extend.core").jaxpr_as_fun
pytestmark = on_jax


def traced(function, value=0.25, size=8):
    """Trace a function of one lifted number; return the recording and a function of its value."""
    recording = Recording(size)

    def run(columns):
        recording.inputs = columns
        return function(Lifted(recording, 0, value))

    scalar = jax.ShapeDtypeStruct((), np.float32, weak_type=True)
    closed = jax.make_jaxpr(run)([scalar] * size)

    def at(value):
        columns = [np.float32(column.value([value])) for column in recording.columns]
        padded = columns + [np.float32(0)] * (size - len(columns))
        return jaxpr_as_fun(closed)(*padded)[0]

    return recording, at


@pytest.mark.parametrize(
    "function",
    [
        lambda n: np.float32(3) * n,
        lambda n: 1 - n,
        lambda n: -n * 2,
        lambda n: 1 / (1 - n),
        lambda n: n**2,
        lambda n: jax.numpy.ones(3) * n,
        lambda n: jax.numpy.ones(3) / n,
        lambda n: jax.numpy.maximum(jax.numpy.ones(3), jax.numpy.asarray(n)),
    ],
)
def test_a_trace_at_one_value_computes_at_another(function):
    _, at = traced(lambda n: jax.numpy.asarray(function(n)))
    expected = np.asarray(function(0.125), np.float32)
    np.testing.assert_allclose(at(0.125), expected, rtol=1e-7)


def test_python_arithmetic_stays_in_double_precision():
    _, at = traced(lambda beta: jax.numpy.asarray(1 - beta), value=0.9)
    assert at(0.999) == np.float32(1 - 0.999)  # in single precision it would be 1.00005e-3


def test_a_weakly_typed_number_gives_way_to_the_type_of_an_array():
    halves = jax.numpy.ones(2, jax.numpy.bfloat16)
    recording = Recording(2)

    def run(columns):
        recording.inputs = columns
        return Lifted(recording, 0, 0.5) * halves

    scalar = jax.ShapeDtypeStruct((), np.float32, weak_type=True)
    assert jax.make_jaxpr(run)([scalar] * 2).out_avals[0].dtype == jax.numpy.bfloat16


def test_comparisons_are_answered_and_relied_on():
    recording, _ = traced(lambda n: jax.numpy.asarray(n * 2 if 0 < n <= 0.5 and n else 0.0))
    assert recording.fits([0.5])
    assert not recording.fits([0.0])
    assert not recording.fits([0.75])


def test_values_that_python_cannot_work_out_do_not_fit():
    recording, _ = traced(lambda n: jax.numpy.asarray(1 / n))
    assert recording.fits([0.5])
    assert not recording.fits([0.0])


@pytest.mark.parametrize("use", [float, int, math.sqrt, np.asarray, lambda n: [1, 2][n]])
def test_what_needs_the_number_itself_is_refused(use):
    with pytest.raises(NotLiftableError, match="needs the number itself") as raised:
        traced(use)
    assert raised.value.leaf == 0
