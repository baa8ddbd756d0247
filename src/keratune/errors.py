"""What can go wrong, as one tree.

::

    Exception
    ├── FailedTrialError            this configuration is no good: record it, go on
    │   └── OversizedModelError     the built model is larger than allowed
    ├── FatalError                  the search itself is set up wrongly: stop at once
    │   ├── FatalValueError         (also a ValueError)
    │   ├── FatalTypeError          (also a TypeError)
    │   └── FatalRuntimeError       (also a RuntimeError)
    ├── DuplicateTrialError         the build read what an earlier trial read: suggest anew
    ├── TrialRejectedError          limits or the constraint forbid it: suggest anew
    ├── TrialPausedError            the scheduler has put a trial aside: ask for the next one
    ├── TrialLostError              another worker has the trial now: ask for the next one
    ├── JournalConflictError        another writer was faster: read on and try again
    ├── StudyMismatchError          a stored study and the new arguments do not fit (RuntimeError)
    └── MissingPackageError         an optional package is needed (ImportError)
    BaseException
    └── TrialHaltedError            the search is to end: the trial in hand is put down
        └── TrialTimedOutError      the trial has taken too long

The first two families carry KerasTuner's names, so that code that raises or catches them keeps
working.
"""

from __future__ import annotations

from collections.abc import Mapping


class FailedTrialError(Exception):
    """Raised by user code to give up a trial whose configuration is no good.

    The trial is recorded as failed with the message, is not retried, and the search goes on.

    Example:
        ```python
        def build_model(hp):
            if hp.Int("layers", 1, 9) * hp.Int("units", 8, 512) > 2000:
                raise keratune.errors.FailedTrialError("too large for this machine")
        ```
    """


class OversizedModelError(FailedTrialError):
    """The built model has more parameters than `max_model_size` allows."""


class FatalError(Exception):
    """A mistake that every trial would repeat: the search stops and raises it."""


class FatalValueError(FatalError, ValueError):
    """A fatal error caused by a wrong value."""


class FatalTypeError(FatalError, TypeError):
    """A fatal error caused by a value of the wrong type."""


class FatalRuntimeError(FatalError, RuntimeError):
    """A fatal error that shows only while running."""


class DuplicateTrialError(Exception):
    """The model's build read exactly the values that an earlier trial has tried.

    It never reaches the user: the trial's number is given to a new suggestion.
    """


class TrialRejectedError(Exception):
    """A configuration breaks the limits or the constraint; it was not trained, and is no failure.

    It never reaches the user: the trial's number is given to a new suggestion.

    Args:
        reason: What is broken, in words.
        costs: What was measured of the model.
    """

    def __init__(self, reason: str, costs: Mapping[str, float] | None = None) -> None:
        """Keep both."""
        super().__init__(reason)
        self.costs = dict(costs or {})


class TrialPausedError(Exception):
    """The scheduler has put a running trial aside, to be trained further or not; no failure.

    It never reaches the user: the worker asks for the next trial.
    """


class TrialLostError(Exception):
    """Another worker has the trial now: this one was taken for dead. Nothing was written.

    It never reaches the user: the worker asks for the next trial.
    """


class TrialHaltedError(BaseException):
    """The search is to end at once; raised out of a training, past user code that catches errors.

    It never reaches the user: the worker puts the trial down and ends.
    """


class TrialTimedOutError(TrialHaltedError):
    """The trial has taken longer than `trial_timeout`; the worker asks for the next one."""


class JournalConflictError(Exception):
    """The journal holds events that the writer has not seen; nothing was appended."""


class StudyMismatchError(RuntimeError):
    """The stored study cannot be continued with the arguments given now."""


class MissingPackageError(ImportError):
    """An optional package is not installed; the message holds the pip line."""
