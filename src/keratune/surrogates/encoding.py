"""Configurations as rows of the unit cube, for algorithms that learn.

Each hyperparameter that has more than one value is a coordinate. Ranges and ordered choices are
numbers: their position in [0, 1]. Other choices and booleans are categories: their index. A
coordinate whose hyperparameter a configuration does not have is 0.5, or a category of its own, so
that within a branch what belongs to another branch adds no distance.

Which coordinates a row has is known from declared conditions. Builds also branch by plain Python
(`for i in range(layers)`); `learn_activity` finds such rules in what builds have read.

n: configurations   d: coordinates   X: (n, d)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keratune.parameters import Boolean, Choice, Fixed, HyperParameter
from keratune.space import HyperParameters

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

ABSENT_NUMBER = 0.5

# A number with more different values than this is treated as continuous.
MOST_LEVELS = 512


def is_category(parameter: HyperParameter) -> bool:
    """Tell whether a hyperparameter's values have no order."""
    return isinstance(parameter, Boolean) or (
        isinstance(parameter, Choice) and not parameter.ordered
    )


@dataclasses.dataclass(frozen=True)
class Rule:
    """A coordinate is active where its parent is, with a place among some or within a range.

    Attributes:
        parent: The parent's coordinate.
        among: Places (category indices) that make the coordinate active; None: the range decides.
        low: Smallest place that does.
        high: Largest place that does.
    """

    parent: int
    among: tuple[float, ...] | None = None
    low: float = -np.inf
    high: float = np.inf

    def holds(self, X: Array) -> Mask:
        """Return for each row whether the rule holds, (n,)."""
        places = X[:, self.parent]
        if self.among is not None:
            return np.isin(places, self.among)
        return (places >= self.low) & (places <= self.high)


