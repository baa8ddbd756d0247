"""The worker: ask for a trial, evaluate it, tell how it went, until there is none left.

One worker in the user's own process is the default; scaling out is starting more of them on the
same study. Whatever ends a worker, the trial that it has in hand goes back to the queue.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from keratune._runtime import logger
from keratune.errors import (
    DuplicateTrialError,
    FatalError,
    TrialHaltedError,
    TrialLostError,
    TrialPausedError,
    TrialRejectedError,
    TrialTimedOutError,
)
from keratune.halt import Halt
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
            TrialHaltedError: It was cut off, as the search's `Halt` wants it.
        """

    def tell(self, trial: Trial) -> None:
        """End a trial by its status, message and failure."""

    def end_early(self, trial: Trial, kind: str, message: str) -> None:
        """End a trial that was cut off with the best that it has come to."""

    def split(self, trial: Trial) -> bool:
        """Have a trial that has run out of memory tried again with smaller parts of its batches.

        Returns:
            Whether that is allowed and possible; it waits in the queue then.
        """

    def show_failure(self, trial: Trial, kind: str, excerpt: str) -> None:
        """Show at once what the user needs to see of what a trial has raised."""

    def reject(self, trial: Trial, rejected: TrialRejectedError) -> None:
        """Give up a trial that must not be trained.

        Raises:
            FatalError: No other is likely to come that may be.
        """

    def release(self, trial: Trial, reason: str) -> None:
        """Put a trial that is in hand back to the queue."""

    def forget(self, trial: Trial) -> None:
        """Take note that another worker has the trial now."""


def work(job: Job, halt: Halt, sleep: Callable[[float], None] = time.sleep) -> None:
    """Run trials until there is none left, or the halt wants an end.

    Args:
        job: Gives trials and takes them back.
        halt: Asked between trials; a training asks it between batches and epochs.
        sleep: Waits for so many seconds.

    Raises:
        FatalError: A mistake that every trial would repeat.
        KeyboardInterrupt: The user has had enough; the trial in hand waits in the queue.
    """
    pause = FIRST_PAUSE
    while not halt.requested():
        trial = job.ask()
        if trial.status == TrialStatus.STOPPED:
            return
        if trial.status == TrialStatus.IDLE:
            sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
            continue
        pause = FIRST_PAUSE
        try:
            _run(job, trial, halt)
        except TrialLostError as lost:
            logger.debug("%s", lost)
            job.forget(trial)


def _run(job: Job, trial: Trial, halt: Halt) -> None:
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
    except TrialTimedOutError as late:
        job.end_early(trial, failures.TIMED_OUT, str(late))
        return
    except TrialHaltedError as halted:
        if not halt.pauses:
            job.release(trial, str(halted))
            return
        trial.status, trial.message = TrialStatus.PAUSED, str(halted)
    except TrialLostError:
        raise
    except FatalError:
        job.release(trial, "a fatal error")
        raise
    except Exception as error:
        kind = failures.kind_of(error)
        if kind == failures.OUT_OF_MEMORY and job.split(trial):
            return
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
