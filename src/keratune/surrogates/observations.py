"""What a study's trials teach a surrogate: rows, losses, and how certain the losses are.

This is the one place where trials become data. Encoding a trial costs far more than reading its
row, so rows are cached by the history they were computed from and brought up to date by
`History.changes`; without the cache the same observations come out.

n: trials learnt from   d: coordinates
"""

from __future__ import annotations

import dataclasses
import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keratune.history import History
from keratune.parameters import HyperParameter
from keratune.surrogates import short_trainings
from keratune.surrogates.encoding import Encoding
from keratune.trial import TrialStatus

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Observations:
    """The trials of a study as arrays.

    Attributes:
        encoding: The coordinates.
        X: (n, d) rows of the trials that have a score: those that ended, in that order, then those
            that are paused, then what was given from elsewhere.
        losses: (n,) their losses, smaller is better; where a trial was not trained to its end,
            what it would have come to (`surrogates.short_trainings`).
        noise: (n,) variances of the losses that are known, beside what is to be learnt; 0 where
            a trial was trained to its end.
        failed: (f, d) rows of the failed trials, and of configurations that were rejected.
        pending: (p, d) rows of the trials that run, wait for a worker, or have no score yet.
    """

    encoding: Encoding
    X: Array
    losses: Array
    noise: Array
    failed: Array
    pending: Array

    def tried(self, row: Array) -> bool:
        """Tell whether some trial has this row (d,)."""
        return any(
            bool((rows == row).all(axis=1).any()) for rows in (self.X, self.pending, self.failed)
        )


class _Table:
    """The rows of a history's trials by their numbers."""

    def __init__(self, history: History) -> None:
        self.parameters: list[HyperParameter] = history.space.space
        self.encoding = Encoding(history.space.copy())
        self.read = 0  # how many of the history's changes are in the table
        self.rows = np.zeros((0, len(self.encoding)))
        self.present = np.zeros(self.rows.shape, dtype=bool)
        self._given: list[tuple[dict[str, Any], float]] = []
        self._given_rows = np.zeros((0, len(self.encoding)))
        self._rejected_rows = np.zeros((0, len(self.encoding)))

    def rejected(self, history: History) -> Array:
        """Return the rows of the configurations that were rejected, (r, d)."""
        fresh = history.rejected[len(self._rejected_rows) :]
        if fresh:
            rows = self.encoding.encode([rejection.values for rejection in fresh])
            self._rejected_rows = np.vstack([self._rejected_rows, rows])
        return self._rejected_rows

    def given(self, history: History) -> Array:
        """Return the rows of what was given from elsewhere, (g, d)."""
        if self._given is not history.given:  # another list: by another objective
            self._given, self._given_rows = history.given, self._given_rows[:0]
        fresh = history.given[len(self._given_rows) :]
        if fresh:
            rows = self.encoding.encode([values for values, _ in fresh])
            self._given_rows = np.vstack([self._given_rows, rows])
        return self._given_rows

    def is_for(self, history: History) -> bool:
        """Tell whether the history's space is still the one that the rows belong to."""
        now = history.space.space
        return len(now) == len(self.parameters) and all(map(_is_same, now, self.parameters))

    def update(self, history: History) -> None:
        changed = {n for n in history.changes[self.read :] if n in history}
        self.read = len(history.changes)
        if not changed:
            return
        numbers = sorted(changed)
        if numbers[-1] >= len(self.rows):
            room = max(2 * len(self.rows), numbers[-1] + 1) - len(self.rows)
            self.rows = np.pad(self.rows, ((0, room), (0, 0)))
            self.present = np.pad(self.present, ((0, room), (0, 0)))
        configurations = [history[number].values for number in numbers]
        self.rows[numbers] = self.encoding.encode(configurations)
        self.present[numbers] = self.encoding.present(configurations)


def _is_same(one: object, other: object) -> bool:
    return one is other


_tables: weakref.WeakKeyDictionary[History, _Table] = weakref.WeakKeyDictionary()


def observe(history: History) -> Observations:
    """Return what a history's trials teach.

    Args:
        history: What has happened.
    """
    table = _tables.get(history)
    if table is None or not table.is_for(history):
        table = _tables[history] = _Table(history)
    table.update(history)
    scored, losses, failed, unscored = [], [], [], []
    for number in [*history.ended, *sorted(history.paused)]:
        record = history[number]
        if record.status == TrialStatus.FAILED:
            failed.append(number)
        elif record.score is None:
            unscored.append(number)
        else:
            scored.append(number)
            losses.append(history.objective.to_loss(record.score))
    pending = sorted(history.running.union(history.queue, unscored))
    built = [number for number in history.ended if history[number].settled]
    table.encoding.learn_activity(table.rows[built], table.present[built])
    table.encoding.pin({})
    waiting = table.encoding.snap(table.rows[pending])  # without what their builds will not read
    table.encoding.pin(history.shared)
    own, noise = short_trainings.in_the_end(history, scored, np.array(losses, dtype=float))
    given = np.array([loss for _, loss in history.given], dtype=float)
    return Observations(
        table.encoding,
        np.vstack([table.rows[scored], table.given(history)]),
        np.concatenate([own, given]),
        np.concatenate([noise, np.zeros(len(given))]),
        np.vstack([table.rows[failed], table.rejected(history)]),
        waiting,
    )
