"""What a trial's end comes to, as events; decided from the history, written by the study."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from keratune import _json
from keratune.history import History, Record, Result
from keratune.objectives import Objective
from keratune.storage.base import Event, ExecutionCompleted, TrialCompleted, TrialFailed


class NonFiniteScoreError(Exception):
    """The objective is NaN or infinite; the message says which, and at which execution."""


def refuse_non_finite(score: float, name: str) -> None:
    """Raise `NonFiniteScoreError` for a score that is NaN or infinite."""
    if not math.isfinite(score):
        raise NonFiniteScoreError(f"The objective {name} is {score}.")


def mean_score(objective: Objective, results: Mapping[int, Result]) -> float:
    """Return the mean of an objective over what executions have come to.

    Raises:
        NonFiniteScoreError: It is NaN or infinite somewhere.
        ValueError: There are no results, or metrics lack the objective.
    """
    scores = []
    for _, result in sorted(results.items()):
        if not objective.has_value(result.metrics):
            raise ValueError(
                "Objective value missing in metrics reported to the Oracle, expected: "
                f"{list(objective.names)}, found: {sorted(result.metrics)}."
            )
        scores.append(float(objective.get_value(result.metrics)))
        refuse_non_finite(scores[-1], objective.name)
    if not scores:
        raise ValueError(
            f"Objective value missing: no metrics were reported, expected {list(objective.names)}."
        )
    return sum(scores) / len(scores)


def ended_early(history: History, record: Record, kind: str, message: str) -> Sequence[Event]:
    """Return how a trial ends that was cut off: with the best that it has come to by then.

    Args:
        history: What has happened.
        record: The trial.
        kind: What kind of failure it is where it has come to nothing.
        message: Why it was cut off.
    """
    values = _json.encoded(record.values)
    step, loss = min(record.losses.items(), key=lambda told: told[1], default=(0, math.inf))
    ended: list[Event] = []
    try:
        score = mean_score(history.objective, record.results)
    except (ValueError, NonFiniteScoreError):
        if not math.isfinite(loss):
            return [TrialFailed(record.number, kind, message, values)]
        score = float(history.objective.to_loss(loss))
        metrics = _json.finite_metrics(record.curves[0][step])
        ended.append(ExecutionCompleted(record.number, 0, step, metrics, message))
    best_step = max(step - 1, 0)
    return [
        *ended,
        TrialCompleted(record.number, score, best_step, values, message, stopped=True),
    ]
