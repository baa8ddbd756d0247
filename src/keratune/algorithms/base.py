"""The contract of search algorithms: a pure function from a history to a configuration."""

from __future__ import annotations

import abc
from typing import Any

import numpy as np

from keratune.history import History
from keratune.parameters import HyperParameter


class Algorithm(abc.ABC):
    """Decides what to try next. It owns no state: equal histories get equal suggestions."""

    @abc.abstractmethod
    def suggest(self, history: History, rng: np.random.Generator) -> dict[str, Any] | None:
        """Choose the next configuration.

        Args:
            history: What has happened; not to be changed.
            rng: The generator that belongs to the trial and this attempt.

        Returns:
            Values by name. What is missing is filled in by `fill`. None when there is nothing that
            the algorithm would try, given this history.
        """

    def fill(self, parameter: HyperParameter, history: History, rng: np.random.Generator) -> Any:
        """Choose the value of one hyperparameter that `suggest` could not know of.

        Args:
            parameter: The hyperparameter, declared just now by a build.
            history: What has happened.
            rng: The generator that belongs to the trial and this name.

        Returns:
            Its value; by default one at a uniformly random position.
        """
        return parameter.prob_to_value(float(rng.random()))


def random_values(
    history: History, rng: np.random.Generator, given: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return a random configuration of the space known so far.

    Args:
        history: What has happened.
        rng: Where chance comes from.
        given: Values that are chosen already.
    """
    container = history.space.copy()
    container.begin(given or {}, None)
    container.ensure_active_values(lambda p: p.prob_to_value(float(rng.random())))
    return dict(container.values)


# Places that the enumeration of a finite space visits before it gives up. A space in which twenty
# random configurations in a row had been tried is mostly used up, so few visits find what is left.
UNSEEN_VISITS = 20_000


def unseen_values(history: History, rng: np.random.Generator) -> dict[str, Any] | None:
    """Return a configuration that no trial has tried, or None when all have been.

    The space is walked in random order, one hyperparameter after the other, and a partial
    configuration is left as soon as the history's tree says that every completion repeats a trial.
    """
    budget = [UNSEEN_VISITS]
    return _complete(history, {}, rng, budget)


def _complete(
    history: History, given: dict[str, Any], rng: np.random.Generator, budget: list[int]
) -> dict[str, Any] | None:
    budget[0] -= 1
    if budget[0] < 0 or history.tree.covers(given):
        return None
    container = history.space.copy()
    container.begin(given, None)
    missing = next((p for p in container.active() if p.name not in given), None)
    if missing is None:
        return dict(given)
    for value in _values_in_random_order(missing, rng):
        found = _complete(history, {**given, missing.name: value}, rng, budget)
        if found is not None:
            return found
    return None


def _values_in_random_order(parameter: HyperParameter, rng: np.random.Generator) -> list[Any]:
    if parameter.size is None:
        return [parameter.prob_to_value(float(rng.random())) for _ in range(3)]
    if parameter.size > parameter.grid_size:  # whole numbers in a range without a step
        low, high = parameter.min_value, parameter.max_value  # type: ignore[attr-defined]
        return [int(value) for value in low + rng.permutation(high - low + 1)]
    return [parameter.grid_value(int(index)) for index in rng.permutation(parameter.grid_size)]
