"""The worker: ask for a trial, evaluate it, tell how it went, until there is none left.

One worker in the user's own process is the default; scaling out is starting more of them on the
same study. Whatever ends a worker, the trial that it has in hand goes back to the queue.
"""

from __future__ import annotations

import time
from typing import Protocol

from keratune._runtime import logger
from keratune.errors import (
    DuplicateTrialError,
    FatalError,
    TrialPausedError,
    TrialRejectedError,
)
from keratune.training import failures
from keratune.trial import Trial, TrialStatus

# Seconds between asking again while only other workers' trials can open something new: short at
# first, so that instant trials do not wait, then long enough to cost nothing.
FIRST_PAUSE, LONGEST_PAUSE = 0.01, 1.0


class Job(Protocol):
    """What a worker needs from whoever owns the study."""

    def ask(self) -> Trial:
        """Return a trial; its status says RUNNING, IDLE (ask again) or STOPPED."""

    def evaluate(self, trial: Trial) -> str:
        """Run a trial and record its metrics; raises what the user's code raises.

        Returns:
            COMPLETED, or STOPPED for a trial that was not trained to its end.

        Raises:
            TrialPausedError: It was put aside; the message says why.
        """

    def tell(self, trial: Trial) -> None:
        """End a trial by its status, message and failure."""

    def show_failure(self, trial: Trial, kind: str, excerpt: str) -> None:
        """Show at once what the user needs to see of what a trial has raised."""

    def reject(self, trial: Trial, rejected: TrialRejectedError) -> None:
        """Give up a trial that must not be trained.

        Raises:
            FatalError: No other is likely to come that may be.
        """

    def release(self, trial: Trial, reason: str) -> None:
        """Put a trial that is in hand back to the queue."""


def work(job: Job) -> None:
    """Run trials until there is none left.

    Args:
        job: Gives trials and takes them back.

    Raises:
        FatalError: A mistake that every trial would repeat.
        KeyboardInterrupt: The user has had enough; the trial in hand waits in the queue.
    """
    pause = FIRST_PAUSE
    while True:
        trial = job.ask()
        if trial.status == TrialStatus.STOPPED:
            return
        if trial.status == TrialStatus.IDLE:
            time.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
            continue
        pause = FIRST_PAUSE
        _run(job, trial)


def _run(job: Job, trial: Trial) -> None:
    try:
        trial.status = job.evaluate(trial)
    except DuplicateTrialError as duplicate:
        logger.debug("%s", duplicate)
        return
    except TrialRejectedError as rejected:
        job.reject(trial, rejected)
        return
    except TrialPausedError as paused:
        trial.status, trial.message = TrialStatus.PAUSED, str(paused)
    except FatalError:
        job.release(trial, "a fatal error")
        raise
    except Exception as error:
        kind = failures.kind_of(error)
        retried = failures.may_pass(kind)
        trial.status = TrialStatus.INVALID if retried else TrialStatus.FAILED
        trial.message = failures.message_of(error)
        job.show_failure(trial, kind, failures.excerpt(error))
    except BaseException as interruption:
        job.release(trial, f"interrupted by {type(interruption).__name__}")
        raise
    try:
        job.tell(trial)
    except KeyboardInterrupt:
        job.release(trial, "interrupted at its end")
        raise
