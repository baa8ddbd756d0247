"""Studies as tables: in a terminal, and as rows for a file. The journal is all that is needed."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from keratune import _json
from keratune._processes import Presence, presence_of, process_of
from keratune.history import History, Record, raised_line
from keratune.reporting.progress import counted, duration, shown
from keratune.trial import TrialStatus

PRESENCES = {
    Presence.OWN: "alive",
    Presence.HERE: "alive",
    Presence.DEAD: "gone",  # its trial goes back to the queue as soon as another worker looks
    Presence.ELSEWHERE: "on another machine",
}


def studies(told: Iterable[tuple[str, History, int | None]]) -> Table:
    """Return a table of studies.

    Args:
        told: Name, history, and number of trials that it may have, of each.
    """
    table = _table("Study", "Objective", "Trials", "Running", "Failed", "Best", "By", "Last event")
    for name, history, limit in told:
        best = history.best()
        table.add_row(
            name,
            history.objective.name,
            f"{history.tried_count} of {limit}" if limit else str(history.tried_count),
            str(len(history.running)),
            str(len(failures(history))),
            shown(best[0].score) if best else "-",
            f"trial {best[0].trial_id}" if best else "-",
            time.strftime("%Y-%m-%d %H:%M", time.localtime(history.time)),
        )
    return table


def study(history: History, limit: int | None, beats: Mapping[str, int], count: int) -> Group:
    """Return how a study stands: its best trials, its failures and its workers.

    Args:
        history: What has happened.
        limit: How many trials it may have; None: no limit.
        beats: The workers that give signs of life.
        count: How many trials are shown of each kind.
    """
    parts: list[Any] = [Text(standing(history, limit), style="bold")]
    for title, table in (
        ("Best trials", _best(history, count)),
        ("Failures, the last ones", _failed(history, count)),
        ("Workers", _workers(history, beats)),
    ):
        if table.row_count:
            parts += [Text(), Text(title, style="bold"), table]
    return Group(*parts)


def standing(history: History, limit: int | None) -> str:
    """Return one line on how a study stands."""
    parts = [counted(history.tried_count, "trial", limit)]
    parts += [
        f"{number} {what}"
        for number, what in (
            (len(failures(history)), "failed"),
            (len(history.paused), "paused"),
            (len(history.running), "running"),
            (len(history.queue), "waiting"),
        )
        if number
    ]
    parts.append(counted(history.epochs, "epoch"))
    parts.append(f"{duration(history.seconds)} of work")
    return f"{history.objective.name}: {' · '.join(parts)}"


def failures(history: History) -> list[Record]:
    """Return the failed trials in the order in which they have ended."""
    ended = (history[number] for number in history.ended)
    return [record for record in ended if record.status == TrialStatus.FAILED]


def rows(history: History) -> list[dict[str, Any]]:
    """Return a row for each trial: how it went, its metrics, and its values.

    A hyperparameter or a metric that has the name of another column stands as `value:name` or
    `metric:name`.
    """
    return [_row(record) for record in history.trials]


def _row(record: Record) -> dict[str, Any]:
    row: dict[str, Any] = {
        "trial": record.trial_id,
        "status": record.status,
        "score": record.score,
        "epochs": record.trained,
        "seconds": _seconds(record),
        "failure": record.kind,
    }
    for kind, told in (("metric", record.metrics), ("value", record.values)):
        for name, value in told.items():
            row[f"{kind}:{name}" if name in row else name] = cell(value)
    return row


def cell(value: Any) -> bool | int | float | str | None:
    """Return a value as files hold it: JSON's own types, everything else as text."""
    return None if value is None else _json.plain(value)


def _seconds(record: Record) -> float | None:
    if record.started is None or record.ended is None:
        return None
    return round(record.ended - record.started, 3)


def _best(history: History, count: int) -> Table:
    best = history.best(count)
    names = list(dict.fromkeys(name for record in best for name in record.values))
    table = _table("Trial", *history.objective.names, "Epochs", "Status", *names)
    for record in best:
        several = history.objective.count > 1
        metrics = [record.metrics.get(name, "-") for name in history.objective.names]
        table.add_row(
            record.trial_id,
            *(shown(value) for value in (metrics if several else [record.score])),
            str(record.trained),
            record.status.lower(),
            *(shown(record.values[name]) if name in record.values else "" for name in names),
        )
    return table


def _failed(history: History, count: int) -> Table:
    table = _table("Trial", "Failure", "Cause")
    for record in failures(history)[-count:]:
        table.add_row(record.trial_id, record.kind or "error", raised_line(record.message or "-"))
    return table


def _workers(history: History, beats: Mapping[str, int]) -> Table:
    table = _table("Worker", "Process", "It is", "Trial", "Epoch", "For")
    records = [history[number] for number in sorted(history.running)]
    working = {process_of(record.worker or "") for record in records}
    idle = {process_of(worker) for worker in beats} - working
    for record in records:
        seconds = max(time.time() - (record.started or 0.0), 0.0)
        at_work = record.trial_id, str(record.trained), duration(seconds)
        table.add_row(*_process(record.worker or ""), *at_work)
    for process in sorted(idle):
        table.add_row(*_process(process), "-", "-", "-")
    return table


def _process(worker: str) -> tuple[str, str, str]:
    """Return a worker's machine, process id and presence."""
    machine, process_id = f"{worker}|".split("|")[:2]
    return machine.partition(":")[0], process_id, PRESENCES[presence_of(worker)]


def _table(*titles: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for title in titles:
        table.add_column(title, overflow="fold")
    return table


def columns(table: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of all columns that rows have, in the order in which they appear."""
    return list(dict.fromkeys(name for row in table for name in row))
