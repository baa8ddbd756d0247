"""Conditions: when a hyperparameter is active.

A hyperparameter that was registered inside a conditional scope carries the scope's conditions;
it is active when all of them hold. Conditions that plain Python `if` statements express need no
declaration: a trial stores what its build has read.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Any

from keratune import _json


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
        values: One value, or a list of several: what a hyperparameter may take.

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
        self._stored = [_json.encode(value) for value in self.values]

    def is_active(self, values: Mapping[str, Any]) -> bool:
        """Tell whether the parent is present with one of the values."""
        return self.name in values and _json.encode(values[self.name]) in self._stored

    def get_config(self) -> dict[str, Any]:
        """Return `{"name", "values"}`."""
        return {"name": self.name, "values": list(self._stored)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Parent:
        """Return the condition that `get_config` described; functions stay labels."""
        return cls(config["name"], [_json.decode(value) for value in config["values"]])

    def __eq__(self, other: object) -> bool:
        """Compare name and values."""
        if not isinstance(other, Parent):
            return NotImplemented
        return (self.name, self._stored) == (other.name, other._stored)

    def __hash__(self) -> int:
        """Hash by name and number of values: equal values may be written in several ways."""
        return hash((self.name, len(self._stored)))

    def __repr__(self) -> str:
        """Show name and values."""
        return f"Parent(name={self.name!r}, values={self._stored})"


def _one_type(values: list[Any]) -> list[Any]:
    """Return values as the parent holds them, after checking their types."""
    if not values:
        raise ValueError("`parent_values` must hold at least one value. Received: [].")
    plain = [value.item() if hasattr(value, "item") else value for value in values]
    for value in plain:
        scalar = value is None or isinstance(value, (bool, int, float, str, tuple))
        if not (scalar or callable(value) or _json.is_label(value)):
            raise TypeError(
                "Can contain only `int`, `float`, `str`, or `bool`, besides None, tuples, "
                f"functions and classes, found values: {values} of type {type(value)}."
            )
    if isinstance(plain[0], str):
        return [str(v) if isinstance(v, (bool, int, float)) else v for v in plain]
    return plain


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
