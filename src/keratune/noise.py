"""Noise: how far a trial's score would move if it were trained once more.

Known from repeats and folds: executions of one number share what is common to them (the fold), so
what they differ by between two trials, d_e, tells the trials apart, and the variance of d_e over e
is that of the difference of two executions. Where nothing is repeated, the curves of the best
trials tell some of it: how far an epoch's value lies off its neighbours' line. What moves a whole
training, such as its initial weights, is not in that, so it is a lower bound, and a weak one: of
six dense networks each on 400 rows of digits, breast cancer and diabetes, trained for 20 epochs
from 4 seeds, it found 0 to 0.0017 where the seeds differed by standard deviations of 0.008 to
0.044. It finds the searches whose curves are little but noise.

A search whose best trials lie closer together than that has not told them apart: which one won is
chance, and its score is too good by what chance gave (Schneider et al., 2025, arXiv 2506.19540).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence

from keratune.history import History, Record, Result
from keratune.numerics import spread
from keratune.numerics.spread import Spread
from keratune.trial import TrialStatus

LEVEL = 0.95  # of the one-sided bound by which the best trial must lead
RECENT = 100  # trials that are looked at: more would not sharpen the estimate, only cost time
BEST = 5  # trials beside the best that tell the noise: bad ones may fluctuate as good ones do not


def losses(history: History, results: Mapping[int, Result]) -> dict[int, float]:
    """Return the losses of executions by their numbers, those that are finite."""
    objective, found = history.objective, {}
    for execution, result in sorted(results.items()):
        if objective.has_value(result.metrics):
            loss = float(objective.to_loss(objective.get_value(result.metrics)))
            if math.isfinite(loss):
                found[execution] = loss
    return found


def score_loss(history: History, record: Record) -> float:
    """Return the loss of a trial's score; inf where it has none."""
    return math.inf if record.score is None else float(history.objective.to_loss(record.score))


def differences(
    history: History, results: Mapping[int, Result], others: Mapping[int, Result]
) -> list[float]:
    """Return by how much executions are worse than those of the same number elsewhere."""
    own, theirs = losses(history, results), losses(history, others)
    return [own[execution] - theirs[execution] for execution in own if execution in theirs]


def difference_spread(
    history: History, record: Record, others: Iterable[Record] | None = None
) -> Spread | None:
    """Return how much the differences of single executions from a trial's vary around their means.

    Args:
        history: The study's history.
        record: The trial that others are compared with.
        others: Whose differences are pooled; default: the trials that ended last.

    Returns:
        The spread of a difference; None while nothing was repeated.
    """
    if others is None:
        others = (history[number] for number in history.ended[-RECENT:])
    return spread.pooled(
        differences(history, other.results, record.results)
        for other in others
        if other.score is not None and other.number != record.number
    )


def curves_noise(history: History, records: Sequence[Record]) -> float | None:
    """Return the noise of one epoch's loss, the median over the later halves of some curves.

    Returns:
        Its standard deviation; None where no curve is long enough to tell.
    """
    noises = []
    for record in records:
        curve = [record.losses[step] for step in sorted(record.losses)]
        noise = spread.curve_noise(curve[len(curve) // 2 :])
        if noise is not None:
            noises.append(noise)
    return statistics.median(noises) if noises else None


def equals(history: History) -> tuple[list[Record], float]:
    """Return the trials that the best one has not been told apart from, itself first.

    Returns:
        The trials, and the lead that would tell two of them apart; no trial and 0.0 where nothing
        is known about the noise, or the best one leads by more.
    """
    done = (TrialStatus.COMPLETED, TrialStatus.STOPPED)
    ranked = [r for r in history.best(RECENT) if r.status in done]
    if len(ranked) < 2 or history.objective.count > 1:
        return [], 0.0
    best = ranked[0]
    broken = history.objective.violation(best.metrics)
    ranked = [r for r in ranked if history.objective.violation(r.metrics) == broken]
    known = difference_spread(history, best, ranked[: BEST + 1])
    noise = curves_noise(history, ranked[: BEST + 1]) if known is None else None
    limits: list[float] = []
    for record in ranked[1:]:
        if known is not None:
            shared = max(min(len(best.results), len(record.results)), 1)
            deviation = known.deviation / math.sqrt(shared)
            limits.append(spread.student(LEVEL, known.freedom) * deviation)
        else:
            limits.append(statistics.NormalDist().inv_cdf(LEVEL) * math.sqrt(2) * (noise or 0.0))
    near = [
        record
        for record, limit in zip(ranked[1:], limits, strict=True)
        if limit > 0.0 and score_loss(history, record) - score_loss(history, best) <= limit
    ]
    return ([best, *near], limits[0]) if near else ([], 0.0)


def warning(history: History, remedy: str) -> str | None:
    """Return one line that says that the best trials are within noise, None where they are not.

    Args:
        history: The study's history.
        remedy: What tells them apart, a clause.
    """
    if history.objective.count > 1 or any(record.confirmed for record in history.best()):
        return None  # a front has no winner; what was trained again tells more than the search has
    near, limit = equals(history)
    if not near:
        return None
    default = any(record.origin == "defaults" for record in near)
    beside = ", the default configuration among them" if default else ""
    return (
        f"The best {len(near)} of {history.scored_count} trials are within noise "
        f"({near[0].score:.4g} +- {limit:.2g}){beside}: {remedy}."
    )
