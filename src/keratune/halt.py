"""Whether the work that runs is to end before its time, and how soon.

A search owns one `Halt`. Signals, budgets of time and the parent of a worker process ask for the
end; the worker loop and the training look at it between trials, epochs and batches.
"""

from __future__ import annotations

import enum
import time

from keratune.errors import TrialHaltedError, TrialTimedOutError


class Urgency(enum.IntEnum):
    """Where the work is to end."""

    NONE = 0  # at its own end
    EPOCH = 1  # at the end of the epoch that runs
    BATCH = 2  # before the next batch


class Halt:
    """What a search is asked to do before its end. Requests may come from any thread.

    Attributes:
        urgency: How soon the work is to end.
        reason: Why, in words.
        pauses: Whether the trial in hand is put aside with its score so far, as by a budget;
            otherwise it waits in the queue for whoever comes next.
        until: When the search has to end, None for no limit; as `time.monotonic()` counts.
        trial_until: When the trial in hand has to end.
    """

    def __init__(self) -> None:
        """Ask for nothing."""
        self.urgency = Urgency.NONE
        self.reason = ""
        self.pauses = False
        self.until: float | None = None
        self.trial_until: float | None = None

    def request(self, urgency: Urgency, reason: str, *, pauses: bool = False) -> None:
        """Ask for the end; the most urgent request counts, the first one's reason stays."""
        self.reason = self.reason or reason
        self.pauses = self.pauses or (pauses and not self.urgency)
        self.urgency = max(self.urgency, urgency)

    def requested(self) -> bool:
        """Tell whether no further trial is to be begun."""
        if self.until is not None and time.monotonic() >= self.until:
            self.request(Urgency.BATCH, "the time is used up", pauses=True)
        return self.urgency > Urgency.NONE

    def begin_trial(self, seconds: float | None) -> None:
        """Start the clock of a trial, which may take so long; None: as long as it likes."""
        self.trial_until = None if seconds is None else time.monotonic() + seconds

    def check(self, where: Urgency) -> None:
        """Raise if the work has to end at such a place.

        Args:
            where: BATCH before a batch, EPOCH behind an epoch.

        Raises:
            TrialHaltedError: The search ends.
            TrialTimedOutError: The trial has taken too long.
        """
        if self.requested() and self.urgency >= where:
            raise TrialHaltedError(self.reason)
        if self.trial_until is not None and time.monotonic() >= self.trial_until:
            raise TrialTimedOutError("the trial has reached `trial_timeout`")
