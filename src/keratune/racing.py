"""Racing: a trial's further executions are left out once it is clearly not going to win.

Executions of one number share their fold and their place among the seeds, so a trial is compared
with the best one execution by execution (Maron and Moore, 1994, Hoeffding races: candidates race on
the same test points and leave when their interval lies above the best one's; Birattari et al.,
2002, F-race: paired, so that what makes a fold hard for all does not count).

Symbols: l_e the loss of the trial's execution e, b_e that of the incumbent, the best trial with all
its executions; d_e = l_e - b_e for the n executions so far, m their mean, s^2 their variance,
s_0^2 the pooled variance of such differences in the study. The trial leaves when

    m - t(1 - a / k, nu) s~ / sqrt(n) > 0,

with s~^2 the moderated variance of `keratune.numerics.spread`, nu its degrees of freedom, a the
level and k the number of looks that a race may take, so that a trial as good as the incumbent
is left out with a probability below a (Bonferroni), for differences that are normal.

A trial that leaves has been measured on some folds only, and these may have been the easy ones. Its
score is therefore not the mean of its losses but that of the incumbent plus m.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

from keratune import noise
from keratune.history import History, Record, Result
from keratune.numerics import spread
from keratune.numerics.spread import Spread
from keratune.trial import TrialStatus

LEVEL = 0.05  # probability with which a trial as good as the best may be left out
# Most degrees of freedom that other trials' spread counts with: their noise may be another. On made
# problems (20 trials of 5 executions, noise of 5 and 20 % of the range, even, growing or falling
# with the quality, with folds, or nothing but noise; 100 seeds each) 4 kept the winner in all 1,000
# cases and trained 45 to 79 % of the executions where there was something to find, 97 % where there
# was not; 10 trained 43 to 76 % and lost one winner.
PRIOR_FREEDOM = 4
FEWEST = 3  # degrees of freedom from which other trials' spread is trusted on its own


@dataclasses.dataclass(frozen=True)
class Exit:
    """A trial that leaves the race.

    Attributes:
        score: What it is worth, as estimated from the executions that it has.
        reason: One line that explains it.
    """

    score: float
    reason: str


def exit_of(
    history: History,
    number: int,
    results: Mapping[int, Result],
    executions: int,
    *,
    folds: bool = False,
) -> Exit | None:
    """Tell whether a trial's further executions are left out.

    Args:
        history: The study's history.
        number: The trial.
        results: What its executions have come to so far.
        executions: How many it would have in all.
        folds: Whether executions are folds; then one of them may be enough.

    Returns:
        Its way out; None while it may still win, has no execution left, or several objectives are
        looked for, of which a trial may be the best in one and behind in another.
    """
    if history.objective.count > 1:
        return None
    rival = _incumbent(history, number, executions)
    if rival is None or not (1 if folds else 2) <= len(results) < executions:
        return None
    lags = noise.differences(history, results, rival.results)
    if len(lags) < len(results):  # one was NaN or infinite: the trial will fail, or is retried
        return None
    known = _spread(lags, noise.difference_spread(history, rival))
    if known is None:
        return None
    looks = executions - (1 if folds else 2)
    lag = sum(lags) / len(lags)
    half = spread.student(1 - LEVEL / looks, known.freedom) * known.deviation / math.sqrt(len(lags))
    if lag <= half:
        return None
    objective = history.objective
    score = objective.to_loss(objective.to_loss(rival.score or 0.0) + lag)
    reason = (
        f"Left out of the race after {len(lags)} of {executions} executions: worse than trial "
        f"{rival.trial_id} by {lag:.3g}, where {half:.3g} would be chance."
    )
    return Exit(float(score), reason)


def _incumbent(history: History, number: int, executions: int) -> Record | None:
    """Return the best trial that has all its executions; none where it breaks an outcome.

    One that breaks an outcome is beaten by what keeps it, whatever the losses.
    """
    for record in history.best(len(history)):
        whole = record.status == TrialStatus.COMPLETED and len(record.results) >= executions
        if whole and record.number != number:
            return None if history.objective.violation(record.metrics) else record
    return None


def _spread(lags: list[float], others: Spread | None) -> Spread | None:
    """Return how single differences vary, from the trial's own and from those of other trials."""
    own = spread.pooled([lags])
    if own is None and (others is None or others.freedom < FEWEST):
        return None
    if others is not None:
        others = Spread(others.variance, min(others.freedom, PRIOR_FREEDOM))
    return spread.moderated(own, others)
