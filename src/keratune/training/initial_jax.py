"""Initial values of weights on JAX, without a compilation for every shape.

JAX compiles a program for each shape that is drawn: 0.2 s of processor time for a kernel of a new
size, 0.02 s for zeros, where the draw itself takes microseconds. A search that varies numbers of
units spends a quarter of its time so. JAX's generator computes each number from the key and the
number's position alone (`jax_threefry_partitionable`), so the first n of m numbers are those of a
draw of n. Draws are therefore made in a few sizes, powers of two, and cut off; the values are the
same bit by bit. Zeros and ones are filled in by NumPy.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

import keras
import numpy as np

DRAWN = ("normal", "truncated_normal", "uniform")
FILLED = ("ones", "zeros")

# Numbers that are drawn at least: ten sizes up to the largest.
SMALLEST = 2**10

# From here on drawing up to twice as many numbers as needed takes longer than 10 ms.
LARGEST = 2**20


@contextlib.contextmanager
def quick_initial_values() -> Iterator[None]:
    """Have Keras draw and fill arrays without compiling anew, on JAX, while the block runs."""
    random, numpy = _module("random"), _module("numpy")
    if random is None or numpy is None:
        yield
        return
    before = [(numpy, name, getattr(numpy, name)) for name in FILLED]
    for name in FILLED:
        setattr(numpy, name, _by_numpy(getattr(np, name)))
    if _counts_positions():
        before += [(random, name, getattr(random, name)) for name in DRAWN]
        for name in DRAWN:
            setattr(random, name, _in_few_sizes(getattr(random, name)))
    try:
        yield
    finally:
        for module, name, function in before:
            setattr(module, name, function)


def _module(name: str) -> ModuleType | None:
    """Return one of the modules that Keras reaches JAX through; None where there is none."""
    if "jax" not in sys.modules or keras.backend.backend() != "jax":
        return None
    try:
        found = importlib.import_module(f"keras.src.backend.jax.{name}")
    except ImportError:  # it has moved in this version of Keras
        return None
    wanted = DRAWN if name == "random" else FILLED
    return found if all(hasattr(found, function) for function in wanted) else None


def _counts_positions() -> bool:
    """Tell whether a number that is drawn depends on its position only."""
    import jax

    config = jax.config
    return bool(
        getattr(config, "jax_threefry_partitionable", False)
        and getattr(config, "jax_default_prng_impl", None) == "threefry2x32"
    )


def _in_few_sizes(draw: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that draws as another one does, in one of a few sizes."""
    import jax

    def drawn(shape: Sequence[int], *args: Any, **kwargs: Any) -> Any:
        size = math.prod(shape)
        if not 0 < size <= LARGEST:
            return draw(shape, *args, **kwargs)
        several = draw((max(SMALLEST, 1 << (size - 1).bit_length()),), *args, **kwargs)
        if isinstance(several, jax.core.Tracer):
            return several[:size].reshape(shape)
        return jax.numpy.asarray(np.asarray(several)[:size].reshape(shape))

    return drawn


def _by_numpy(fill: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that fills an array as JAX does."""
    import jax

    def filled(shape: Any, dtype: Any = None) -> Any:
        kind = jax.dtypes.canonicalize_dtype(dtype or keras.config.floatx())
        return jax.numpy.asarray(fill(shape, kind))

    return filled
