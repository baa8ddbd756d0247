"""What a search needs travels to its worker processes: code by value, large arrays by file.

A parent writes one pickle for all its workers. Classes and functions of the user's script go into
it whole (cloudpickle), so that the script needs no `if __name__ == "__main__"`. An array of a
mebibyte or more, wherever it is found (an argument, a closure, a column of a data frame), is
written once to a file that every worker maps: the pages are shared, and a page that a worker writes
to becomes its own.

Pickles run code when they are read. They lie in a folder that only the user can open, and are read
by nobody but the processes that the parent has started.
"""

from __future__ import annotations

import dataclasses
import io
import os
import pickle
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import cloudpickle
import numpy as np

from keratune._processes import is_not_dead, worker_name
from keratune.errors import FatalError, FatalTypeError, FatalValueError

# Bytes from which an array has a file of its own: below, a file costs more than four copies.
SHARED_FROM = 2**20

PREFIX = "keratune-workers-"
SEARCH_FILE, OWNER_FILE = "search.pickle", "owner"


@dataclasses.dataclass(frozen=True)
class Packed:
    """What was packed, on disk.

    Attributes:
        folder: Holds the pickle and the arrays; workers may leave files in it for their parent.
    """

    folder: Path

    @property
    def file(self) -> Path:
        """The pickle, for `unpack`."""
        return self.folder / SEARCH_FILE

    def remove(self) -> None:
        """Delete it; arrays that a process still has mapped stay readable there."""
        shutil.rmtree(self.folder, ignore_errors=True)


def pack(parts: Mapping[str, Any]) -> Packed:
    """Write what workers need, by name.

    Args:
        parts: What is sent. The names are what an error calls them.

    Returns:
        The folder; `remove` it when the workers have ended.

    Raises:
        FatalTypeError: A part cannot be sent; the message names it and the way out.
        FatalValueError: The disk of the temporary folder is full.
    """
    remove_stale()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))  # made with mode 0700
    packed = Packed(folder)
    (folder / OWNER_FILE).write_text(worker_name("parent"), encoding="utf-8")
    try:
        with packed.file.open("wb") as file:
            pickle.dump({"path": sys.path, "folder": str(Path.cwd())}, file)
            _Pickler(file, folder).dump((dict(parts), _keras_settings()))
    except OSError as error:
        packed.remove()
        raise FatalValueError(
            f"The data for the worker processes could not be written to {folder}: {error}. Set "
            "the environment variable TMPDIR to a folder on a disk with more room."
        ) from error
    except BaseException as error:
        packed.remove()
        if isinstance(error, Exception) and not isinstance(error, FatalError):
            _refuse(parts, error)
        raise
    return packed


def unpack(file: Path) -> dict[str, Any]:
    """Return the parts that `pack` has written; this process takes on its parent's import path."""
    with file.open("rb") as stream:
        surroundings = pickle.load(stream)
        sys.path[:] = surroundings["path"]
        os.chdir(surroundings["folder"])
        parts, settings = pickle.load(stream)
    if settings is not None:
        from keratune.execution import keras_settings

        keras_settings.put_in_force(settings)
    return dict(parts)


def _keras_settings() -> dict[str, Any] | None:
    """Return the global settings that workers take on; None while Keras was not imported."""
    if "keras" not in sys.modules:
        return None
    from keratune.execution import keras_settings

    return keras_settings.current()


def remove_stale() -> None:
    """Delete what parents that were killed have left."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            owner = (folder / OWNER_FILE).read_text(encoding="utf-8")
        except OSError:
            continue  # another user's, or one that is being made
        if not is_not_dead(owner):
            shutil.rmtree(folder, ignore_errors=True)


class _Pickler(cloudpickle.Pickler):
    """Writes large arrays to files of their own; without a folder, leaves them out."""

    def __init__(self, file: BinaryIO, folder: Path | None) -> None:
        super().__init__(file, protocol=5)
        self._folder = folder
        self._count = 0

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, np.ndarray) and type(obj) in (np.ndarray, np.memmap):
            if obj.nbytes >= SHARED_FROM and not obj.dtype.hasobject:
                return _mapped, (self._write(np.asarray(obj)), obj.dtype)
        tensor = _as_array(obj)
        return super().reducer_override(obj) if tensor is None else tensor

    def _write(self, array: np.ndarray) -> str:
        if self._folder is None:
            return ""
        path = self._folder / f"{self._count}.npy"
        self._count += 1
        plain = array if array.dtype.isbuiltin == 1 else array.view(f"V{array.dtype.itemsize}")
        np.save(path, plain, allow_pickle=False)
        return str(path)


def _mapped(path: str, dtype: np.dtype[Any]) -> np.ndarray:
    """Return the array in a file; writing to it changes this process's copy only."""
    return np.asarray(np.load(path, mmap_mode="c")).view(dtype)


def _as_array(obj: Any) -> Any:
    """Return how a tensor on the CPU is made of an array; None for everything else."""
    kind = type(obj)
    if kind.__name__ == "ArrayImpl" and kind.__module__.startswith("jax"):
        if obj.nbytes >= SHARED_FROM and obj.is_fully_addressable:
            return sys.modules["jax"].numpy.asarray, (np.asarray(obj),)
    elif kind.__name__ == "Tensor" and kind.__module__ == "torch":
        plain = obj.device.type == "cpu" and not obj.requires_grad and obj.layout.__str__()
        if plain == "torch.strided" and obj.nbytes >= SHARED_FROM:
            return sys.modules["torch"].from_numpy, (obj.numpy(),)
    return None


def _refuse(parts: Mapping[str, Any], error: Exception) -> None:
    """Raise the error that names what cannot be sent."""
    for name, part in _pieces(parts):
        try:
            _Pickler(io.BytesIO(), None).dump(part)
        except Exception as cause:  # an object may refuse in any way
            raise FatalTypeError(
                f"{name} cannot be sent to a worker process: {cause}. What is sent is pickled; "
                "open files, generators, locks and data sets such as `tf.data` are not. Have each "
                "worker make its own: pass a function of `hp` to `search`, such as "
                "`x=lambda hp: make_dataset()`, make it inside `build`, or search in this process "
                "with `executor=None`."
            ) from cause
    raise error


def _pieces(parts: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Return the parts, the small ones within them first, with names that a user understands."""
    for name, part in parts.items():
        if isinstance(part, Mapping):
            yield from ((f"`{key}`", value) for key, value in part.items())
        elif isinstance(part, tuple):
            yield from ((f"Argument {at} of `search`", value) for at, value in enumerate(part, 1))
        else:
            state = part.__getstate__() if hasattr(part, "__getstate__") else None
            attributes = state if isinstance(state, dict) else getattr(part, "__dict__", {})
            for attribute, value in dict(attributes).items():
                yield f"`{name}.{attribute}`", value
            yield f"`{name}`", part
