"""Losses of trials that were not trained to their end, as if they had been.

A scheduler pauses or stops most trials early. The loss that such a trial has come to is worse than
what it would be in the end, and would mislead a surrogate of whole trainings; what the trials that
went further have gained since then says by how much (`keratune.numerics.gains`). A trial that a
callback has ended is complete: it comes to no more.

The trials' best losses by level are a cache of the history, brought up to date by its reports and
changes; without it the same losses come out.

n: trials   L: levels
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from keratune.history import History
from keratune.numerics import curves, gains
from keratune.trial import TrialStatus

Array = NDArray[np.float64]


class _Levels:
    """Best losses of a history's trials by level."""

    def __init__(self) -> None:
        """Start with no trials."""
        self.reports = self.changes = 0  # how many of the history's are in the table
        self.trained: dict[int, int] = {}
        self.levels: list[int] = []
        self.best = np.zeros((0, 0))

    def update(self, history: History) -> None:
        """Take in what has happened since."""
        stale = {number for number, _ in history.reports[self.reports :]}
        stale.update(history.changes[self.changes :])
        self.reports, self.changes = len(history.reports), len(history.changes)
        for number in stale:
            steps = history[number].losses if number in history else {}
            self.trained[number] = max(steps, default=0)
        whole = max(self.trained.values(), default=0)
        if whole and (not self.levels or whole != self.levels[-1]):
            self.levels = gains.levels_of(whole)
            self.best = np.zeros((0, len(self.levels)))
            stale = set(self.trained)
        self._read(history, stale)

    def _read(self, history: History, numbers: set[int]) -> None:
        if numbers and max(numbers) >= len(self.best):
            room = max(2 * len(self.best), max(numbers) + 1) - len(self.best)
            self.best = np.pad(self.best, ((0, room), (0, 0)), constant_values=math.nan)
        for number in numbers:
            self.best[number] = math.nan
            trained = self.trained[number]
            if trained:
                record = history[number]
                complete = record.status == TrialStatus.COMPLETED
                come_to = [level for level in self.levels if complete or level <= trained]
                self.best[number, : len(come_to)] = curves.best_so_far(record.losses, come_to)


_tables: weakref.WeakKeyDictionary[History, _Levels] = weakref.WeakKeyDictionary()


def in_the_end(history: History, numbers: Sequence[int], losses: Array) -> tuple[Array, Array]:
    """Return losses as at the end of whole trainings, and the variances of what was added.

    Args:
        history: What has happened.
        numbers: (n,) trials that have a loss.
        losses: (n,) their losses, finite.
    """
    table = _tables.setdefault(history, _Levels())
    table.update(history)
    moved, variances = losses.copy(), np.zeros(len(losses))
    trained = np.array([table.trained.get(number, 0) for number in numbers], dtype=int)
    short = np.array([history[number].status != TrialStatus.COMPLETED for number in numbers], bool)
    short &= (trained > 0) & (trained < (table.levels[-1] if table.levels else 0))
    if short.any():
        levels = np.array(table.levels)
        moved[short], variances[short] = gains.in_the_end(
            table.best, levels, losses[short], trained[short]
        )
    return moved, variances
