"""Proposals: the values of a study's next trial, kept from repeating what was tried."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Any

from keratune._random import stream
from keratune.algorithms.base import Algorithm, unseen_values
from keratune.history import History
from keratune.parameters import HyperParameter

# Suggestions in a row that repeat tried configurations before the rest of the space is enumerated.
# An algorithm that suggests the same again is not asked further.
COLLISIONS = 20

# Builds in a row that came to a tried configuration before the rest of the space is enumerated.
DISCARDS = 10


class Verdict(enum.Enum):
    """Answers to a worker that are not a trial."""

    WAIT = "wait"  # running trials may open something new: ask again later
    STOP = "stop"  # nothing is left to be tried


Complete = Callable[[Mapping[str, Any]], dict[str, Any]]


def suggest(
    history: History, algorithm: Algorithm, number: int, complete: Complete
) -> dict[str, Any] | Verdict:
    """Return a configuration of the algorithm's that no trial has tried.

    Args:
        history: What has happened.
        algorithm: What decides.
        number: The number that the trial will have.
        complete: Fills in what the algorithm leaves open.

    Returns:
        The configuration; WAIT when only running trials can open new ones; STOP when none is left.
    """
    discards = history.discarded.get(number, 0)
    rejected: list[dict[str, Any]] = []
    for attempt in range(discards, discards + COLLISIONS if discards < DISCARDS else discards):
        rng = stream(history.seed, number, "suggest", attempt)
        suggested = algorithm.suggest(history, rng)
        if suggested is None:
            return _wait_or_stop(history)
        values = complete(suggested)
        if not history.tree.covers(values):
            return values
        if values in rejected:
            break
        rejected.append(values)
    found = unseen_values(history, stream(history.seed, number, "unseen", discards))
    return _wait_or_stop(history) if found is None else found


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
