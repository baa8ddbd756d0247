"""Who runs the trials of a search: `executor=` of every tuner.

==================  ================================================================================
`None` or 1         this process
a number            so many worker processes on this machine, as `Local(workers=number)` sharing
                    the devices that there are
`Local(...)`        worker processes on this machine
`Ray(...)`          actors on a Ray cluster, or of a Ray on this machine
==================  ================================================================================
"""

from __future__ import annotations

from keratune.errors import FatalTypeError
from keratune.execution.base import Executor
from keratune.execution.local import Local
from keratune.execution.ray import Ray


def executor_of(value: Executor | int | None) -> Executor | None:
    """Return what a user has passed for `executor`; None: this process runs the trials.

    Raises:
        FatalTypeError: It is none of the executors.
    """
    if value is None or isinstance(value, Executor):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return None if value == 1 else Local(workers=value, trials_per_device=None)
    raise FatalTypeError(
        "`executor` is None, a number of worker processes, or one out of `keratune.executors`. "
        f"Received: executor={value!r}. Pass `executor=4` or `keratune.executors.Local(workers=4)`."
    )


__all__ = ["Executor", "Local", "Ray", "executor_of"]
