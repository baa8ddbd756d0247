"""The data of a `fit` as one program for many models takes them.

`bound` reads the arguments of a `fit`. `Feed` holds the rows as Keras would feed them (its own
adapter converts them, applies class weights and splits off the validation rows), and draws their
order as Keras does: one permutation of NumPy's global generator for each epoch, or one for each
batch with `shuffle="batch"`. Arrays are put on the device once, however many models use them.
"""

from __future__ import annotations

import dataclasses
import inspect
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import keras
import numpy as np

# What `fit` feeds in batches of, where nobody has said.
BATCH_SIZE = 32

# Different data that are known at a time: the folds of a cross-validation, say. Where every trial
# makes its own, those of ended trials must not fill the memory.
MOST_FEEDS = 32


class UnsuitableError(Exception):
    """A training cannot be made part of a program for many; the message says why."""


def bound(model: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return all arguments of a `fit` by name, defaults included.

    Raises:
        TypeError: `fit` does not take them so.
    """
    arguments = inspect.signature(keras.Model.fit).bind(model, *args, **kwargs)
    arguments.apply_defaults()
    return {name: value for name, value in arguments.arguments.items() if name != "self"}


@dataclasses.dataclass(eq=False)
class Feed:
    """Rows to train or to validate with; equal only to itself.

    Attributes:
        tree: How Keras arranges the arrays: `(x, y)` and the like, with an index for each array.
        arrays: One array for each index, all of `rows` rows.
        rows: Number of rows.
        batch_size: Rows of a batch; the last one may have fewer.
        shuffle: As `fit` takes it.
    """

    tree: Any
    arrays: list[np.ndarray]
    rows: int
    batch_size: int
    shuffle: Any = False

    @property
    def form(self) -> tuple[Any, ...]:
        """What a program depends on."""
        shapes = [(array.shape, str(array.dtype)) for array in self.arrays]
        return (repr(self.tree), tuple(shapes), self.batch_size)

    @property
    def full(self) -> int:
        """Number of whole batches."""
        return self.rows // self.batch_size

    @property
    def rest(self) -> int:
        """Rows of the last batch where it is not whole, else 0."""
        return self.rows % self.batch_size

    def order(self) -> np.ndarray:
        """Draw the order of the rows in an epoch, shape (rows,)."""
        if not self.shuffle:
            return np.arange(self.rows, dtype=np.int32)
        if self.shuffle != "batch":
            return np.random.permutation(self.rows).astype(np.int32)
        starts = range(0, self.rows, self.batch_size)
        sizes = [min(self.batch_size, self.rows - start) for start in starts]
        parts = [np.random.permutation(n) + at for at, n in zip(starts, sizes, strict=True)]
        return np.concatenate(parts).astype(np.int32)

    def batch(self, rows: int) -> Any:
        """Return the form of a batch: Keras's arrangement of shapes and types."""
        forms = [_form(array, rows) for array in self.arrays]
        return jax.tree.map(lambda index: forms[index], self.tree)

    def without_rows(self) -> Feed:
        """Return what a program needs to know, without the data."""
        return dataclasses.replace(self, arrays=[])

    def sample(self) -> Any:
        """Return a batch to build a model with."""
        arrays = [array[: self.batch_size] for array in self.arrays]
        return jax.tree.map(lambda index: arrays[index], self.tree)


def _form(array: np.ndarray, rows: int) -> jax.ShapeDtypeStruct:
    dtype = jax.dtypes.canonicalize_dtype(array.dtype)
    return jax.ShapeDtypeStruct((rows, *array.shape[1:]), dtype)


class Feeds:
    """The feeds of many trainings; equal arguments lead to the same arrays.

    Arrays are known by the objects that were passed. Those that were passed last are kept.
    """

    def __init__(self) -> None:
        """Start with none."""
        self._made: dict[tuple[Any, ...], tuple[Feed, Feed | None, list[Any]]] = {}

    def of(self, arguments: Mapping[str, Any]) -> tuple[Feed, Feed | None]:
        """Return the rows to train with and those to validate with, if any.

        Args:
            arguments: What `bound` returned.

        Raises:
            UnsuitableError: The data are not arrays, or are fed in an unusual way.
            ValueError: Keras refuses them.
        """
        _refuse_unusual(arguments)
        key = _key(arguments)
        made = self._made.pop(key, None) or (*_feeds(arguments), _parts(arguments))
        self._made[key] = made  # the one used last stands last
        while len(self._made) > MOST_FEEDS:
            del self._made[next(iter(self._made))]
        return made[:2]


_DATA = ("x", "y", "sample_weight", "class_weight", "validation_data")
_COUNTS = ("batch_size", "validation_batch_size", "validation_split", "shuffle")


def _parts(arguments: Mapping[str, Any]) -> list[Any]:
    return [arguments[name] for name in _DATA]


def _key(arguments: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what tells the data of two trainings apart.

    `validation_data` is often a new tuple of the same arrays, `class_weight` a new dict.
    """
    numbers = (int, float, type(None))
    parts = keras.tree.map_structure(
        lambda leaf: leaf if isinstance(leaf, numbers) else f"object {id(leaf)}", _parts(arguments)
    )
    return (repr(parts), *(arguments[name] for name in _COUNTS))


def _refuse_unusual(arguments: Mapping[str, Any]) -> None:
    for name in ("steps_per_epoch", "validation_steps"):
        if arguments[name] is not None:
            raise UnsuitableError(f"`{name}` is set: epochs are not whole passes over the data")
    if keras.config.max_steps_per_epoch() or keras.config.max_epochs():
        raise UnsuitableError("epochs are cut short by Keras's configuration")
    if keras.distribution.distribution() is not None:
        raise UnsuitableError("the training is distributed over devices")


def _feeds(arguments: Mapping[str, Any]) -> tuple[Feed, Feed | None]:
    x, y, weight = arguments["x"], arguments["y"], arguments["sample_weight"]
    validation = arguments["validation_data"]
    adapters, slicing = _adapters()
    try:
        if arguments["validation_split"] and validation is None:
            split = arguments["validation_split"]
            (x, y, weight), validation = slicing.train_validation_split((x, y, weight), split)
        if not adapters.can_convert_arrays((x, y, weight)):
            raise UnsuitableError(f"the data are no arrays but of type {type(x).__name__}")
    except TypeError as error:
        raise UnsuitableError(f"the data cannot be sliced: {error}") from error
    shuffle, size = arguments["shuffle"], arguments["batch_size"]
    train = _feed(x, y, weight, size, shuffle, arguments["class_weight"])
    if validation is None:
        return train, None
    x, y, weight = keras.utils.unpack_x_y_sample_weight(validation)
    if not adapters.can_convert_arrays((x, y, weight)):
        raise UnsuitableError(f"the validation data are no arrays but {type(x).__name__}")
    return train, _feed(x, y, weight, arguments["validation_batch_size"] or size, False, None)


def _feed(x: Any, y: Any, weight: Any, size: int | None, shuffle: Any, classes: Any) -> Feed:
    adapters, _ = _adapters()
    adapter = adapters.ArrayDataAdapter(x, y, weight, class_weight=classes, batch_size=2**31 - 1)
    (whole,) = adapter.get_jax_iterator()
    leaves, tree = jax.tree.flatten(whole)
    arrays = [np.asarray(leaf) for leaf in leaves if hasattr(leaf, "shape")]
    if len(arrays) != len(leaves) or any(a.dtype.kind not in "biuf" for a in arrays):
        raise UnsuitableError("the data have arrays that no device can hold as they are")
    indices = jax.tree.unflatten(tree, range(len(arrays)))
    return Feed(indices, arrays, len(arrays[0]), size or BATCH_SIZE, shuffle)


def _adapters() -> tuple[Any, Any]:
    """Return Keras's modules that read arrays, which have no public name.

    Raises:
        UnsuitableError: They have moved in this version.
    """
    try:
        from keras.src.trainers.data_adapters import array_data_adapter, array_slicing
    except ImportError as error:
        raise UnsuitableError(f"this version of Keras reads arrays elsewhere: {error}") from error
    return array_data_adapter, array_slicing


_on_device: dict[int, tuple[weakref.ref[np.ndarray], jax.Array]] = {}


def on_device(array: np.ndarray) -> jax.Array:
    """Return an array on the default device; the same array is put there once."""
    known = _on_device.get(id(array))
    if known is None or known[0]() is not array:
        key = id(array)
        forget = weakref.ref(array, lambda _: _on_device.pop(key, None))
        known = _on_device[key] = (forget, jax.device_put(array))
    return known[1]
