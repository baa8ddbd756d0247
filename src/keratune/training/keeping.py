"""Which trials keep on disk what they have trained: the best k of the completed ones."""

from __future__ import annotations

from keratune.history import History, Record
from keratune.training import results as training_results


def is_worth_keeping(history: History, record: Record, keep: int) -> bool:
    """Tell whether a trial that is about to end will be among the best.

    Args:
        history: The study's history, in which the trial still runs.
        record: The trial, with the results of all its executions.
        keep: Number of best trials that keep what they have trained.
    """
    best = history.best(keep)
    if len(best) < keep or not best:
        return keep > 0
    objective = history.objective
    metrics = training_results.mean_metrics(list(record.results.values()))
    loss = objective.to_loss(float(objective.get_value(metrics)))
    return loss < objective.to_loss(best[-1].score or 0.0)


def is_kept(history: History, record: Record, keep: int) -> bool:
    """Tell whether a trial keeps what it has trained: it is among the best, or not our own.

    What KerasTuner has saved of the trials in its folder stays as it is.

    Args:
        history: The study's history.
        record: A trial.
        keep: Number of best trials that keep what they have trained.
    """
    place = history.rank(record.number)
    return record.origin == "imported" or (place is not None and place < keep)


def dispensable(history: History, record: Record, keep: int) -> list[Record]:
    """Return the trials that need not keep anything now that a trial has ended.

    Args:
        history: The study's history.
        record: The trial that has ended.
        keep: Number of best trials that keep what they have trained.

    Returns:
        The trial itself where it is not among the best, and the one that it has pushed out.
    """
    ended = [record, *history.best(keep + 1)[keep:]]
    return [r for r in ended if r.finished and not is_kept(history, r, keep)]
