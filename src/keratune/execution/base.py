"""What runs a search's trials: this process, or workers that an executor starts.

An executor is given a search, starts workers on its study, and returns when they have ended. What
is found and how it goes on is in the study; nothing comes back but errors.
"""

from __future__ import annotations

import abc
import dataclasses
import datetime
from pathlib import Path
from typing import Any, Protocol

from keratune.execution.memory import MEMORY_GROWTH, bytes_of
from keratune.halt import Halt
from keratune.reporting.progress import Progress
from keratune.stop import seconds_of
from keratune.study import Study


class Search(Protocol):
    """A search as an executor sees it."""

    @property
    def study(self) -> Study:
        """The parent's view of the study."""

    @property
    def progress(self) -> Progress:
        """What shows the user how the search goes."""

    @property
    def halt(self) -> Halt:
        """Asks for an end before there is nothing left to be tried."""

    @property
    def trial_timeout(self) -> float | None:
        """Seconds that a trial may take; None: as long as it likes."""

    @property
    def folder(self) -> Path:
        """The project's folder."""

    def parts(self) -> dict[str, Any]:
        """Return what workers need, for `keratune.execution.packing`."""


@dataclasses.dataclass(frozen=True)
class WorkerLimits:
    """What a worker may take; another one goes on in the place of one that has taken more.

    Attributes:
        memory: Bytes that it may have for itself before it is killed; None: no limit.
        trial_timeout: Seconds that a trial may take; None: the search's own limit.
        growth: Bytes that its memory may grow before it leaves between two trials.
    """

    memory: float | None = None
    trial_timeout: float | None = None
    growth: float = bytes_of("memory_growth", MEMORY_GROWTH)

    @classmethod
    def of(
        cls,
        memory_limit: float | str | None,
        trial_timeout: float | str | datetime.timedelta | None,
        memory_growth: float | str,
    ) -> WorkerLimits:
        """Return what a user has written for an executor's arguments of these names.

        Raises:
            FatalValueError: It is no amount of memory, or no time.
        """
        return cls(
            None if memory_limit is None else bytes_of("memory_limit", memory_limit),
            None if trial_timeout is None else seconds_of(trial_timeout),
            bytes_of("memory_growth", memory_growth),
        )

    def within(self) -> dict[str, float | None]:
        """Return those that a worker sees to itself, for `keratune.execution.working.join`."""
        return {"growth": self.growth, "trial_timeout": self.trial_timeout}


class Executor(abc.ABC):
    """Starts workers and sees to them."""

    @abc.abstractmethod
    def run(self, search: Search) -> None:
        """Run a search until nothing is left, or its halt asks for an end.

        Args:
            search: The search.

        Raises:
            FatalError: A mistake that every trial would repeat.
            RuntimeError: Too many trials have failed in a row, or workers die at once.
        """
