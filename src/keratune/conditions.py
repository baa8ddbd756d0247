"""Conditions: when a hyperparameter is active.

A hyperparameter that was registered inside a conditional scope carries the scope's conditions;
it is active when all of them hold. Conditions that plain Python `if` statements express need no
declaration: a trial stores what its build has read.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Any


class Condition(abc.ABC):
    """One requirement on the values of other hyperparameters."""

    name: str
    values: list[Any]

    @abc.abstractmethod
    def is_active(self, values: Mapping[str, Any]) -> bool:
        """Tell whether the condition holds for these values."""

    @abc.abstractmethod
    def get_config(self) -> dict[str, Any]:
        """Return the JSON form of the condition."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Condition:
        """Return the condition that `get_config` described."""
        return cls(**config)


class Parent(Condition):
    """Holds when the hyperparameter `name` has one of `values`.

    Args:
        name: Full name of the parent hyperparameter.
        values: One value or several, of one type: int, float, str or bool.

    Raises:
        TypeError: The values are of another type.
        ValueError: `values` is empty.

    Example:
        ```python
        Parent("model", ["cnn"]).is_active({"model": "cnn"})  # True
        ```
    """

    def __init__(self, name: str, values: Any) -> None:
        """Keep the parent's name and the values that make the condition hold."""
        self.name = name
        self.values = _one_type(list(values) if isinstance(values, (list, tuple)) else [values])

    def is_active(self, values: Mapping[str, Any]) -> bool:
        """Tell whether the parent is present with one of the values."""
        return self.name in values and values[self.name] in self.values

    def get_config(self) -> dict[str, Any]:
        """Return `{"name", "values"}`."""
        return {"name": self.name, "values": list(self.values)}

    def __eq__(self, other: object) -> bool:
        """Compare name and values."""
        return isinstance(other, Parent) and (self.name, self.values) == (other.name, other.values)

    def __hash__(self) -> int:
        """Hash by name and values."""
        return hash((self.name, tuple(self.values)))

    def __repr__(self) -> str:
        """Show name and values."""
        return f"Parent(name={self.name!r}, values={self.values})"


def _one_type(values: list[Any]) -> list[Any]:
    if not values:
        raise ValueError("`parent_values` must hold at least one value. Received: [].")
    first = values[0]
    if isinstance(first, str):
        return [str(value) for value in values]
    if type(first) is int and all(float(value) == int(value) for value in values):
        return [int(value) for value in values]
    if first is None or isinstance(first, (bool, int, float, tuple)):
        return values
    raise TypeError(
        "Can contain only `int`, `float`, `str`, or `bool`, "
        f"found values: {values} of type {type(first)}."
    )


OBJECTS = (Condition, Parent)
ALL_CLASSES = {cls.__name__: cls for cls in OBJECTS}


def serialize(condition: Condition) -> dict[str, Any]:
    """Return `{"class_name", "config"}`, the form that files hold."""
    return {"class_name": type(condition).__name__, "config": condition.get_config()}


def deserialize(config: Mapping[str, Any] | Condition) -> Condition:
    """Return the condition of a `serialize`d form, which is left as it was.

    Raises:
        ValueError: The class is unknown.
    """
    if isinstance(config, Condition):
        return config
    if config["class_name"] not in ALL_CLASSES:
        raise ValueError(
            f"Unrecognized condition of type: {config['class_name']}. Known: {sorted(ALL_CLASSES)}."
        )
    return ALL_CLASSES[config["class_name"]].from_config(dict(config["config"]))


def hold(conditions: Sequence[Condition], values: Mapping[str, Any]) -> bool:
    """Tell whether all conditions hold for these values."""
    return all(condition.is_active(values) for condition in conditions)
