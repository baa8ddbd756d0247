"""Files under the names of KerasTuner's `backend.io`: the local file system."""

from __future__ import annotations

import glob as _glob
import os
import shutil
import sys
from typing import Any

exists = os.path.exists
rmtree = shutil.rmtree
glob = _glob.glob

__all__ = [
    "File",
    "exists",
    "glob",
    "makedirs",
    "remove_temp_dir_with_filepath",
    "remove_temp_dirpath",
    "rmtree",
    "write_dirpath",
    "write_filepath",
]


def __getattr__(name: str) -> Any:
    """Return TensorFlow as `tf`, None while nobody has imported it."""
    if name == "tf":
        return sys.modules.get("tensorflow")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def File(filename: str, mode: str) -> Any:
    """Open a file; it is a context manager."""
    return open(filename, mode)


def makedirs(path: str) -> None:
    """Make a folder and those above it, unless they exist."""
    os.makedirs(path, exist_ok=True)


def write_dirpath(dirpath: str, strategy: Any) -> str:
    """Return the folder to write to: the one that was given, whatever the strategy."""
    return dirpath


def remove_temp_dirpath(dirpath: str, strategy: Any) -> None:
    """Do nothing: `write_dirpath` makes no temporary folder."""


def write_filepath(filepath: str, strategy: Any) -> str:
    """Return the file to write to: the one that was given, whatever the strategy."""
    return filepath


def remove_temp_dir_with_filepath(filepath: str, strategy: Any) -> None:
    """Do nothing: `write_filepath` makes no temporary folder."""
