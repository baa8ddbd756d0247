"""What runs a search's trials: this process, or workers that an executor starts.

An executor is given a search, starts workers on its study, and returns when they have ended. What
is found and how it goes on is in the study; nothing comes back but errors.
"""

from __future__ import annotations

import abc
from pathlib import Path
from typing import Any, Protocol

from keratune.halt import Halt
from keratune.reporting.progress import Progress
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
