"""Rungs: how trials compare after the same number of epochs.

A rung is a number of epochs. A trial enters it with the best loss that it has come to by then, so
that trials of unequal length compare: one that a callback has ended early enters all higher rungs
with the best loss of its whole training. One that has failed leaves all rungs, so that it takes
nobody's place. Losses come from finished epochs, so the untrained model is never compared. What
keeps all outcomes and thresholds at its best epoch comes before what breaks one, as everywhere.

n: trials in a rung   eta: factor   k: rung, 0 for the lowest

All tables are caches of a history, kept up to date report by report with O(log n) comparisons. Read
at once or report by report, one history comes to the same tables.
"""

from __future__ import annotations

import bisect
import dataclasses
import math
import weakref
from collections.abc import Iterable, Sequence

import numpy as np
from scipy.special import ndtri

from keratune.history import History
from keratune.numerics.ranks import rank_correlation
from keratune.ranking import FrontRanking
from keratune.trial import TrialStatus

# Pairs of neighbouring rungs' losses before their agreement is judged, and the rank correlation
# below which early losses are taken to say too little.
FEWEST_PAIRS, LEAST_AGREEMENT = 12, 0.5
GROWTH = 1.5  # the agreement is judged anew when there are this many times more pairs

Entry = tuple[float, float, int]  # violation, loss, number


@dataclasses.dataclass
class Rung:
    """One rung's trials.

    Attributes:
        losses: Loss by number.
        violations: By number, how much is broken; 0 for nothing.
        reached: Numbers of the trials that have trained so far, in the order in which they came;
            those that a callback has ended before are not among them.
        ranking: (violation, loss, number) of all trials, the best first.
        waiting: Those of `ranking` that have not come to the next rung and may still do.
    """

    losses: dict[int, float] = dataclasses.field(default_factory=dict)
    violations: dict[int, float] = dataclasses.field(default_factory=dict)
    reached: dict[int, None] = dataclasses.field(default_factory=dict)
    ranking: list[Entry] = dataclasses.field(default_factory=list)
    waiting: list[Entry] = dataclasses.field(default_factory=list)

    def __len__(self) -> int:
        """Return the number of trials."""
        return len(self.ranking)

    def place(self, number: int) -> int:
        """Return a trial's place among those of the rung, from 0; ties go to the older trial."""
        return bisect.bisect_left(self.ranking, self._entry(number))

    def better(self, number: int) -> int:
        """Return how many trials are better than this one; equals are not."""
        violation, loss, _ = self._entry(number)
        return bisect.bisect_left(self.ranking, (violation, loss, -1))

    def in_line(self) -> Iterable[int]:
        """Return the numbers of those that wait, the best first."""
        return (number for *_, number in self.waiting)

    def add(
        self, number: int, loss: float, losses: Sequence[float] = (), violation: float = 0.0
    ) -> None:
        """Take in a trial with its loss, one for each objective, and how much it breaks."""
        self.losses[number], self.violations[number] = loss, violation
        bisect.insort(self.ranking, self._entry(number))
        bisect.insort(self.waiting, self._entry(number))

    def leave(self, number: int) -> None:
        """Let a trial go to the next rung, or drop it: it does not wait any more."""
        _remove(self.waiting, self._entry(number))

    def forget(self, number: int) -> None:
        """Remove a trial that starts anew or has failed."""
        self.leave(number)
        self.reached.pop(number, None)
        _remove(self.ranking, self._entry(number))
        del self.losses[number], self.violations[number]

    def _entry(self, number: int) -> Entry:
        return self.violations[number], self.losses[number], number


@dataclasses.dataclass
class FrontRung(Rung):
    """One rung's trials, compared by several objectives.

    Attributes:
        fronts: The order of the trials; see `keratune.ranking`.
    """

    fronts: FrontRanking = dataclasses.field(default_factory=FrontRanking)

    def place(self, number: int) -> int:
        """Return a trial's place among those of the rung, from 0."""
        return self.fronts.place(number) or 0

    def better(self, number: int) -> int:
        """Return how many trials come before this one."""
        return self.place(number)

    def in_line(self) -> Iterable[int]:
        """Return the numbers of those that wait, the best first."""
        waiting = {number for *_, number in self.waiting}
        return [number for number in self.fronts.best(len(self)) if number in waiting]

    def add(
        self, number: int, loss: float, losses: Sequence[float] = (), violation: float = 0.0
    ) -> None:
        """Take in a trial."""
        super().add(number, loss, losses, violation)
        self.fronts.add(number, losses, violation)

    def forget(self, number: int) -> None:
        """Remove a trial that starts anew or has failed."""
        super().forget(number)
        self.fronts.remove(number)


