"""Showing a search that runs elsewhere: what has changed in the history is told to the display.

The workers of other processes write the journal, and this process reads it. A history lists the
numbers of the trials that have changed, and the epochs that were reported, in order: what comes
behind the places that were shown last is news, so that each event is shown once, at a cost that
does not depend on the number of trials.
"""

from __future__ import annotations

import time

from keratune.history import History, Record
from keratune.reporting.progress import Progress
from keratune.trial import TrialStatus

# What a display was told of a trial last: where in the journal a worker had taken it, how often it
# was started anew by then, and its status.
Shown = tuple[int, int, str]

# Seconds that the line of a failed trial waits for what the trial has raised, which comes to this
# process another way and is to stand before it.
PATIENCE = 1.0


class Following:
    """Tells a display what others have written.

    Args:
        history: What this process has read of the journal; read on before each `update`.
        progress: The display.
    """

    def __init__(self, history: History, progress: Progress) -> None:
        """Take what has happened so far as shown."""
        self._history = history
        self._progress = progress
        self._changes = len(history.changes)
        self._reports = len(history.reports)
        self._shown: dict[int, Shown] = {
            number: (history[number].lease, history[number].attempt, TrialStatus.INVALID)
            for number in history.queue
        }
        # Waiting and running trials: starting and requeuing one is no change to what it is.
        self._open = {*history.queue, *history.running}
        self._failures: set[tuple[int, int]] = set()  # (trial, lease) whose failure was shown
        self._held: dict[tuple[int, int], float] = {}  # since when one of these is waited for

    def trial_failed(self, number: int, kind: str, excerpt: str) -> None:
        """Show what a trial has raised, which the journal does not hold in this form.

        Args:
            number: The trial; one that is not known any more is passed over.
            kind: What kind of failure it is.
            excerpt: What the user needs to see of it.
        """
        if number in self._history:
            record = self._history[number]
            self._failures.add((number, record.lease))
            self._progress.trial_failed(record, kind, excerpt)

    def update(self) -> None:
        """Show what is new."""
        history = self._history
        changed = history.changes[self._changes :]
        self._changes += len(changed)
        reported = history.reports[self._reports :]
        self._reports += len(reported)
        touched = dict.fromkeys([*changed, *sorted(self._open)])
        for number in touched:
            self._begin(number)
        for number, step in reported:
            self._epoch(number, step)
        for number in touched:
            self._end(number)

    def _begin(self, number: int) -> None:
        """Show that a worker has taken a trial, unless that was shown."""
        if number not in self._history:
            self._shown.pop(number, None)
            self._open.discard(number)
            return
        record = self._history[number]
        self._open.add(number)
        if record.lease != self._shown.get(number, (0, 0, ""))[0]:
            self._shown[number] = record.lease, record.attempt, TrialStatus.RUNNING
            self._progress.trial_began(record)
            self._progress.decided(record, record.reason)

    def _epoch(self, number: int, step: int) -> None:
        """Show an epoch's metrics; step 0 says that the trial was started anew."""
        if step and number in self._history:
            record = self._history[number]
            metrics = record.curves.get(0, {}).get(step)
            if metrics is not None:
                self._progress.epoch_ended(record, step, metrics)

    def _end(self, number: int) -> None:
        """Show that a trial has ended or is to be started anew, unless that was shown.

        One that goes back to the queue with what it has done has not ended: nothing is shown.
        """
        if number not in self._history:
            return
        record = self._history[number]
        lease, attempt, status = self._shown.get(number, (0, 0, ""))
        if status == TrialStatus.RUNNING and record.status != TrialStatus.RUNNING:
            if self._awaits_failure(record):
                return
            self._shown[number] = lease, record.attempt, record.status
            if record.status != TrialStatus.INVALID or record.attempt != attempt:
                self._progress.trial_ended(record)
            if record.status in (TrialStatus.PAUSED, TrialStatus.STOPPED):
                self._progress.decided(record, record.message or record.reason)
        if record.finished or record.status == TrialStatus.PAUSED:
            self._open.discard(number)

    def _awaits_failure(self, record: Record) -> bool:
        """Tell whether what a failed trial has raised may still come, and is to be shown first."""
        key = record.number, record.lease
        if record.status == TrialStatus.FAILED and key not in self._failures:
            since = self._held.setdefault(key, time.monotonic())
            if time.monotonic() - since < PATIENCE:
                return True
        self._held.pop(key, None)
        self._failures.discard(key)
        return False
