"""From what training returns to metrics.

`HyperModel.fit` and `Tuner.run_trial` may return a Keras `History`, a dict of metrics that has
the objective, a number, or a list of these (one for each execution). A `History` counts with the
metrics of its best epoch.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keratune.errors import FatalTypeError, FatalValueError
from keratune.history import Result
from keratune.objectives import DefaultObjective, MultiObjective, Objective, best_epoch

Metrics = dict[str, float]


def is_history(value: Any) -> bool:
    """Tell whether a value is a Keras `History`."""
    return any(cls.__name__ == "History" for cls in type(value).__mro__) and isinstance(
        getattr(value, "history", None), Mapping
    )


def is_number(value: Any) -> bool:
    """Tell whether a value is a Python or NumPy number."""
    return isinstance(value, (int, float, np.floating, np.integer))


def validate(results: Any, objective: Objective, source: str) -> None:
    """Refuse what cannot be turned into metrics.

    Args:
        results: What was returned.
        objective: What it must hold.
        source: Who returned it, for the message: "HyperModel.fit()" or "Tuner.run_trial()".

    Raises:
        FatalTypeError: It is None or of a type that has no metrics.
        FatalValueError: It lacks the objective; the message lists what there is.
    """
    if isinstance(results, list):
        for result in results:
            validate(result, objective, source)
        return
    if results is None:
        raise FatalTypeError(
            f"The return value of {source} is None. Did you forget to return the metrics?"
        )
    if is_number(results) and not isinstance(objective, MultiObjective):
        return
    if isinstance(objective, DefaultObjective) and not _has(results, objective):
        raise FatalTypeError(
            f"Expected the return value of {source} to be a single float when `objective` is left "
            f"unspecified. Received return value: {results} of type {type(results)}."
        )
    if not isinstance(results, Mapping) and not is_history(results):
        raise FatalTypeError(
            f"Expected the return value of {source} to be one of float, dict, "
            "keras.callbacks.History, or a list of one of these types. "
            f"Received return value: {results} of type {type(results)}."
        )
    lacks_outcome = any(outcome.name not in _names(results) for outcome in objective.outcomes)
    if lacks_outcome or not _has(results, objective):
        raise FatalValueError(missing_objective(objective, _names(results), source))


def _names(results: Any) -> list[str]:
    return sorted(results.history if is_history(results) else results)


def _has(results: Any, objective: Objective) -> bool:
    logs = results.history if is_history(results) else results
    return isinstance(logs, Mapping) and (objective.name in logs or objective.has_value(logs))


TRAINING = "model.fit()"  # who lacks the objective, where no user code returns the metrics
RUN_TRIAL = "Tuner.run_trial()"


def missing_objective(objective: Objective, available: Sequence[str], source: str) -> str:
    """Return the message for an objective that is not among the metrics, with the nearest name."""
    is_measured_here = source != RUN_TRIAL
    measured = {*available, *(objective.cost_names if is_measured_here else ())}
    missing = [name for name in objective.required if name not in measured]
    near = difflib.get_close_matches(missing[0], available, n=1, cutoff=0.5) if missing else []
    hint = f" Did you mean {near[0]!r}?" if near else ""
    unvalidated = not any(name.startswith("val_") for name in available)
    if unvalidated and missing and missing[0].startswith("val_"):
        hint = " Pass `validation_data` or `validation_split` to `search` to get `val_` metrics."
    costs = [name for name in missing if name in objective.cost_names]
    if costs:
        hint = (
            f" What a model costs, {', '.join(costs)}, is measured of Keras models that the tuner "
            "itself trains; elsewhere return it beside the metrics, or leave it out."
        )
    if source == TRAINING:
        return (
            f"The training does not measure the specified objective, {', '.join(missing)}. "
            f"It measures: {list(available)}.{hint}"
        )
    return (
        f"Expected the returned dictionary from {source} to have the specified objective, "
        f"{', '.join(missing)}, as one of the keys. Received: {list(available)}.{hint}"
    )


def result_of(results: Any, objective: Objective) -> Result:
    """Return the metrics of one execution's return value, and the epoch (from 1) they are of."""
    if isinstance(results, list):
        parts = [result_of(part, objective) for part in results]
        return Result(mean_step(parts), mean_metrics(parts))
    if is_number(results):
        return Result(0, {objective.name: float(results)})
    if is_history(results):
        epochs = getattr(results, "epoch", [])  # filled by `fit`, not in one made by hand
        return _of_history(results.history, epochs, objective)
    metrics = {name: float(value) for name, value in results.items() if is_number(value)}
    return Result(0, _with_objective(metrics, objective))


def _of_history(
    history: Mapping[str, Sequence[float]], epochs: Sequence[int], objective: Objective
) -> Result:
    """Return the first best epoch; metrics measured less often count where they were measured.

    `epochs` are the epochs' own numbers, from 0: a training that goes on starts behind the last.
    """
    rows = aligned_rows(history)
    scores = [
        float(objective.get_value(row)) if objective.has_value(row) else float("nan")
        for row in rows
    ]
    place = best_epoch(scores, objective.direction)
    if place is None:
        measured = [index for index, row in enumerate(rows) if objective.has_value(row)]
        place = measured[0] if measured else len(rows) - 1
    step = epochs[place] + 1 if len(epochs) == len(rows) else place + 1
    return Result(step, _with_objective(rows[place], objective))


def aligned_rows(history: Mapping[str, Sequence[float]]) -> list[Metrics]:
    """Return one dict of metrics per epoch.

    A metric that was measured every m-th epoch (`validation_freq=m`) has fewer values than there
    are epochs; they belong to epochs m, 2m, ...
    """
    epochs = max((len(values) for values in history.values()), default=0)
    rows: list[Metrics] = [{} for _ in range(epochs)]
    for name, values in history.items():
        stride = epochs // len(values) if len(values) else 1
        for index, value in enumerate(values):
            rows[(index + 1) * stride - 1][name] = float(value)
    return rows


def _with_objective(metrics: Metrics, objective: Objective) -> Metrics:
    if objective.name not in metrics and objective.has_value(metrics):
        return {**metrics, objective.name: float(objective.get_value(metrics))}
    return metrics


def mean_step(results: Sequence[Result]) -> int:
    """Return the mean best step, rounded down."""
    return int(sum(result.step for result in results) / max(len(results), 1))


def mean_metrics(results: Sequence[Result]) -> Metrics:
    """Return each metric's mean over the results that have it."""
    collected: dict[str, list[float]] = {}
    for result in results:
        for name, value in result.metrics.items():
            collected.setdefault(name, []).append(value)
    return {name: sum(values) / len(values) for name, values in collected.items()}
