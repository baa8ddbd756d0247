"""Schedulers, one file each; this folder is the registry.

The file `schedulers/asha.py` is the scheduler `"asha"`. A new file is found, tested by the contract
suite and offered by name without an entry anywhere else.
"""

from __future__ import annotations

from typing import Any

from keratune import _registry
from keratune.schedulers.base import Action, Decision, Plan, Scheduler

__all__ = ["Action", "Decision", "Plan", "Scheduler", "available", "create", "scheduler_of"]


def available() -> list[str]:
    """Return the names of all schedulers."""
    return _registry.names(__path__)


def create(name: str, **options: Any) -> Scheduler:
    """Return a scheduler by name.

    Args:
        name: One of `available()`.
        **options: Arguments of the scheduler's class.

    Raises:
        ValueError: There is no such scheduler.
    """
    if name not in available():
        raise ValueError(f"`scheduler` must be one of {available()}. Received: scheduler={name!r}.")
    return _registry.find(__name__, name, Scheduler)(**options)  # type: ignore[type-abstract]


def scheduler_of(setting: str | Scheduler | None) -> Scheduler:
    """Return the scheduler that a tuner's `scheduler` argument describes.

    Args:
        setting: A name, a scheduler, or None: every trial is trained to its end.

    Raises:
        TypeError: It is something else.
        ValueError: There is no scheduler of this name.
    """
    if isinstance(setting, Scheduler):
        return setting
    if setting is None or isinstance(setting, str):
        return create(setting or "none")
    raise TypeError(
        f"`scheduler` must be a name out of {available()}, a keratune.schedulers.Scheduler, or "
        f"None. Received: {setting!r}."
    )


def __getattr__(name: str) -> Any:
    """Return a scheduler's class by its name, such as `keratune.schedulers.ASHA`."""
    for registered in available():
        found = _registry.find(__name__, registered, Scheduler)  # type: ignore[type-abstract]
        if found.__name__ == name:
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
