"""Limits: how much a study may do, and when failures mean that it should stop."""

from __future__ import annotations

import dataclasses
import datetime
import re

from keratune.history import History, Streak

# A streak of failures is taken for a broken script, not for bad luck, when the failure rate seen
# before it makes it less likely than this.
BAD_LUCK = 1e-4


@dataclasses.dataclass(frozen=True)
class Limits:
    """How much a study may do.

    Args:
        max_trials: Number of trials; None: until the space is used up.
        max_retries: How often a trial is tried again after a failure that may pass.
        max_consecutive_failures: Failed trials in a row that end the search (see
            `is_broken`); None: none do.
        max_epochs: Epochs that all trials may train in all; None: no limit.
        max_seconds: Seconds that workers may have trials in hand in all; None: no limit.
    """

    max_trials: int | None = None
    max_retries: int = 0
    max_consecutive_failures: int | None = 3
    max_epochs: int | None = None
    max_seconds: float | None = None

    def reached(self, trials: int) -> bool:
        """Tell whether a study with this many trials has all that it may have."""
        return bool(self.max_trials) and trials >= (self.max_trials or 0)

    def spent(self, history: History) -> float:
        """Return the part of the epochs and seconds that is used up, from 0; 1 is all."""
        parts = [0.0]
        if self.max_epochs is not None:
            parts.append(history.epochs / max(self.max_epochs, 1))
        if self.max_seconds is not None:
            parts.append(history.seconds / max(self.max_seconds, 1e-9))
        return max(parts)

    def closing(self, history: History, whole: int | None) -> bool:
        """Tell whether what is left is about one training in full: time to end what was begun.

        Args:
            history: What has happened.
            whole: Epochs of a training in full; None where they are not known.
        """
        if not whole or not history.epochs:
            return False
        return self.spent(history) * (1.0 + whole / history.epochs) >= 1.0


def is_broken(streak: Streak, limit: int | None) -> bool:
    """Tell whether a streak of failures means that the script is broken.

    The streak must have reached the limit, and it must be unlikely for the failure rate f of the
    trials before it, estimated by Laplace's rule: f**length < 1e-4. While no trial has
    completed, the limit alone decides.
    """
    if limit is None or streak.length < max(limit, 1):
        return False
    if streak.finished == streak.failed:
        return True
    rate = (streak.failed + 1) / (streak.finished + 2)
    return bool(rate**streak.length < BAD_LUCK)


UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds_of(duration: float | str | datetime.timedelta) -> float:
    """Return a duration in seconds.

    Args:
        duration: Seconds, a text such as "90m", "2h" or "1h30m", or a `timedelta`.

    Raises:
        ValueError: It is none of these, or not positive.

    Example:
        ```python
        seconds_of("1h30m")  # 5400.0
        ```
    """
    seconds = 0.0
    if isinstance(duration, datetime.timedelta):
        seconds = duration.total_seconds()
    elif isinstance(duration, str):
        text = duration.replace(" ", "")
        number = r"(\d+(?:\.\d+)?)"
        if re.fullmatch(rf"({number}[smhd])+", text):
            parts = re.findall(rf"{number}([smhd])", text)
            seconds = sum(float(count) * UNITS[unit] for count, unit in parts)
    elif isinstance(duration, (int, float)):
        seconds = float(duration)
    if not seconds > 0.0:
        raise ValueError(
            'A duration is a positive number of seconds, a text such as "90m", "2h" or "1h30m", or '
            f"a timedelta. Received: {duration!r}."
        )
    return seconds
