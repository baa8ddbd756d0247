"""The contract of search algorithms: a pure function from a history to a configuration."""

from __future__ import annotations

import abc
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from keratune import _json, conditions
from keratune.configurations import Node
from keratune.history import History
from keratune.parameters import HyperParameter

# Random draws among which one is looked for that the user's constraint allows: where it allows one
# in 200, all fail once in 150 times.
DRAWS = 1000
WALK_DRAWS = 20  # the same in each part of the space, when what is left is walked through
# Places of the space that a walk through what is left comes past when draws have failed: about a
# second. Up to so many configurations a forbidding constraint hides none.
MOST_PLACES = 100_000


class Algorithm(abc.ABC):
    """Decides what to try next. It owns no state: equal histories get equal suggestions.

    Attributes:
        in_order: Whether its suggestions are tried in an order of its own, so that one which the
            user's constraint forbids is passed over and not replaced by another.
        in_batches: Whether it can go on from configurations of which some values were given to it.
        learns: Whether its suggestions depend on how trials have gone.
    """

    in_order = False
    in_batches = True
    learns = True

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

    def suggest_batch(
        self, history: History, rng: np.random.Generator, shared: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """Choose one more configuration of a batch that is trained in one compiled program.

        The batch's first configuration is what `suggest` has chosen. Those that follow share what
        the program depends on, such as numbers of units, and vary what it takes as an input, such
        as the learning rate. Each of them is asked for by itself, with those before among the
        trials that run.

        Args:
            history: What has happened; not to be changed.
            rng: The generator that belongs to the trial and this attempt.
            shared: Values by name that the configuration must have.

        Returns:
            As `suggest`. By default what `suggest` chooses where these values are given, by
            `History.shared`; an algorithm that does not read them has its own ones replaced.
        """
        with history.sharing(shared):
            suggested = self.suggest(history, rng)
        return None if suggested is None else {**suggested, **shared}

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
    history: History,
    rng: np.random.Generator,
    given: dict[str, Any] | None = None,
    draws: int = DRAWS,
) -> dict[str, Any]:
    """Return a random configuration of the space known so far, drawn until one is allowed.

    Args:
        history: What has happened.
        rng: Where chance comes from.
        given: Values that are chosen already, beside those that the batch shares.
        draws: How often to draw; where all are forbidden, the last is returned.
    """
    values: dict[str, Any] = {}
    for _ in range(draws):
        container, before = history.space.copy(), values
        container.begin({**history.shared, **(given or {})}, None)
        container.ensure_active_values(lambda p: p.prob_to_value(float(rng.random())))
        values = dict(container.values)
        if history.allowed(values) or values == before:  # equal ones: nothing is left to chance
            break
    return values


def unseen_values(history: History, rng: np.random.Generator) -> dict[str, Any] | None:
    """Return a configuration that no trial has tried, or None when all have been.

    The history's tree is walked in random order along what builds have read. A value that no trial
    has taken at its place opens new ground; a subtree whose every value was taken is left. So the
    answer is exact, and what no build reads is never enumerated. New ground of which the user's
    constraint forbids some random draws is walked through value by value, `MOST_PLACES` in all.
    """
    return _unseen(history, history.tree.root, {}, rng, iter(range(MOST_PLACES)))


def _unseen(
    history: History,
    node: Node,
    walk: dict[str, Any],
    rng: np.random.Generator,
    places: Iterator[int],
) -> dict[str, Any] | None:
    if node.ends:
        return None
    if not node.branches:
        return _new_ground(history, walk, rng, places)
    for name, children in node.branches.items():
        parameter = declared_at(history, node, name, walk)
        on_foot: Iterable[tuple[dict[str, Any], Node | None]]
        if parameter is None:  # a name that some oracle has added to the values
            on_foot = [(walk, child) for child in children.values()]
        else:
            values = _values_in_random_order(parameter, rng)
            on_foot = (({**walk, name: v}, children.get(_json.key(v))) for v in values)
        for further, child in on_foot:
            if child is not None:
                found = _unseen(history, child, further, rng, places)
            else:
                found = _new_ground(history, further, rng, places)
            if found is not None and not history.tree.covers(found) and history.allowed(found):
                return found
    return None


def _new_ground(
    history: History, walk: dict[str, Any], rng: np.random.Generator, places: Iterator[int]
) -> dict[str, Any] | None:
    """Return an allowed configuration that begins with a walk: by chance, else any."""
    drawn = random_values(history, rng, walk, WALK_DRAWS)
    if history.allowed(drawn):
        return drawn
    all_of = _completions(history, walk, rng, places)
    return next((v for v in all_of if history.allowed(v) and not history.tree.covers(v)), None)


def _completions(
    history: History, values: dict[str, Any], rng: np.random.Generator, places: Iterator[int]
) -> Iterator[dict[str, Any]]:
    """Yield the configurations that begin with values, while there are places to come past."""
    if next(places, None) is None:
        return
    for parameter in history.space.space:
        if parameter.name not in values and conditions.hold(parameter.conditions, values):
            for value in _values_in_random_order(parameter, rng):
                yield from _completions(history, {**values, parameter.name: value}, rng, places)
            return
    yield values


def declared_at(
    history: History, node: Node, name: str, values: dict[str, Any]
) -> HyperParameter | None:
    """Return what a name that builds read at a place of the tree may be, None where unknown."""
    if name in node.parameters:
        return node.parameters[name]
    named = history.space.named(name)
    return next((p for p in named if conditions.hold(p.conditions, values)), None)


def _values_in_random_order(parameter: HyperParameter, rng: np.random.Generator) -> Iterator[Any]:
    size = parameter.size
    if size is None:
        yield from (parameter.prob_to_value(float(rng.random())) for _ in range(3))
        return
    # Steps of a stride that has no divisor in common with the size come past each index once.
    at, stride = int(rng.random() * size), max(int(rng.random() * size), 1)
    while math.gcd(stride, size) > 1:
        stride += 1
    for _ in range(size):
        yield parameter.nth(at)
        at = (at + stride) % size
