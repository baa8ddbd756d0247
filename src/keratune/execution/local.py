"""Worker processes on this machine: fresh interpreters, one device or share of the cores each.

Example:
    ```python
    tuner = keratune.RandomSearch(build_model, "val_loss", max_trials=100, executor=4)
    tuner.search(x, y, epochs=10, validation_split=0.2)
    ```
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Sequence
from typing import final

from keratune.errors import FatalValueError
from keratune.execution.base import Executor, Search, WorkerLimits
from keratune.execution.devices import Device, Variables, chosen, environment_of, leave_room
from keratune.execution.memory import MEMORY_GROWTH
from keratune.execution.packing import pack
from keratune.execution.processes import Processes
from keratune.execution.supervisor import Supervisor


@final
class Local(Executor):
    """Runs trials in worker processes on this machine.

    Each is a fresh interpreter with its own device, or its share of the cores. What they need goes
    to them once: functions and classes of the script itself, no `if __name__ == "__main__"` is
    needed, and large arrays are shared. A worker that dies is replaced, and its trial goes on from
    its last epoch.

    Args:
        workers: How many; default: one for each place on a device.
        devices: "auto": the accelerators that this process may use, CPUs where there are none;
            "cpu"; how many of the accelerators; or a list of device numbers, ids, or dicts of the
            environment variables that choose one.
        trials_per_device: How many workers share a device and its memory; None: as many as it
            takes.
        memory_limit: Memory that a worker may have for itself, in bytes or as a text such as
            "8GB". One that uses more is killed, and its trial has run out of memory. Linux only.
        trial_timeout: How long a trial may take, in place of the tuner's `trial_timeout`. Workers
            whose trial has not ended by itself a tenth later, and 5 seconds at least, are killed.
        memory_growth: How much the memory of a worker may grow before a fresh one takes its place,
            between two trials. Linux only.

    Raises:
        FatalValueError: There are no such devices, not enough of them, or a number is not positive.

    Example:
        ```python
        kt.RandomSearch(build_model, "val_loss", executor=kt.executors.Local(workers=4))
        kt.RandomSearch(build_model, "val_loss", executor=kt.executors.Local(trials_per_device=2))
        ```
    """

    def __init__(
        self,
        workers: int | None = None,
        devices: str | int | Sequence[Device] | None = "auto",
        trials_per_device: int | None = 1,
        memory_limit: float | str | None = None,
        trial_timeout: float | str | datetime.timedelta | None = None,
        *,
        memory_growth: float | str = MEMORY_GROWTH,
    ) -> None:
        """Check the arguments, and find the devices."""
        for name, number in (("workers", workers), ("trials_per_device", trials_per_device)):
            if number is not None and (not isinstance(number, int) or number < 1):
                raise FatalValueError(f"`{name}` must be 1 or more. Received: {name}={number!r}.")
        self.devices = chosen(devices, os.environ)
        self._hides_devices = devices in (None, "cpu")
        leave_room(os.environ)
        self.workers = _workers(workers, len(self.devices), trials_per_device)
        self.limits = WorkerLimits.of(memory_limit, trial_timeout, memory_growth)

    def run(self, search: Search) -> None:
        packed = pack(search.parts())
        try:
            fleet = Processes(packed, self._environments(), self.limits.within())
            Supervisor(search, fleet, self.limits).run()
        finally:
            packed.remove()

    def _environments(self) -> list[Variables]:
        """Return what each worker's process starts with."""
        return [
            environment_of(
                place, self.workers, self.devices, os.environ, hidden=self._hides_devices
            )
            for place in range(self.workers)
        ]


def _workers(wanted: int | None, there: int, each: int | None) -> int:
    """Return how many workers there are to be."""
    if wanted is None and not there:
        raise FatalValueError(
            "There are no devices to count workers by. Received: workers=None. Pass a number, "
            "such as `Local(workers=4)`; each worker gets its share of the cores."
        )
    places = there * (each or 1)
    if there and each is not None and (wanted or 0) > places:
        raise FatalValueError(
            f"{wanted} workers do not fit on {there} devices with trials_per_device={each}. Pass "
            f"`trials_per_device={-(-(wanted or 0) // there)}`, fewer workers, or `devices='cpu'`."
        )
    return wanted or places