class Encoding:
    """The coordinates of a space.

    Args:
        space: The space; hyperparameters with one value are left out, of several with one name the
            first counts.

    Attributes:
        parameters: The hyperparameter of each coordinate, d of them.
        categories: (d,) number of categories of each coordinate, that of absence included; 0 for
            numbers.
        levels: The places of each number that has few different values, in ascending order; None
            for categories and continuous numbers.
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
        self.levels = [None if is_category(p) else _levels(p) for p in self.parameters]
        self._index = {p.name: j for j, p in enumerate(self.parameters)}
        self._pinned: dict[int, float] = {}
        # Alternatives, each a list of rules that must all hold; no entry: always active.
        self._declared: dict[int, list[list[Rule]]] = {}
        self._learnt: dict[int, list[list[Rule]]] = {}
        for name, j in self._index.items():
            alternatives = [self._declared_rules(p) for p in space.space if p.name == name]
            if all(alternatives):
                self._declared[j] = alternatives

    def __len__(self) -> int:
        """Return the number of coordinates."""
        return len(self.parameters)

    def _declared_rules(self, parameter: HyperParameter) -> list[Rule]:
        rules = []
        for condition in parameter.conditions:
            j = self._index.get(condition.name)
            if j is not None and (is_category(self.parameters[j]) or self.levels[j] is not None):
                parent = self.parameters[j]
                values = [parent.nth(index) for index in range(parent.size or 0)]
                holding = [v for v in values if condition.is_active({condition.name: v})]
                rules.append(Rule(j, tuple(self._place(parent, {parent.name: v}) for v in holding)))
        return rules

    # ------------------------------------------------------------------ values and rows

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

    def snap(self, X: Array) -> Array:
        """Return rows moved to the nearest values, (n, d), with what they do not have absent.

        Where coordinates are pinned, rows have their places.
        """
        moved = X.copy()
        for j, place in self._pinned.items():
            moved[:, j] = place
        for j, (count, levels) in enumerate(zip(self.categories, self.levels, strict=True)):
            places = moved[:, j]
            if count:
                moved[:, j] = np.clip(np.round(places), 0, count - 1)
            elif levels is None:
                moved[:, j] = np.clip(places, 0.0, 1.0)
            else:
                above = np.clip(np.searchsorted(levels, places), 1, len(levels) - 1)
                lower, upper = levels[above - 1], levels[above]
                moved[:, j] = np.where(places - lower <= upper - places, lower, upper)
        for j, (count, active) in enumerate(
            zip(self.categories, self.active(moved).T, strict=True)
        ):
            if count:
                present = np.minimum(moved[:, j], count - 2)
                moved[:, j] = np.where(active, present, count - 1)
            else:
                moved[:, j] = np.where(active, moved[:, j], ABSENT_NUMBER)
        return moved

    def pin(self, values: Mapping[str, Any]) -> None:
        """Have all rows that are snapped or spread share these values; none frees them again."""
        self._pinned = {
            j: self._place(self.parameters[j], values)
            for name, j in self._index.items()
            if name in values
        }

    def spread(self, U: Array) -> Array:
        """Return the rows that points of the unit cube (n, d) stand for, each value as likely."""
        X = U.copy()
        for j in np.flatnonzero(self.categories):
            count = self.categories[j] - 1
            X[:, j] = np.minimum((U[:, j] * count).astype(int), count - 1)
        return self.snap(X)

    # ------------------------------------------------------------------ activity

    def present(self, configurations: Sequence[Mapping[str, Any]]) -> Mask:
        """Return which coordinates configurations have, (n, d)."""
        rows = [[p.name in values for p in self.parameters] for values in configurations]
        return np.array(rows, dtype=bool).reshape(len(configurations), len(self))

    def active(self, X: Array) -> Mask:
        """Return which coordinates rows have, as far as rules are known, (n, d)."""
        found = np.ones(X.shape, dtype=bool)
        for j, alternatives in sorted({**self._learnt, **self._declared}.items()):
            holds = [[rule.holds(X) & found[:, rule.parent] for rule in r] for r in alternatives]
            found[:, j] = np.any([np.all(all_of, axis=0) for all_of in holds], axis=0)
        return found

    def learn_activity(self, X: Array, present: Mask) -> None:
        """Find rules for coordinates that some configurations lack and no condition explains.

        A rule is taken when no configuration contradicts it: the coordinate is there exactly
        where one earlier coordinate has certain places (categories) or lies on one side of a
        threshold (numbers). Of several, the first counts.

        Args:
            X: (n, d) configurations that builds have read.
            present: (n, d) which coordinates they have.
        """
        self._learnt = {}
        for j in np.flatnonzero(~present.all(axis=0)):
            if j not in self._declared:
                rules = (self._rule(X, present, int(j), parent) for parent in range(j))
                rule = next((rule for rule in rules if rule is not None), None)
                if rule is not None:
                    self._learnt[int(j)] = [[rule]]

    def _rule(self, X: Array, present: Mask, j: int, parent: int) -> Rule | None:
        if (present[:, j] & ~present[:, parent]).any():
            return None
        with_parent = present[:, parent]
        places, there = X[with_parent, parent], present[with_parent, j]
        if not there.any() or there.all():
            return Rule(parent) if there.any() and not with_parent.all() else None
        if self.categories[parent]:
            never = set(places[~there])
            if never & set(places[there]):
                return None
            others = set(range(self.categories[parent] - 1)) - {int(place) for place in never}
            return Rule(parent, tuple(float(place) for place in sorted(others)))
        if places[there].min() > places[~there].max():
            return Rule(parent, low=0.5 * float(places[there].min() + places[~there].max()))
        if places[there].max() < places[~there].min():
            return Rule(parent, high=0.5 * float(places[there].max() + places[~there].min()))
        return None


def _levels(parameter: HyperParameter) -> Array | None:
    size = parameter.size
    if size is None or size > MOST_LEVELS:
        return None
    return np.unique([parameter.value_to_prob(parameter.nth(index)) for index in range(size)])


def _value(parameter: HyperParameter, place: float) -> Any:
    if is_category(parameter):
        return parameter.grid_value(min(max(round(place), 0), parameter.grid_size - 1))
    return parameter.prob_to_value(min(max(place, 0.0), 1.0))
