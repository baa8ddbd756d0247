"""Search algorithms, one file each; this folder is the registry.

The file `algorithms/random.py` is the algorithm `"random"`. A new file is found, tested by the
contract suite and offered by name without an entry anywhere else.
"""

from __future__ import annotations

from typing import Any

from keratune import _registry
from keratune.algorithms.base import Algorithm

__all__ = ["Algorithm", "available", "create"]


def available() -> list[str]:
    """Return the names of all search algorithms."""
    return _registry.names(__path__)


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
    return _registry.find(__name__, name, Algorithm)(**options)  # type: ignore[type-abstract]
