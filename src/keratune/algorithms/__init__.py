"""Search algorithms, one file each; this folder is the registry.

The file `algorithms/random.py` is the algorithm `"random"`. A new file is found, tested by the
contract suite and offered by name without an entry anywhere else.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from typing import Any

from keratune.algorithms.base import Algorithm

__all__ = ["Algorithm", "available", "create"]


def available() -> list[str]:
    """Return the names of all search algorithms."""
    names = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name for name in names if name != "base")


def create(name: str, **options: Any) -> Algorithm:
    """Return a search algorithm by name.

    Args:
        name: One of `available()`.
        **options: Arguments of the algorithm's class.

    Raises:
        ValueError: There is no such algorithm.
    """
    if name not in available():
        raise ValueError(f"`algorithm` must be one of {available()}. Received: algorithm={name!r}.")
    module = importlib.import_module(f"{__name__}.{name}")
    classes = [
        member
        for _, member in inspect.getmembers(module, inspect.isclass)
        if member.__module__ == module.__name__ and issubclass(member, Algorithm)
    ]
    algorithm: Algorithm = classes[0](**options)
    return algorithm
