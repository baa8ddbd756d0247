"""Limits: how much a study may do, and when failures mean that it should stop."""

from __future__ import annotations

import dataclasses
from collections import Counter

from keratune.algorithms.base import Algorithm
from keratune.errors import FatalValueError
from keratune.history import History, Streak, raised_line
from keratune.stop import Epochs, Stop

# A streak of failures is taken for a broken script, not for bad luck, when the failure rate seen
# before it makes it less likely than this.
BAD_LUCK = 1e-4

# Trials without one that has worked after which a search ends, whatever the reasons: were only half
# of the space hopeless, this would happen once in a thousand searches.
HOPELESS = 10

# Configurations in a row that are rejected before the search ends: with one fitting in 50, a random
# search comes so far once in 57 times.
MOST_REJECTIONS = 200


@dataclasses.dataclass(frozen=True)
class Limits:
    """How much a study may do.

    Args:
        max_trials: Number of trials; None: until the space is used up.
        max_retries: How often a trial is tried again after a failure that may pass.
        max_consecutive_failures: Failed trials in a row that end the search (see
            `is_broken`); None: none do.
        stops: What ends it before.
    """

    max_trials: int | None = None
    max_retries: int = 0
    max_consecutive_failures: int | None = 3
    stops: tuple[Stop, ...] = ()

    def reached(self, trials: int) -> bool:
        """Tell whether a study with this many trials has all that it may have."""
        return bool(self.max_trials) and trials >= (self.max_trials or 0)

    def spent(self, history: History) -> float:
        """Return the part of the budget that is used up, from 0; 1 is all."""
        return max((stop.spent(history) for stop in self.stops), default=0.0)

    def reason(self, history: History) -> str:
        """Return why nothing may be done any more; "" while something may."""
        over = [stop for stop in self.stops if stop.spent(history) >= 1.0]
        return over[0].reason(history) if over else ""

    def seconds_left(self, history: History) -> float | None:
        """Return how long the search may still take; None: as long as it likes."""
        left = [stop.seconds_left(history) for stop in self.stops]
        return min((seconds for seconds in left if seconds is not None), default=None)

    @property
    def max_epochs(self) -> int | None:
        """Epochs that all trials may train in all; None: no limit."""
        counts = [stop.count for stop in self.stops if isinstance(stop, Epochs)]
        return min(counts, default=None)

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

    While no trial has ever worked, trials that the user's code has failed in one and the same place
    mean it as soon as they reach the limit; whatever else goes wrong (memory runs out, losses are
    not finite, models are too large, causes differ) may be a hard corner of the space, and means it
    after `HOPELESS` trials. Once one has worked, only failures of the user's code count, and only
    where they are unlikely for the failure rate f of the trials before the streak, estimated by
    Laplace's rule: f**length < 1e-4.
    """
    if limit is None or streak.length < max(limit, 1):
        return False
    is_the_codes = streak.kinds == {"error"}
    if streak.finished == streak.failed:
        return (is_the_codes and streak.alike) or streak.finished + streak.length >= HOPELESS
    rate = (streak.failed + 1) / (streak.finished + 2)
    return is_the_codes and bool(rate**streak.length < BAD_LUCK)


def refuse_broken(streak: Streak, limit: int | None, message: str | None) -> None:
    """Raise when the last failures mean that the script is broken.

    Raises:
        RuntimeError: See `is_broken`; the message begins with the last failure's cause and ends
            with its traceback.
    """
    if not is_broken(streak, limit):
        return
    cause = raised_line(message or "no cause is known")
    alike = "alike" if streak.alike else "for different reasons"
    raise RuntimeError(
        f"{cause}\nThe last {streak.length} trials have failed {alike}, that is the last one's. "
        f"Number of consecutive failures exceeded the limit of {limit}.\n{message}"
    )


def refuse_endless_rejections(history: History, algorithm: Algorithm) -> None:
    """Raise when nothing that an algorithm suggests may be trained.

    Raises:
        FatalValueError: Too many configurations were rejected since a trial has last ended.
    """
    if algorithm.in_order or history.rejections_in_a_row < MOST_REJECTIONS:
        return
    last = history.rejected[-MOST_REJECTIONS:]
    tightest, count = Counter(r.reason.split(" ")[0] for r in last).most_common(1)[0]
    costs = [rejection.costs[tightest] for rejection in last if tightest in rejection.costs]
    smallest = f" The smallest {tightest} among them: {min(costs):.10g}." if costs else ""
    raise FatalValueError(
        f"{MOST_REJECTIONS} configurations in a row break `limits` or `constraint`, {count} of "
        f"them {tightest}.{smallest} Loosen it, or narrow the hyperparameters' ranges."
    )
