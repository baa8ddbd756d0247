"""Folders that are registries: one file, one class, registered under the file's name."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterable
from typing import TypeVar

Kind = TypeVar("Kind")


def names(path: Iterable[str]) -> list[str]:
    """Return the names that are registered in a package's folder; `base` holds the contract.

    Args:
        path: The package's `__path__`.
    """
    return sorted(m.name for m in pkgutil.iter_modules(path) if m.name != "base")


def find(package: str, name: str, kind: type[Kind]) -> type[Kind]:
    """Return the class of a registered name.

    Args:
        package: The package's name.
        name: One of `names`.
        kind: The contract that the class fulfils.
    """
    module = importlib.import_module(f"{package}.{name}")
    return next(
        member
        for _, member in inspect.getmembers(module, inspect.isclass)
        if member.__module__ == module.__name__ and issubclass(member, kind)
    )
