"""The median rule: a trial stops when it is among the worse half at its epoch.

A trial goes on while the best loss that it has come to is among the better half of what other
trials had come to by the same epoch (Golovin et al., 2017, Google Vizier, section 3.2.2, there with
running averages); or among the best `percentile` percent of it, where that is not 50. Equals of the
last one that goes on go on too.
"""

from __future__ import annotations

from typing import final

from keratune.history import History
from keratune.rungs import rungs_of
from keratune.schedulers.base import CONTINUE, Action, Decision, Scheduler


@final
class Median(Scheduler):
    """Stops a trial that is not among the better half at its epoch, or another part of all.

    A stopped trial is not taken up again, so nothing is kept for it.

    Args:
        percentile: The best percent that go on, in (0, 100); smaller is stricter.
        min_epochs: Epochs in which no trial is stopped.
        min_trials: Other trials that must have come to the same epoch; at least 1. 5 is Optuna's
            and Vizier's default.
        max_epochs: Epochs of a training in full; default: what `search(epochs=...)` says.

    Raises:
        ValueError: An argument is out of range.

    Example:
        ```python
        tuner = keratune.RandomSearch(
            build_model, "val_loss", scheduler=keratune.schedulers.Median(percentile=25)
        )
        ```
    """

    needs_max_epochs = True

    def __init__(
        self,
        percentile: float = 50.0,
        min_epochs: int = 3,
        min_trials: int = 5,
        max_epochs: int | None = None,
    ) -> None:
        """Check the arguments."""
        if not 0.0 < percentile < 100.0:
            raise ValueError(
                f"`percentile` must lie between 0 and 100. Received: percentile={percentile}."
            )
        for name, value in (("min_epochs", min_epochs), ("min_trials", min_trials)):
            if value < 1:
                raise ValueError(f"`{name}` must be 1 or more. Received: {name}={value}.")
        self.percentile = percentile
        self.min_epochs = min_epochs
        self.min_trials = min_trials
        self.max_epochs = max_epochs

    def __repr__(self) -> str:
        """Show the arguments."""
        return (
            f"Median(percentile={self.percentile:g}, min_epochs={self.min_epochs}, "
            f"min_trials={self.min_trials}, max_epochs={self.max_epochs})"
        )

    def decide(self, history: History, number: int) -> Decision:
        """Stop a trial that is behind the percentile of its epoch, or trained in full."""
        rungs = rungs_of(history, range(1, (self.max_epochs or 1) + 1))
        trained = history[number].trained
        if trained >= len(rungs):
            return Decision(Action.STOP, f"trained in full, {trained} epochs")
        k = rungs.arrived(history, number)
        if k is None or rungs.levels[k] < self.min_epochs:
            return CONTINUE
        others = len(rungs[k]) - 1
        if others < self.min_trials:
            return CONTINUE
        place = rungs[k].better(number)
        if place <= others * self.percentile / 100.0:
            return CONTINUE
        return Decision(
            Action.STOP,
            f"number {place + 1} of {others + 1} after {rungs.levels[k]} epochs: stopped, the best "
            f"{self.percentile:g} % go on",
        )
