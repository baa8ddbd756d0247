"""When a search ends before its trials are used up.

Each is a pure function of the history: it says how much of its budget is used, and 1 ends the
search. What is being trained then is put aside with its score so far, and goes on when the search
is continued with more.

Example:
    ```python
    tuner = keratune.RandomSearch(
        build_model, "val_accuracy", max_trials=500,
        stop=[keratune.stop.TimeBudget("2h"), keratune.stop.Target(0.99)],
    )
    ```
"""

from __future__ import annotations

import abc
import datetime
import math
import re
from collections.abc import Sequence
from typing import final

from keratune.errors import FatalTypeError
from keratune.history import History

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Stop(abc.ABC):
    """Says when a search ends."""

    @abc.abstractmethod
    def spent(self, history: History) -> float:
        """Return the part of the budget that is used up, from 0; 1 ends the search.

        Args:
            history: What has happened; not to be changed.
        """

    @abc.abstractmethod
    def reason(self, history: History) -> str:
        """Return one line that says why the search has ended."""

    def seconds_left(self, history: History) -> float | None:
        """Return how long the search may still take; None where time does not matter."""
        return None

    def __repr__(self) -> str:
        """Show the arguments; a resumed search compares them."""
        fields = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({fields})"


@final
class TimeBudget(Stop):
    """Ends the search after a time, within a batch of it.

    What counts is the time in which at least one worker had a trial in hand, in all runs of the
    search together: a night between two runs costs nothing.

    Args:
        duration: Seconds, a text such as "90m", "2h" or "1h30m", or a `timedelta`.

    Raises:
        ValueError: It is none of these, or not positive.
    """

    def __init__(self, duration: float | str | datetime.timedelta) -> None:
        """Keep the seconds."""
        self.seconds = seconds_of(duration)

    def spent(self, history: History) -> float:
        return history.seconds / self.seconds

    def reason(self, history: History) -> str:
        return f"the time budget of {self.seconds:.10g} s is used up"

    def seconds_left(self, history: History) -> float:
        return max(self.seconds - history.seconds, 0.0)


@final
class Epochs(Stop):
    """Ends the search when all trials together have trained so many epochs.

    Args:
        count: Epochs, over all trials, executions and folds.

    Raises:
        ValueError: It is less than 1.
    """

    def __init__(self, count: int) -> None:
        """Keep the count."""
        self.count = _positive("Epochs", "count", count)

    def spent(self, history: History) -> float:
        return history.epochs / self.count

    def reason(self, history: History) -> str:
        return f"the budget of {self.count} epochs is used up"


@final
class Target(Stop):
    """Ends the search once a trial, or an epoch of one that runs, is as good as this.

    With several objectives the first one counts.

    Args:
        value: The objective's value, such as 0.99 for an accuracy.

    Raises:
        ValueError: It is not a finite number.
    """

    def __init__(self, value: float) -> None:
        """Keep the value."""
        if not isinstance(value, (int, float)) or not math.isfinite(value):
            raise ValueError(f"`Target` takes a finite number. Received: value={value!r}.")
        self.value = float(value)

    def spent(self, history: History) -> float:
        wanted = history.objective.to_loss(self.value)
        best = [history.losses(record)[0] for record in history.best()]
        running = [history[number].losses for number in history.running]
        last = [next(reversed(losses.values())) for losses in running if losses]
        return float(min([*best, *last], default=math.inf) <= wanted)

    def reason(self, history: History) -> str:
        return f"the target {history.objective.name} {self.value:.10g} is reached"


@final
class Plateau(Stop):
    """Ends the search when the last trials have not improved on the best before them.

    Args:
        trials: How many trials in a row without an improvement end it.
        min_delta: By how much the best must be improved on to count.

    Raises:
        ValueError: `trials` is less than 1, or `min_delta` negative.
    """

    def __init__(self, trials: int = 20, min_delta: float = 0.0) -> None:
        """Keep both."""
        self.trials = _positive("Plateau", "trials", trials)
        if min_delta < 0:
            raise ValueError(f"`min_delta` must not be negative. Received: min_delta={min_delta}.")
        self.min_delta = float(min_delta)

    def spent(self, history: History) -> float:
        last = set(history.ended[-self.trials :])
        standing = _best_but(history, last)
        if len(last) < self.trials or standing is None:
            return 0.0
        reached = history.losses(history.best()[0])[0]
        return float(not reached < standing - self.min_delta)

    def reason(self, history: History) -> str:
        return f"the last {self.trials} trials have not improved on the best"


def _best_but(history: History, left_out: set[int]) -> float | None:
    """Return the lowest loss of a trial outside a set; None where there is none."""
    ranked = history.best(len(left_out) + 1)
    losses = [history.losses(r)[0] for r in ranked if r.number not in left_out]
    return min(losses, default=None)


def stops_of(stop: Stop | Sequence[Stop] | None) -> tuple[Stop, ...]:
    """Return what a user has passed for `stop`, as a tuple.

    Raises:
        FatalTypeError: Something in it is no `Stop`.
    """
    listed = (stop,) if isinstance(stop, Stop) else tuple(stop or ())
    for each in listed:
        if not isinstance(each, Stop):
            raise FatalTypeError(
                "`stop` takes what is in `keratune.stop`, such as `[keratune.stop.TimeBudget('2h')]"
                f"`. Received: {each!r}."
            )
    return listed


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


def _positive(kind: str, name: str, count: int) -> int:
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ValueError(f"`{kind}` takes {name} of 1 or more. Received: {name}={count!r}.")
    return count
