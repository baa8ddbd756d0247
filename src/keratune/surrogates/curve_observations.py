"""What a study's trials teach a surrogate of learning curves: losses by row, epoch and trial.

Each trial is known by its best loss at the milestones of its curve (`keratune.numerics.curves`),
whatever became of it: it may run, be paused, stopped or complete. A callback that ends a trial
early, as EarlyStopping does, has found that it comes to no more: such a trial has its loss at the
end of a whole training as well. A failed trial is infinitely bad.

N: observations   d: coordinates
"""

from __future__ import annotations

import dataclasses
import heapq
import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keratune.history import History, Record
from keratune.numerics import curves
from keratune.surrogates.encoding import Encoding
from keratune.trial import TrialStatus

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class CurveObservations:
    """Losses by configuration, epoch and trial.

    Attributes:
        rows: (N, d) configurations.
        epochs: (N,) epochs trained.
        trials: (N,) the trial that each belongs to; -1, -2, ... for what was evaluated elsewhere.
        losses: (N,) best losses up to these epochs; infinite for failures.
    """

    rows: Array
    epochs: NDArray[np.int_]
    trials: NDArray[np.int_]
    losses: Array


def observe_curves(
    history: History, encoding: Encoding, rows: dict[int, Array], reports: int, most: int
) -> CurveObservations:
    """Return what the history teaches, the longest trained trials first, then the newest.

    Args:
        history: What has happened.
        encoding: The coordinates.
        rows: Row of each trial by number.
        reports: How many of the history's reports are to be known.
        most: How many observations are wanted; those of one trial are not parted.
    """
    trained = _trained(history, reports)
    whole = max(trained.values(), default=1) or 1
    if reports == len(history.reports):
        trained = {**dict.fromkeys(rows, 0), **trained}
    length = {n: whole if _is_complete(history[n]) else t for n, t in trained.items() if n in rows}
    found, epochs, trials, losses = [], [], [], []
    for count, (values, loss) in enumerate(history.given, start=1):
        found.append(encoding.encode([values])[0])
        epochs.append(whole)
        trials.append(-count)
        losses.append(loss)
    order = [(-length[number], -number) for number in length]
    heapq.heapify(order)  # most of them are never wanted
    while order and len(losses) < most:
        number = -heapq.heappop(order)[1]
        for epoch, loss in _points(history, history[number], trained[number], whole):
            found.append(rows[number])
            epochs.append(epoch)
            trials.append(number)
            losses.append(loss)
    return CurveObservations(
        np.array(found).reshape(len(found), len(encoding)),
        np.array(epochs, dtype=int),
        np.array(trials, dtype=int),
        np.array(losses, dtype=float),
    )


_trained_caches: weakref.WeakKeyDictionary[History, dict[bool, tuple[int, dict[int, int]]]] = (
    weakref.WeakKeyDictionary()
)


def _trained(history: History, reports: int) -> dict[int, int]:
    """Return the last step of each trial among a number of reports; not to be changed.

    Reports are read once each: by those who ask for all of them, and by those who ask for fewer.
    """
    cache = _trained_caches.setdefault(history, {})
    for_all = reports == len(history.reports)
    read, steps = cache.get(for_all, (0, {}))
    if read > reports:
        read, steps = 0, {}
    steps.update(history.reports[read:reports])
    cache[for_all] = reports, steps
    return steps


def _is_complete(record: Record) -> bool:
    return record.status == TrialStatus.COMPLETED and record.score is not None


def _points(history: History, record: Record, trained: int, whole: int) -> list[tuple[int, float]]:
    """Return the epochs and the best losses by which a trial is known.

    A trial that was complete before the end stands as it is: its loss is that of the whole
    training. One that has failed is known as a failure, however long it was trained.
    """
    epochs = curves.milestones(trained)
    best = curves.best_so_far(record.losses, epochs).tolist()
    if record.status == TrialStatus.FAILED:
        return [(epoch, np.inf) for epoch in epochs or [1]]
    points = [
        (epoch, loss)
        for epoch, loss in zip(epochs, best, strict=True)
        if np.isfinite(loss) or np.inf in record.losses.values()
    ]
    if _is_complete(record) and (not points or points[-1][0] < whole):
        points.append((whole, float(history.objective.to_loss(record.score or 0.0))))
    return points


_row_caches: weakref.WeakKeyDictionary[
    History, tuple[Encoding, dict[int, tuple[dict[str, Any], Array]]]
] = weakref.WeakKeyDictionary()


def rows_of(history: History, encoding: Encoding) -> dict[int, Array]:
    """Return each trial's row by its number; a row is encoded once for each new configuration."""
    known_encoding, known = _row_caches.get(history, (None, {}))
    if known_encoding is not encoding:
        known = {}
    records = history.trials
    stale = [r for r in records if known.get(r.number, (None,))[0] is not r.values]
    encoded = encoding.encode([record.values for record in stale])
    for record, row in zip(stale, encoded, strict=True):
        known[record.number] = (record.values, row)
    _row_caches[history] = (encoding, known)
    return {record.number: known[record.number][1] for record in records}
