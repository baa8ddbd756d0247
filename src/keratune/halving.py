"""Asynchronous successive halving by promotion: what its schedulers share.

    rungs       r, about r eta, r eta^2, ..., R epochs      r: min_epochs   R: max_epochs
    n_k         trials that have come to rung k
    eta         factor: the best 1 / eta of a rung go on
    quota(k)    floor(n_k / eta) trials of rung k may go on

A trial pauses at the end of a rung unless it is among the quota. A worker that asks resumes the
best paused trial that is among the quota of its rung, of the highest rung that has one; where there
is none, a new trial is started (Li et al., 2020, A System for Massively Parallel Hyperparameter
Tuning, arXiv 1810.05934, algorithm 2). When no new trial may be started the best of each rung
goes on in any case, and so does the best trial of all while it is paused, so that the winner has
been trained in full unless a budget has ended before. A trial ends at R epochs though its `fit`
would go on, and at a rung that it comes to without a finite loss.
"""

from __future__ import annotations

import math
from typing import ClassVar

from keratune.history import History
from keratune.rungs import LEAST_AGREEMENT, Rungs, ladder, rungs_of
from keratune.schedulers.base import CONTINUE, Action, Decision, Plan, Scheduler


class Halving(Scheduler):
    """Short trainings, the best of which go on. Subclasses say how long a trial trains at first.

    Args:
        min_epochs: Epochs of the first rung; default: 2, or 2 % of a training if that is more.
        factor: The best 1 / factor of a rung go on, to factor times more epochs; at least 2.
        max_epochs: Epochs of a training in full; default: what `search(epochs=...)` says.

    Raises:
        ValueError: An argument is out of range.
    """

    needs_max_epochs = True
    least_epochs: ClassVar[int] = 2

    def __init__(
        self, min_epochs: int | None = None, factor: int = 3, max_epochs: int | None = None
    ) -> None:
        """Check the arguments."""
        if factor < 2:
            raise ValueError(f"`factor` must be 2 or more. Received: factor={factor}. 3 is usual.")
        for name, value in (("min_epochs", min_epochs), ("max_epochs", max_epochs)):
            if value is not None and value < 1:
                raise ValueError(f"`{name}` must be 1 or more. Received: {name}={value}.")
        self.min_epochs = min_epochs
        self.factor = factor
        self.max_epochs = max_epochs

    def __repr__(self) -> str:
        """Show the arguments."""
        return (
            f"{type(self).__name__}(min_epochs={self.min_epochs}, factor={self.factor}, "
            f"max_epochs={self.max_epochs})"
        )

    def first_rung(self, history: History, rungs: Rungs) -> int:
        """Return the rung, counted from 0, that the next new trial trains to.

        By default it is the first whose losses predict those of the next.
        """
        for k in range(len(rungs) - 1):
            agreement = rungs.agreement(k, 1.0 / self.factor)
            if agreement is None or agreement >= LEAST_AGREEMENT:
                return k
        return len(rungs) - 1

    def plan(self, history: History, exhausted: bool = False) -> Plan:
        """Resume the best paused trial that may go on, or start a new one."""
        rungs = self.rungs(history)
        promoted = self._promotion(history, rungs, exhausted)
        if promoted is not None:
            return promoted
        if exhausted:
            idle = Plan(Action.WAIT if history.running else Action.STOP)
            return self._winners_promotion(history, rungs) or idle
        epochs = rungs.levels[self.first_rung(history, rungs)]
        return Plan(Action.START, epochs=epochs, reason=f"a new one, {_epochs(epochs)} at first")

    def decide(self, history: History, number: int) -> Decision:
        """Pause a trial at the end of a rung, from its first one on, unless it may go on."""
        rungs, record = self.rungs(history), history[number]
        if record.trained >= rungs.levels[-1]:
            return Decision(Action.STOP, f"trained in full, {_epochs(record.trained)}")
        k = rungs.arrived(history, number)
        if k is None or rungs.levels[k] < (record.epochs or 0):
            return CONTINUE
        if not math.isfinite(rungs[k].losses[number]):
            return Decision(Action.STOP, f"no finite loss in {_epochs(record.trained)}")
        place, count = rungs[k].place(number), len(rungs[k])
        standing = f"number {place + 1} of {count} after {_epochs(rungs.levels[k])}"
        if place < count // self.factor:
            return Decision(Action.CONTINUE, f"{standing}: goes on")
        return Decision(Action.PAUSE, f"{standing}: pauses")

    def rungs(self, history: History) -> Rungs:
        """Return the history's rungs."""
        whole = self.max_epochs or 1
        # 2 % is for trainings of hundreds of epochs.
        first = self.min_epochs or max(self.least_epochs, -(-whole // 50))
        return rungs_of(history, ladder(min(first, whole), whole, self.factor))

    def _promotion(self, history: History, rungs: Rungs, exhausted: bool) -> Plan | None:
        """Return the plan of resuming a paused trial, None where none may go on."""
        for k in reversed(range(len(rungs) - 1)):
            quota = len(rungs[k]) // self.factor
            number = rungs.promotable(history, k, max(quota, 1) if exhausted else quota)
            if number is not None:
                reason = (
                    f"number {rungs[k].place(number) + 1} of {len(rungs[k])} after "
                    f"{_epochs(rungs.levels[k])}: goes on to {_epochs(rungs.levels[k + 1])}"
                )
                return Plan(Action.RESUME, number, rungs.levels[k + 1], reason)
        if rungs.below:
            reason = f"goes on to {_epochs(rungs.levels[0])}: the budget had ended before"
            return Plan(Action.RESUME, min(rungs.below), rungs.levels[0], reason)
        return None

    def _winners_promotion(self, history: History, rungs: Rungs) -> Plan | None:
        """Return the plan of resuming the best trial, None where it does not wait for that.

        It may be paused though another stands before it in its rung: one whose other executions
        have come to less, or that was stopped.
        """
        for winner in history.best():
            k = rungs.entered(winner.number)
            if winner.number in history.paused and 0 < k < len(rungs):
                reason = f"the best of all: goes on to {_epochs(rungs.levels[k])}"
                return Plan(Action.RESUME, winner.number, rungs.levels[k], reason)
        return None


def _epochs(count: int) -> str:
    return f"{count} epoch{'s' * (count != 1)}"
