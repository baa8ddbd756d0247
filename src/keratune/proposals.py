"""Proposals: the values of a study's next trial, kept from repeating what was tried."""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable, Mapping
from typing import Any

from keratune._random import stream
from keratune.algorithms.base import DRAWS, Algorithm, random_values, unseen_values
from keratune.configurations import searched
from keratune.errors import FatalValueError
from keratune.history import History
from keratune.parameters import HyperParameter
from keratune.structure import holds

# Suggestions in a row that repeat tried configurations before the rest of the space is enumerated.
# An algorithm that suggests the same again is not asked further, unless it was to share values.
COLLISIONS = 20

# Of these, suggestions that share values with others of their batch.
SHARING = 5

# Builds in a row that came to a tried configuration before the rest of the space is enumerated.
DISCARDS = 10


# Builds in a row that were rejected before every other suggestion is a random one: an algorithm may
# think best of a region that breaks the limits, and learns nothing from what was not trained.
BLIND = 3


class Verdict(enum.Enum):
    """Answers to a worker that are not a trial."""

    WAIT = "wait"  # running trials may open something new: ask again later
    STOP = "stop"  # nothing is left to be tried


Complete = Callable[[Mapping[str, Any]], dict[str, Any]]


def suggest(
    history: History,
    algorithm: Algorithm,
    number: int,
    complete: Complete,
    shared: Mapping[str, Any] | None = None,
) -> dict[str, Any] | Verdict:
    """Return a configuration of the algorithm's that no trial has tried.

    Args:
        history: What has happened.
        algorithm: What decides.
        number: The number that the trial will have.
        complete: Fills in what the algorithm leaves open.
        shared: Values that the configuration should have, see `Algorithm.suggest_batch`; as long
            as others with them were not tried.

    Returns:
        The configuration; WAIT when only running trials can open new ones; STOP when none is left.
        The user's constraint allows it, unless the algorithm is one that goes in order.
    """
    discards = history.discarded.get(number, 0)
    begun = discards + history.rejections(number)
    useless: list[dict[str, Any]] = []
    for attempt in range(begun, begun + COLLISIONS if discards < DISCARDS else begun):
        rng = stream(history.seed, number, "suggest", attempt)
        blind = history.rejections(number) >= BLIND and attempt % 2 and not algorithm.in_order
        sharing = shared if shared and attempt < begun + SHARING else {}
        if blind:
            with history.sharing(sharing):
                suggested: dict[str, Any] | None = random_values(history, rng)
        elif sharing:
            suggested = algorithm.suggest_batch(history, rng, sharing)
        else:
            suggested = algorithm.suggest(history, rng)
        if suggested is None and sharing:
            continue
        if suggested is None:
            return _wait_or_stop(history)
        values = complete(suggested)
        allowed = algorithm.in_order or history.allowed(values)
        if allowed and not history.tree.covers(values):
            return values
        if values in useless and not sharing:
            break
        useless.append(values)
    return _unseen(history, number, begun)


def shared(history: History, number: int, batch: int, max_trials: int | None) -> dict[str, Any]:
    """Return the values that a trial should share with the first of its batch.

    Args:
        history: What has happened.
        number: The number that the trial will have; the first of a batch is a multiple of its size.
        batch: The size.
        max_trials: How many trials there will be; None: nobody knows.

    Returns:
        The values that a model's program depends on. None for the first of a batch; where nothing
        else would be left to vary; where the space lacks one of them, because it was narrowed; and
        where there are so few programs that each comes up as often by itself.
    """
    structure, space, first = history.structure, history.space, number - number % batch
    if first == number or first not in history:
        return {}
    if max_trials is not None and structure.programs(space.space) * batch <= max_trials:
        return {}
    values = space.live(searched(history[first].values))
    held = {n: value for n, value in values.items() if holds(structure, space, n)}
    is_there = all(any(p.contains(v) for p in space.named(n)) for n, v in held.items())
    return held if is_there and len(held) < len(values) else {}


def _unseen(history: History, number: int, begun: int) -> dict[str, Any] | Verdict:
    """Return any configuration that is allowed and that no trial has tried, or a verdict.

    Raises:
        FatalValueError: The constraint has forbidden everything from the beginning.
    """
    rng = stream(history.seed, number, "unseen", begun)
    found = unseen_values(history, rng)
    if found is not None:
        return found
    drawn = random_values(history, rng)
    if not history.allowed(drawn):
        if not len(history):
            raise FatalValueError(
                f"`constraint` has forbidden each of {DRAWS} random configurations, {drawn} the "
                "last. Narrow the hyperparameters' ranges, or loosen the constraint."
            )
    elif not history.tree.covers(drawn):
        return drawn
    return _wait_or_stop(history)


def wished(
    history: History, wanted: Mapping[str, Any], fill: Callable[[HyperParameter, int], Any]
) -> dict[str, Any]:
    """Return a wish with its gaps filled in, so that it is allowed and untried if that is possible.

    Args:
        history: What has happened.
        wanted: The values that somebody wants tried.
        fill: Returns the value of a hyperparameter that is missing, other ones at each attempt.
    """
    values: dict[str, Any] = {}
    for attempt in range(COLLISIONS):
        values = completed(history, wanted, functools.partial(_filled, fill, attempt))
        if history.allowed(values) and not history.tree.covers(values):
            break
    return values


def _filled(
    fill: Callable[[HyperParameter, int], Any], attempt: int, parameter: HyperParameter
) -> Any:
    return fill(parameter, attempt)


def _wait_or_stop(history: History) -> Verdict:
    return Verdict.WAIT if history.running else Verdict.STOP


def completed(
    history: History, values: Mapping[str, Any], fill: Callable[[HyperParameter], Any]
) -> dict[str, Any]:
    """Return values with what they leave open filled in, as far as the space is known."""
    container = history.space.copy()
    container.begin(values, None)
    container.ensure_active_values(fill)
    return dict(container.values)
