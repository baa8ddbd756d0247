"""No early stopping: every trial is trained to its end."""

from __future__ import annotations

from typing import final

from keratune.schedulers.base import Scheduler


@final
class Unscheduled(Scheduler):
    """Starts new trials while there are any, and trains each to its end."""

    def __repr__(self) -> str:
        """Show that there is nothing to it."""
        return "None"
