"""Grid search over a space that is declared by running it.

A configuration is a walk of decisions, in the order in which the build reads them. Each
hyperparameter's values are ordered: the default first, then the others. The successor of a walk
advances its last decision that can be advanced and drops those behind it, which the next build
takes afresh, defaults first. Following successors from the defaults visits every leaf of the tree
of decisions once, the last hyperparameter fastest, whatever plain `if` or `for` the build holds:

    a in {u, v}, default v; b in {1, 2, 3}, default 2:   (v,2) (v,1) (v,3) (u,2) (u,1) (u,3)

A successor that some trial has taken is covered. The next configuration is the uncovered successor
of the oldest trial that has one; with several workers running trials count with the values known
so far, and a hyperparameter that shows up late only uncovers successors.
"""

from __future__ import annotations

import weakref
from typing import Any, final

import numpy as np

from keratune.algorithms.base import Algorithm
from keratune.configurations import ConfigurationTree, decisions
from keratune.history import History, Record
from keratune.parameters import HyperParameter
from keratune.space import HyperParameters


def value_at(parameter: HyperParameter, place: int) -> Any:
    """Return the value at a place of the order: the default first, then the others."""
    if place == 0:
        return parameter.default
    default = parameter.grid_index(parameter.default)
    index = place - 1
    return parameter.grid_value(index + 1 if default is not None and index >= default else index)


def next_value(parameter: HyperParameter, value: Any) -> tuple[Any] | None:
    """Return the value behind `value` in the order, in a tuple; None behind the last."""
    default, index = parameter.grid_index(parameter.default), parameter.grid_index(value)
    count = parameter.grid_size + (default is None)
    if index is not None and index == default:
        place = 0
    elif index is not None:
        place = index + 1 if default is None or index < default else index
    elif value == parameter.default:
        place = 0
    else:
        return None
    return (value_at(parameter, place + 1),) if place + 1 < count else None


def successor(space: HyperParameters, values: dict[str, Any]) -> dict[str, Any] | None:
    """Return the decisions that come behind a walk, None behind the last of its subtree."""
    names = list(values)
    container = space.copy()
    container.begin(values, None)
    for place in range(len(names) - 1, -1, -1):
        name = names[place]
        for parameter in filter(container.is_active, space.named(name)):
            advanced = next_value(parameter, values[name])
            if advanced is not None:
                return {**{n: values[n] for n in names[:place]}, name: advanced[0]}
    return None


class _Frontier:
    """What a history means for the grid; computed from it step by step, and nothing else."""

    def __init__(self) -> None:
        self.seen = 0
        self.candidates: dict[int, dict[str, Any]] = {}
        self.confirmed = ConfigurationTree()
        self.walks: dict[int, dict[str, Any]] = {}

    def update(self, history: History) -> None:
        """Take in what has changed."""
        for number in dict.fromkeys(history.changes[self.seen :]):
            if number in self.walks:
                self.confirmed.remove(self.walks.pop(number))
            self.candidates.pop(number, None)
            if number in history:
                self._take(history, history[number])
        self.seen = len(history.changes)

    def _take(self, history: History, record: Record) -> None:
        if record.settled:
            self.walks[record.number] = dict(record.values)
            self.confirmed.add(record.values)
        behind = successor(history.space, record.values)
        if behind is not None:
            self.candidates[record.number] = behind

    def uncovered(self, history: History) -> dict[str, Any] | None:
        """Return the uncovered successor of the oldest trial that has one."""
        for number in sorted(self.candidates):
            walk = decisions(self.candidates[number])
            if not history.tree.has_prefix(walk):
                return self.candidates[number]
            if self.confirmed.has_prefix(walk):
                del self.candidates[number]
        return None


_frontiers: weakref.WeakKeyDictionary[History, _Frontier] = weakref.WeakKeyDictionary()


@final
class GridSearch(Algorithm):
    """Tries every combination of values, each once."""

    def suggest(self, history: History, rng: np.random.Generator) -> dict[str, Any] | None:
        """Return the next walk's decisions; None while only running trials can open new ones."""
        defaults = history.space.copy()
        defaults.begin({}, None)
        defaults.ensure_active_values(lambda parameter: parameter.default)
        if not history.tree.covers(defaults.values):
            return dict(defaults.values)
        frontier = _frontiers.setdefault(history, _Frontier())
        frontier.update(history)
        return frontier.uncovered(history)

    def fill(self, parameter: HyperParameter, history: History, rng: np.random.Generator) -> Any:
        """Return the default: the first of the order."""
        return parameter.default
