"""Checkpoints: what a running trial needs to go on, and what the best trials leave behind.

A running trial keeps two files in its folder: `state.npz`, everything that training needs to go
on behind the last finished epoch, and `best.npz`, the weights of the best epoch so far. A finished
trial keeps its best weights only while it is among the best k; then as `model.keras`, Keras's own
format, and as `checkpoint.weights.h5`, where KerasTuner looks for them.

Both npz files hold one array per dtype, all arrays of that dtype laid end to end, and a JSON
manifest: writing twenty small arrays costs what writing one does. Nothing is pickled. Files are
written aside and renamed, so a killed process leaves the old file or the new one.

A file system may flush a file's data to the disk when it is renamed over another one, so that a
loss of power spares one of the two (ext4 does: 1.0 to 1.5 ms for 12 kB, and what other programs
are writing at the time; a rename to a free name takes 0.02 ms). Epochs of a millisecond cannot pay
for that. Behind a quick one the old file therefore steps aside first::

    state.npz -> state.previous.npz      draft -> state.npz      state.previous.npz is deleted
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import sys
import time
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keratune._files import atomic_path
from keratune._runtime import logger

Arrays = dict[str, "np.ndarray[Any, Any]"]

STATE_FILE = "state.npz"
BEST_FILE = "best.npz"
MODEL_FILE = "model.keras"
WEIGHTS_FILE = "checkpoint.weights.h5"
BUILD_FILE = "build_config.json"
FINAL_FILES = "final*.npz"  # where a trial that may be trained further has stopped
RUNNING_FILES = (STATE_FILE, BEST_FILE)
ALL_FILES = (*RUNNING_FILES, MODEL_FILE, WEIGHTS_FILE, BUILD_FILE)

# Seconds after which a file is worth a flush, which takes about a thousandth of them.
WORTH_FLUSHING = 5.0


@dataclasses.dataclass(frozen=True)
class Checkpoints:
    """What is kept on disk.

    Args:
        keep: Number of best trials whose weights are kept; 0 keeps none.
        resume: Whether a running trial can go on behind its last epoch after a crash.

    Raises:
        ValueError: `keep` is negative.

    Example:
        ```python
        keratune.RandomSearch(build_model, "val_loss", checkpoints=keratune.Checkpoints(keep=3))
        ```
    """

    keep: int = 10
    resume: bool = True

    def __post_init__(self) -> None:
        """Check the number."""
        if self.keep < 0:
            raise ValueError(f"`keep` must be 0 or more. Received: keep={self.keep}.")

    @classmethod
    def of(cls, setting: Checkpoints | bool | int | None) -> Checkpoints:
        """Return the checkpoints of what a user passed: False, a number, or `Checkpoints`."""
        if isinstance(setting, Checkpoints):
            return setting
        if setting is None or setting is True:
            return cls()
        return cls(keep=int(setting), resume=setting is not False)


def write_arrays(target: Path, arrays: Mapping[str, Any], notes: Mapping[str, Any]) -> None:
    """Write arrays and JSON notes to one npz file.

    Args:
        target: The file.
        arrays: Arrays of any shapes and of NumPy's own dtypes, by name.
        notes: Anything JSON.
    """
    groups: dict[str, list[np.ndarray[Any, Any]]] = {}
    manifest = []
    for name, value in arrays.items():
        array = np.asarray(value)
        kind = array.dtype.name
        groups.setdefault(kind, []).append(array.ravel())
        manifest.append([name, kind, list(array.shape)])
    packed = {kind: np.concatenate(parts) for kind, parts in groups.items()}
    header = json.dumps({"manifest": manifest, "notes": dict(notes)}).encode()
    with atomic_path(target) as draft:
        with draft.open("wb") as file:
            np.savez(file, allow_pickle=False, header=np.frombuffer(header, np.uint8), **packed)
        moved = _step_aside(target)
    if moved:
        _previous(target).unlink(missing_ok=True)


def _previous(target: Path) -> Path:
    """Return where a file steps aside to: `state.previous.npz`."""
    return target.with_name(f"{target.stem}.previous{target.suffix}")


def _step_aside(target: Path) -> bool:
    """Free a file's name if it was written a moment ago; return whether that was done."""
    try:
        if time.time() - target.stat().st_mtime >= WORTH_FLUSHING:
            return False
        target.rename(_previous(target))
    except OSError:  # there is no such file; or, on Windows, the former one is still there
        return False
    return True


def _newest(target: Path) -> Path:
    """Return where a file is: aside if the process was killed between the two renames."""
    previous = _previous(target)
    return previous if previous.exists() and not target.exists() else target


def read_arrays(source: Path) -> tuple[Arrays, dict[str, Any]]:
    """Return the arrays and notes of a file that `write_arrays` wrote."""
    with _newest(source).open("rb") as file, np.load(file, allow_pickle=False) as stored:
        header = json.loads(stored["header"].tobytes())
        packed = {kind: stored[kind] for kind in stored.files if kind != "header"}
    arrays: Arrays = {}
    places = dict.fromkeys(packed, 0)
    for name, kind, shape in header["manifest"]:
        items = int(np.prod(shape))
        part = packed[kind][places[kind] : places[kind] + items]
        places[kind] += items
        arrays[name] = part.reshape(shape)
    return arrays, header["notes"]


def read_if_whole(source: Path) -> tuple[Arrays, dict[str, Any]] | None:
    """Return what `read_arrays` does; None where there is no file, or a damaged one."""
    if not _newest(source).exists():
        return None
    try:
        return read_arrays(source)
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        logger.warning("%s cannot be read and is not used: %s", source, error)
        return None


@contextlib.contextmanager
def quick_saving() -> Iterator[None]:
    """Have Keras save a model without importing TensorFlow for it.

    Where TensorFlow is installed, Keras imports it to ask whether anything in a model's config is
    one of its objects. That takes 2 to 4 s, and while nobody has imported it, nothing is.
    """
    try:
        from keras.src.utils.module_utils import tensorflow as lazy
    except ImportError:  # it has moved in this version of Keras
        yield
        return
    known, imported = getattr(lazy, "_available", None), "tensorflow" in sys.modules
    if imported or known is not None:
        yield
        return
    lazy._available = False
    try:
        yield
    finally:
        lazy._available = None


def final_file(execution: int) -> str:
    """Return the name of the file that says where an execution has stopped."""
    return FINAL_FILES.replace("*", str(execution))


def keep_final(folder: Path, execution: int) -> None:
    """Keep the state behind an execution's last epoch, for a trial that goes on from it."""
    state = _newest(folder / STATE_FILE)
    if state.exists():
        with atomic_path(folder / final_file(execution)) as draft:
            shutil.copyfile(state, draft)


def is_exported(folder: Path) -> bool:
    """Tell whether a trial's best weights lie in one of Keras's formats."""
    return (folder / MODEL_FILE).exists() or (folder / WEIGHTS_FILE).exists()


def has_weights(folder: Path) -> bool:
    """Tell whether a trial's best weights lie in its folder, in any format."""
    return is_exported(folder) or _newest(folder / BEST_FILE).exists()


def remove(folder: Path, names: tuple[str, ...]) -> None:
    """Delete files of a folder that exist."""
    for name in names:
        (folder / name).unlink(missing_ok=True)
        _previous(folder / name).unlink(missing_ok=True)