def _remove(ranking: list[Entry], entry: Entry) -> None:
    place = bisect.bisect_left(ranking, entry)
    if place < len(ranking) and ranking[place] == entry:
        del ranking[place]


class Rungs:
    """The rungs of a history.

    Args:
        levels: Epochs of each rung, increasing.
        objectives: Number of losses by which trials are compared.

    Attributes:
        levels: Epochs of each rung.
        rungs: The rungs.
        below: Numbers of the paused trials that have come to no rung: a budget ended before.
    """

    def __init__(self, levels: Sequence[int], objectives: int = 1) -> None:
        """Start with empty rungs."""
        self.levels = tuple(levels)
        self.rungs = [Rung() if objectives == 1 else FrontRung() for _ in self.levels]
        self.below: set[int] = set()
        self._best: dict[int, float] = {}
        # At that epoch: each objective's loss, and how much is broken.
        self._at_best: dict[int, tuple[Sequence[float], float]] = {}
        self._entered: dict[int, int] = {}
        self._last_entry: dict[int, int] = {}
        self._furthest: dict[int, int] = {}
        self._agreements: dict[tuple[int, int], float] = {}
        self._seen_reports = 0
        self._seen_changes = 0

    def __getitem__(self, k: int) -> Rung:
        """Return a rung."""
        return self.rungs[k]

    def __len__(self) -> int:
        """Return the number of rungs."""
        return len(self.rungs)

    def update(self, history: History) -> None:
        """Take in what has happened since."""
        for number, step in history.reports[self._seen_reports :]:
            self._report(history, number, step)
        self._seen_reports = len(history.reports)
        for number in dict.fromkeys(history.changes[self._seen_changes :]):
            self._change(history, number)
        self._seen_changes = len(history.changes)

    def _report(self, history: History, number: int, step: int) -> None:
        if step == 0 or number not in history:
            self._forget(number)
            return
        furthest = self._furthest.get(number, 0)
        if step > furthest:
            steps = [step]
        else:  # trained again, for want of a checkpoint: the newer losses count
            self._forget(number)
            steps = [s for s in sorted(history[number].losses) if s <= furthest]
        self._furthest[number] = max(step, furthest)
        for known in steps:
            loss = history[number].losses.get(known)
            if loss is not None:  # None: an epoch without validation
                self._train(history, number, known, loss)

    def _train(self, history: History, number: int, step: int, loss: float) -> None:
        """Take in that a trial has come to a loss at an epoch."""
        if number not in self._best or loss < self._best[number]:
            metrics = history[number].curves[0][step]
            objective = history.objective
            self._at_best[number] = objective.get_losses(metrics), objective.violation(metrics)
        best = self._best[number] = min(loss, self._best.get(number, math.inf))
        while self.entered(number) < len(self) and self.levels[self.entered(number)] <= step:
            self.rungs[self.entered(number)].reached[number] = None
            self._enter(number, best, step)

    def _enter(self, number: int, loss: float, step: int) -> None:
        k = self.entered(number)
        if k:
            self.rungs[k - 1].leave(number)
        self.rungs[k].add(number, loss, *self._at_best[number])
        self._entered[number], self._last_entry[number] = k + 1, step

    def _change(self, history: History, number: int) -> None:
        record = history[number] if number in history else None
        self.below.discard(number)
        if number in history.paused and not self.entered(number):
            self.below.add(number)
        if record is None or record.status == TrialStatus.FAILED:
            self._forget(number)
        elif record.finished and number in self._best:
            if record.status == TrialStatus.COMPLETED:
                while self.entered(number) < len(self):
                    self._enter(number, self._best[number], record.trained)
            k = self.entered(number)
            if k:
                self.rungs[k - 1].leave(number)

    def _forget(self, number: int) -> None:
        entered = self.entered(number)
        for rung in self.rungs[:entered]:
            rung.forget(number)
        if entered > 1:
            self._agreements.clear()
        for table in (self._best, self._entered, self._last_entry, self._furthest):
            table.pop(number, None)
        self._at_best.pop(number, None)

    def entered(self, number: int) -> int:
        """Return how many rungs a trial has come to."""
        return self._entered.get(number, 0)

    def arrived(self, history: History, number: int) -> int | None:
        """Return the rung that a trial has come to with its last report, None between rungs."""
        if self._last_entry.get(number) != history[number].trained:
            return None
        return self.entered(number) - 1

    def promotable(self, history: History, k: int, quota: int) -> int | None:
        """Return the best paused trial of a rung if it is among the best `quota` there."""
        rung = self.rungs[k]
        for number in rung.in_line():  # beside the paused ones only those that run or queue
            if number in history.paused:
                good = math.isfinite(rung.losses[number]) and rung.place(number) < quota
                return number if good else None
        return None

    def agreement(self, k: int, selected: float) -> float | None:
        """Return how well a rung's losses predict those of the next one.

        Spearman's rank correlation r of the trials that have come to both, corrected for their
        being the best of the rung (Thorndike, 1949, case 2):
        r u / sqrt(1 + r^2 (u^2 - 1)), u the ratio of the spreads before and behind the selection,
        that of a normal law of which the best part was taken.

        Args:
            k: The rung.
            selected: Part of a rung that comes to the next, in (0, 1).

        Returns:
            The corrected correlation in [-1, 1]; None while there are too few trials.
        """
        pairs = len(self.rungs[k + 1].reached)
        if pairs < FEWEST_PAIRS:
            return None
        judged = FEWEST_PAIRS
        while judged * GROWTH <= pairs:
            judged = int(judged * GROWTH)
        if (k, judged) not in self._agreements:
            self._agreements[k, judged] = self._correlation(k, judged)
        r = self._agreements[k, judged]
        border = float(ndtri(1.0 - selected))
        mean = math.exp(-0.5 * border**2) / math.sqrt(2.0 * math.pi) / selected
        u = 1.0 / math.sqrt(1.0 - mean * (mean - border))
        return r * u / math.sqrt(1.0 + r**2 * (u**2 - 1.0))

    def _correlation(self, k: int, judged: int) -> float:
        """Return the rank correlation of two rungs, of the first trials that came to both."""
        numbers = list(self.rungs[k + 1].reached)[:judged]
        before = np.array([self.rungs[k].losses[number] for number in numbers])
        behind = np.array([self.rungs[k + 1].losses[number] for number in numbers])
        if np.all(before == before[0]) or np.all(behind == behind[0]):
            return 1.0  # a plateau says nothing against the rung
        return rank_correlation(before, behind)


_caches: weakref.WeakKeyDictionary[History, dict[tuple[int, ...], Rungs]] = (
    weakref.WeakKeyDictionary()
)


def rungs_of(history: History, levels: Sequence[int]) -> Rungs:
    """Return a history's rungs, up to date."""
    cache = _caches.setdefault(history, {})
    key = (history.objective.count, *levels)
    if key not in cache:
        cache[key] = Rungs(levels, history.objective.count)
    cache[key].update(history)
    return cache[key]


def ladder(min_epochs: int, max_epochs: int, factor: int) -> list[int]:
    """Return geometric levels from the lowest rung to the whole training, about `factor` apart.

    Args:
        min_epochs: The lowest rung, at least 1.
        max_epochs: The whole training.
        factor: About how many times more epochs each rung has.

    Example:
        ```python
        ladder(2, 50, 3)  # [2, 6, 17, 50]
        ```
    """
    if min_epochs >= max_epochs:
        return [max_epochs]
    steps = max(round(math.log(max_epochs / min_epochs, factor)), 1)
    return [round(min_epochs * (max_epochs / min_epochs) ** (k / steps)) for k in range(steps + 1)]
