"""Grid search over a space that is declared by running it.

A configuration is a walk of decisions, in the order in which the build reads them. Each
hyperparameter's values are ordered: the default first, then the others. The successor of a walk
advances its last decision that can be advanced and drops those behind it, which the next build
takes afresh, defaults first. Following successors from the defaults visits every leaf of the tree
of decisions once, the last hyperparameter fastest, whatever plain `if` or `for` the build holds:

    a in {u, v}, default v; b in {1, 2, 3}, default 2:   (v,2) (v,1) (v,3) (u,2) (u,1) (u,3)

A successor is followed to the leaf that defaults lead to from there, along what builds have read;
when a trial has taken that leaf, the successor is covered. The next configuration is the uncovered
successor of the oldest trial that has one. With several workers running trials count with the
values known so far, and a hyperparameter that shows up late only uncovers successors.

What the user's constraint forbids is passed over: a walk that it forbids has its successor in its
place. After `MOST_SKIPS` of them in a row one is proposed nevertheless. It is rejected, which the
journal remembers, and the walk goes on behind it, so that a suggestion's cost is bounded.
"""

from __future__ import annotations

import math
import weakref
from typing import Any, final

import numpy as np

from keratune import _json, conditions
from keratune.algorithms.base import Algorithm, declared_at
from keratune.configurations import ConfigurationTree, Node
from keratune.history import History, Record, Rejection
from keratune.parameters import HyperParameter
from keratune.proposals import completed
from keratune.space import HyperParameters

MOST_SKIPS = 2000  # forbidden walks that one suggestion passes over: about a tenth of a second


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


def successor(space: HyperParameters, record: Record | Rejection) -> dict[str, Any] | None:
    """Return the decisions that come behind a trial's walk, None behind the last of all."""
    values = record.values
    names = list(values)
    for place in range(len(names) - 1, -1, -1):
        name = names[place]
        for parameter in [record.variants[name]] if name in record.variants else space.named(name):
            if not conditions.hold(parameter.conditions, values):
                continue
            advanced = next_value(parameter, values[name])
            if advanced is not None:
                return {**{n: values[n] for n in names[:place]}, name: advanced[0]}
    return None


def untaken(history: History, node: Node, values: dict[str, Any]) -> dict[str, Any] | None:
    """Return decisions with the defaults that builds come past behind them.

    Args:
        history: What has happened.
        node: The place of the tree from which to go on.
        values: The decisions.

    Returns:
        The decisions, or None when they lead to a leaf that some trial has taken.
    """
    if node.ends:
        return None
    further = values
    for name, children in node.branches.items():
        here = values
        if name not in values:
            parameter = declared_at(history, node, name, values)
            if parameter is None:
                continue
            here = {**values, name: parameter.default}
        child = children.get(_json.key(here[name]))
        reached = here if child is None else untaken(history, child, here)
        if reached is None:
            return None
        further = reached
    return further


class _Frontier:
    """What a history means for the grid; computed from it step by step, and nothing else.

    Candidates are keyed by the trial that they are behind; those behind a rejected configuration
    come right before those behind the trial that has got its number.
    """

    def __init__(self, history: History) -> None:
        self.allowed = history.allowed
        self.seen = self.seen_rejected = 0
        self.candidates: dict[tuple[int, float], dict[str, Any]] = {(-1, 0): {}}  # the defaults
        self.confirmed = ConfigurationTree()
        self.walks: dict[int, dict[str, Any]] = {}

    def update(self, history: History) -> None:
        """Take in what has changed."""
        for number in dict.fromkeys(history.changes[self.seen :]):
            if number in self.walks:
                self.confirmed.remove(self.walks.pop(number))
            self.candidates.pop((number, math.inf), None)
            if number in history:
                self._take(history, history[number])
        self.seen = len(history.changes)
        for rejection in history.rejected[self.seen_rejected :]:
            self.confirmed.add(rejection.values, rejection.variants)
            self._follow(history, rejection, self.seen_rejected)
            self.seen_rejected += 1

    def _take(self, history: History, record: Record) -> None:
        if record.settled:
            self.walks[record.number] = dict(record.values)
            self.confirmed.add(record.values, record.variants)
        self._follow(history, record, math.inf)

    def _follow(self, history: History, walked: Record | Rejection, order: float) -> None:
        behind = successor(history.space, walked)
        if behind is not None:
            self.candidates[walked.number, order] = behind

    def uncovered(self, history: History) -> dict[str, Any] | None:
        """Return the uncovered successor of the oldest trial that has one."""
        for place in sorted(self.candidates):
            values = self._allowed(history, place)
            if values is not None:
                return values
            behind = self.candidates.get(place)
            if behind and untaken(history, self.confirmed.root, behind) is None:
                del self.candidates[place]
        return None

    def _allowed(self, history: History, place: tuple[int, float]) -> dict[str, Any] | None:
        """Move a candidate on to the next walk that is allowed; None where that is covered."""
        values = None
        for _ in range(MOST_SKIPS):
            values = untaken(history, history.tree.root, self.candidates[place])
            if values is None:
                return None
            whole = completed(history, values, lambda parameter: parameter.default)
            if self.allowed(whole):
                return values
            forbidden = Rejection(history.next_number, whole, {}, "", {})
            behind = successor(history.space, forbidden)
            if behind is None:
                del self.candidates[place]
                return None
            self.candidates[place] = behind
        return values


_frontiers: weakref.WeakKeyDictionary[History, _Frontier] = weakref.WeakKeyDictionary()


@final
class GridSearch(Algorithm):
    """Tries every combination of values, each once."""

    learns = False

    in_order = True

    def suggest(self, history: History, rng: np.random.Generator) -> dict[str, Any] | None:
        """Return the next walk's decisions; None while only running trials can open new ones."""
        frontier = _frontiers.get(history)
        if frontier is None or frontier.allowed is not history.allowed:
            frontier = _frontiers[history] = _Frontier(history)
        frontier.update(history)
        return frontier.uncovered(history)

    def fill(self, parameter: HyperParameter, history: History, rng: np.random.Generator) -> Any:
        """Return the default: the first of the order."""
        return parameter.default
