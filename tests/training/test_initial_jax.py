"""Initial values drawn in few sizes are those that Keras draws, bit by bit."""

import keras
import numpy as np
import pytest

from keratune.training.initial_jax import quick_initial_values

pytestmark = pytest.mark.skipif(keras.backend.backend() != "jax", reason="it is for JAX")

INITIALIZERS = {
    "uniform": keras.initializers.GlorotUniform,
    "truncated normal": keras.initializers.HeNormal,
    "normal": lambda seed: keras.initializers.RandomNormal(0.5, 0.2, seed=seed),
    "orthogonal": keras.initializers.Orthogonal,
    "zeros": lambda seed: keras.initializers.Zeros(),
    "ones": lambda seed: keras.initializers.Ones(),
}


def bits(tensor):
    return np.asarray(keras.ops.convert_to_numpy(tensor)).view("uint8")


@pytest.mark.parametrize("kind", list(INITIALIZERS))
@pytest.mark.parametrize("shape", [(3, 5), (40, 70)])
def test_values_are_the_same(kind, shape):
    usual = INITIALIZERS[kind](seed=7)(shape)
    with quick_initial_values():
        quick = INITIALIZERS[kind](seed=7)(shape)
    assert (quick.shape, quick.dtype) == (usual.shape, usual.dtype)
    np.testing.assert_array_equal(bits(quick), bits(usual))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_other_types_are_the_same(dtype):
    usual = keras.random.uniform((6, 7), -1.0, 2.0, dtype=dtype, seed=1)
    with quick_initial_values():
        quick = keras.random.uniform((6, 7), -1.0, 2.0, dtype=dtype, seed=1)
    assert quick.dtype == usual.dtype
    np.testing.assert_array_equal(bits(quick), bits(usual))


def test_a_seed_generator_goes_on_as_usual():
    def draws():
        generator = keras.random.SeedGenerator(3)
        return [bits(keras.random.normal((4,), seed=generator)) for _ in range(3)]

    usual = draws()
    with quick_initial_values():
        np.testing.assert_array_equal(draws(), usual)


def test_draws_in_a_compiled_function_are_the_same():
    import jax

    usual = keras.random.uniform((5, 2), seed=4)
    with quick_initial_values():
        quick = jax.jit(lambda: keras.random.uniform((5, 2), seed=4))()
    np.testing.assert_allclose(quick, usual, rtol=1e-6)


def test_many_shapes_lead_to_few_compilations(monkeypatch):
    import jax

    sizes = []
    draw = jax.random.uniform
    monkeypatch.setattr(
        jax.random, "uniform", lambda *args, **kw: sizes.append(kw["shape"]) or draw(*args, **kw)
    )
    with quick_initial_values():
        for units in range(1, 60):
            keras.initializers.GlorotUniform(seed=1)((30, units))
    assert set(sizes) == {(1024,), (2048,)}


def test_keras_is_afterwards_as_it_was():
    from keras.src.backend.jax import numpy, random

    before = numpy.zeros, random.uniform
    with pytest.raises(KeyError), quick_initial_values():
        assert random.uniform is not before[1]
        raise KeyError
    assert (numpy.zeros, random.uniform) == before
