"""Limits: how much a study may do, and when failures mean that it should stop."""

from __future__ import annotations

import dataclasses

from keratune.history import Streak

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
    """

    max_trials: int | None = None
    max_retries: int = 0
    max_consecutive_failures: int | None = 3

    def reached(self, trials: int) -> bool:
        """Tell whether a study with this many trials has all that it may have."""
        return bool(self.max_trials) and trials >= (self.max_trials or 0)


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
