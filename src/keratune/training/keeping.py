"""Which trials keep on disk what they have trained: the best k, and those that were confirmed."""

from __future__ import annotations

from keratune.history import History, Record
from keratune.training import results as training_results


def is_worth_keeping(
    history: History, record: Record, keep: int, score: float | None = None
) -> bool:
    """Tell whether a trial that is about to end will be among the best.

    Args:
        history: The study's history, in which the trial still runs.
        record: The trial, with the results of all its executions.
        keep: Number of best trials that keep what they have trained.
        score: The score that it will have; default: the mean over its executions.
    """
    best = [other for other in history.best(keep + 1) if other.number != record.number][:keep]
    if len(best) < keep or not best or history.objective.count > 1:
        return keep > 0  # of several objectives, what is not needed is deleted behind the trial
    objective = history.objective
    metrics = training_results.mean_metrics(list(record.results.values()))
    mean = float(objective.get_value(metrics)) if score is None else score
    last = best[-1]
    own = objective.violation(metrics), objective.to_loss(mean)
    return own < (objective.violation(last.metrics), objective.to_loss(last.score or 0.0))


def is_kept(history: History, record: Record, keep: int) -> bool:
    """Tell whether a trial keeps what it has trained: it is among the best, or not our own.

    A trial that was confirmed keeps it too, for it may come before the best of the search. What
    KerasTuner has saved of the trials in its folder stays as it is.

    Args:
        history: The study's history.
        record: A trial.
        keep: Number of best trials that keep what they have trained.
    """
    if keep > 0 and record.number in history.confirmed:
        return True
    place = history.rank(record.number)
    return record.origin == "imported" or (place is not None and place < _kept(history, keep))


def dispensable(history: History, record: Record, keep: int) -> list[Record]:
    """Return the trials that need not keep anything now that a trial has ended.

    Args:
        history: The study's history.
        record: The trial that has ended.
        keep: Number of best trials that keep what they have trained.

    Returns:
        The trial itself where it is not among the best, and the one that it has pushed out.
    """
    count = len(history) if history.objective.count > 1 else keep + 1
    ended = [record, *history.best(count)[_kept(history, keep) :]]
    return [r for r in ended if r.finished and not is_kept(history, r, keep)]


def _kept(history: History, keep: int) -> int:
    """Return how many trials keep what they have trained: of several objectives the whole front."""
    return max(keep, len(history.front())) if keep and history.objective.count > 1 else keep
