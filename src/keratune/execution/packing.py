"""What a search needs travels to its worker processes: code by value, large arrays by file.

A parent writes one pickle for all its workers. Classes and functions of the user's script go into
it whole (cloudpickle), so that the script needs no `if __name__ == "__main__"`. An array of a
mebibyte or more, wherever it is found (an argument, a closure, a column of a data frame), is
written once to a file that every worker maps: the pages are shared, and a page that a worker writes
to becomes its own. For workers on other machines the pickle stays in memory (`parcel`), with the
large arrays beside it, so that whatever carries both can share the arrays among the workers of a
machine.

Pickles run code when they are read. They lie in a folder that only the user can open, and are read
by nobody but the processes that the parent has started.
"""

from __future__ import annotations

import dataclasses
import io
import os
import pickle
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Literal

import cloudpickle
import numpy as np

from keratune._processes import is_not_dead, worker_name
from keratune.errors import FatalError, FatalTypeError, FatalValueError
from keratune.training.checkpoints import quick_saving

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
            _dump(parts, file, _Pickler(file, folder))
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
        return _load(stream)


@dataclasses.dataclass(frozen=True)
class Parcel:
    """What was packed, in memory.

    Attributes:
        content: The pickle, for `unpack_parcel`.
        arrays: The bytes of the large arrays, which it does not hold itself.
    """

    content: bytes
    arrays: list[np.ndarray]


def parcel(parts: Mapping[str, Any]) -> Parcel:
    """Pack what workers need, by name, in memory; see `pack`.

    Raises:
        FatalTypeError: A part cannot be sent; the message names it and the way out.
    """
    arrays: list[np.ndarray] = []

    def is_small(buffer: pickle.PickleBuffer) -> bool:
        array = np.frombuffer(buffer.raw(), np.uint8)
        if array.nbytes >= SHARED_FROM:
            arrays.append(array)
        return array.nbytes < SHARED_FROM

    stream = io.BytesIO()
    try:
        _dump(parts, stream, _Pickler(stream, beside=is_small))
    except Exception as error:
        if not isinstance(error, FatalError):
            _refuse(parts, error)
        raise
    return Parcel(stream.getvalue(), arrays)


def unpack_parcel(packed: Parcel) -> dict[str, Any]:
    """Return the parts of a parcel; arrays are views of its own.

    This process looks for modules where its parent does too, and works in its parent's folder,
    where there are such folders on this machine.
    """
    stream = io.BytesIO(packed.content)
    surroundings = pickle.load(stream)
    sys.path += [folder for folder in surroundings["path"] if folder not in sys.path]
    if Path(surroundings["folder"]).is_dir():
        os.chdir(surroundings["folder"])
    return _load(stream, packed.arrays)


def _dump(parts: Mapping[str, Any], file: BinaryIO, pickler: _Pickler) -> None:
    """Write parts, behind what a process has to know before it can read them."""
    pickle.dump({"path": sys.path, "folder": str(Path.cwd())}, file)
    with quick_saving():  # workers wait for it
        pickler.dump((dict(parts), _keras_settings()))


def _load(stream: BinaryIO, arrays: Iterable[np.ndarray] = ()) -> dict[str, Any]:
    """Return the parts behind that; Keras's settings are in force then."""
    parts, settings = pickle.load(stream, buffers=arrays)
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
        owner = _owner_of(folder)
        if owner is not None and not is_not_dead(owner):
            shutil.rmtree(folder, ignore_errors=True)


def _owner_of(folder: Path) -> str | None:
    """Return the name of a folder's parent; None for one that is being made, or another user's.

    Anybody may put anything into the folder for temporary files: a pipe would never end.
    """
    file = folder / OWNER_FILE
    try:
        if hasattr(os, "getuid") and folder.lstat().st_uid != os.getuid():
            return None
        if not stat.S_ISREG(file.lstat().st_mode):
            return None
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


class _Pickler(cloudpickle.Pickler):
    """Writes large arrays to files of their own, or hands them over; leaves them out otherwise.

    Args:
        file: Where the pickle goes.
        folder: Where the files go.
        beside: Called with each buffer; tells whether it belongs into the pickle.
    """

    def __init__(
        self,
        file: BinaryIO,
        folder: Path | None = None,
        beside: Callable[[pickle.PickleBuffer], bool] | None = None,
    ) -> None:
        super().__init__(file, protocol=5, buffer_callback=beside)
        self._folder = folder
        self._hands_over = beside is not None
        self._count = 0

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, np.ndarray) and type(obj) in (np.ndarray, np.memmap):
            if obj.nbytes >= SHARED_FROM and not obj.dtype.hasobject:
                if self._hands_over:
                    return _viewed, (*_bytes_of(np.asarray(obj)), obj.dtype, obj.shape)
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


def _bytes_of(array: np.ndarray) -> tuple[pickle.PickleBuffer, Literal["C", "F"]]:
    """Return the bytes of an array, and the order that they are in."""
    order: Literal["C", "F"] = "F" if array.flags.fnc else "C"
    flat = np.ascontiguousarray(array.T if order == "F" else array).reshape(-1)
    return pickle.PickleBuffer(flat.view(np.uint8).data), order


def _viewed(
    content: Any, order: Literal["C", "F"], dtype: np.dtype[Any], shape: tuple[int, ...]
) -> np.ndarray:
    """Return the array of some bytes, which are not copied."""
    return np.frombuffer(content, np.uint8).view(dtype).reshape(shape, order=order)


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
            _Pickler(io.BytesIO()).dump(part)
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
