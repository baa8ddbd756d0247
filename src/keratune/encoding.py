"""Configurations as rows of the unit cube, for algorithms that learn.

Each hyperparameter that has more than one value is a coordinate. Ranges and ordered choices are
numbers: their position in [0, 1]. Other choices and booleans are categories: their index. A
coordinate whose hyperparameter a configuration does not have is 0.5, or a category of its own, so
that within a branch what belongs to another branch adds no distance.

n: configurations   d: coordinates   X: (n, d)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keratune.parameters import Boolean, Choice, Fixed, HyperParameter
from keratune.space import HyperParameters

Array = NDArray[np.float64]

ABSENT_NUMBER = 0.5


def is_category(parameter: HyperParameter) -> bool:
    """Tell whether a hyperparameter's values have no order."""
    return isinstance(parameter, Boolean) or (
        isinstance(parameter, Choice) and not parameter.ordered
    )


class Encoding:
    """The coordinates of a space.

    Args:
        space: The space; hyperparameters with one value are left out, of several with one name the
            first counts.

    Attributes:
        parameters: The hyperparameter of each coordinate, d of them.
        categories: (d,) number of categories of each coordinate, that of absence included; 0 for
            numbers.
    """

    def __init__(self, space: HyperParameters) -> None:
        """Choose the coordinates."""
        named: dict[str, HyperParameter] = {}
        for parameter in space.space:
            if not isinstance(parameter, Fixed) and parameter.size != 1:
                named.setdefault(parameter.name, parameter)
        self.space = space
        self.parameters = list(named.values())
        self.categories = np.array(
            [p.grid_size + 1 if is_category(p) else 0 for p in self.parameters], dtype=int
        )

    def __len__(self) -> int:
        """Return the number of coordinates."""
        return len(self.parameters)

    def encode(self, configurations: Sequence[Mapping[str, Any]]) -> Array:
        """Return the rows of configurations, (n, d)."""
        rows = [[self._place(p, values) for p in self.parameters] for values in configurations]
        return np.array(rows, dtype=float).reshape(len(configurations), len(self))

    def _place(self, parameter: HyperParameter, values: Mapping[str, Any]) -> float:
        present = parameter.name in values
        if is_category(parameter):
            index = parameter.grid_index(values[parameter.name]) if present else None
            return float(parameter.grid_size if index is None else index)
        if not present or not isinstance(values[parameter.name], (int, float)):
            return ABSENT_NUMBER
        return min(max(parameter.value_to_prob(values[parameter.name]), 0.0), 1.0)

    def decode(self, row: Array) -> dict[str, Any]:
        """Return the configuration of a row: the values of the hyperparameters that are active."""
        places = {p.name: float(u) for p, u in zip(self.parameters, row, strict=True)}
        container = self.space.copy()
        container.begin({}, None)
        container.ensure_active_values(lambda p: _value(p, places.get(p.name, ABSENT_NUMBER)))
        return dict(container.values)

    def snap(self, rows: Array) -> Array:
        """Return rows moved to the values that they stand for."""
        return self.encode([self.decode(row) for row in rows])


def _value(parameter: HyperParameter, place: float) -> Any:
    if is_category(parameter):
        return parameter.grid_value(min(max(round(place), 0), parameter.grid_size - 1))
    return parameter.prob_to_value(min(max(place, 0.0), 1.0))
