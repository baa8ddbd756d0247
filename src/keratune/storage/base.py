"""The journal: events, the storage that keeps them, and the fold that makes a history of them.

A study is its journal, an append-only sequence of events. `Storage` has two methods for it:
`append` writes events behind the last one that the writer has seen, and refuses when there are
newer ones; `read` returns what came after a sequence number. `exclusive` keeps others out for a
moment, so that reading, deciding and writing need no second attempt. Beside the journal, a storage
counts the signs of life of its workers. Events are plain JSON. `fold` applies one event to a
`History`, at a cost that does not depend on the number of trials.
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from keratune import _json, parameters
from keratune.history import History, Record, Result
from keratune.objectives import MultiObjective, Objective, ParetoObjective, create_objective
from keratune.trial import TrialStatus


@dataclasses.dataclass(frozen=True)
class Event:
    """Something that has happened; subclasses say what. Fields hold plain JSON."""

    kinds: ClassVar[dict[str, type[Event]]] = {}

    def __init_subclass__(cls) -> None:
        """Register the kind under its name."""
        Event.kinds[cls.__name__] = cls

    def to_json(self) -> str:
        """Return the fields as JSON text."""
        return _json.dumps(vars(self))

    @staticmethod
    def from_json(kind: str, text: str) -> Event:
        """Return the event of a kind and its JSON text.

        Raises:
            ValueError: The kind is unknown: a newer version of the library wrote it. Or the text is
                no JSON, or lacks a field.
        """
        if kind not in Event.kinds:
            raise ValueError(
                f"The journal holds an event of the unknown kind {kind!r}; known: "
                f"{sorted(Event.kinds)}. Open it with the newer keratune that wrote it."
            )
        fields, known = json.loads(text), _fields_of(kind)
        if fields.keys() == known:  # as always, but across versions: what __init__ does, quicker
            event = object.__new__(Event.kinds[kind])
            vars(event).update(fields)
            return event
        if not fields.keys() <= known:
            raise ValueError(
                f"The journal holds an event {kind!r} with the unknown fields "
                f"{sorted(fields.keys() - known)}; known: {sorted(known)}. Open it with the newer "
                "keratune that wrote it."
            )
        try:
            return Event.kinds[kind](**fields)
        except TypeError as error:
            raise ValueError(f"The journal holds a damaged event {kind!r}: {error}.") from error


@functools.cache
def _fields_of(kind: str) -> frozenset[str]:
    return frozenset(field.name for field in dataclasses.fields(Event.kinds[kind]))


@dataclasses.dataclass(frozen=True)
class StudyOpened(Event):
    """The first event: what is optimised, from which seed, and the settings in force."""

    objective: Any
    seed: int
    settings: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class SettingsChanged(Event):
    """The study was opened again with other settings."""

    settings: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class ObjectiveChanged(Event):
    """Another objective was given before any trial had been completed."""

    objective: Any


@dataclasses.dataclass(frozen=True)
class SpaceGrown(Event):
    """Hyperparameters were declared for the first time, or anew with another definition.

    `override` marks those that the user declared ahead, which win over what builds declare;
    `late` those that were declared after the build, while fitting.
    """

    entries: list[dict[str, Any]]
    override: bool = False
    late: bool = False


@dataclasses.dataclass(frozen=True)
class Enqueued(Event):
    """A configuration, possibly partial, is to be tried next."""

    values: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class ObservationsGiven(Event):
    """Configurations were evaluated elsewhere, with these scores by the study's objective.

    Each of `observations` has `key`, which tells it apart from others, `values` and `score`.
    """

    observations: list[dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class StructureLearnt(Event):
    """Trials have shown which hyperparameters change a model's program; see `Structure`."""

    lifted: list[str]
    structural: list[str]


@dataclasses.dataclass(frozen=True)
class TrialCreated(Event):
    """A configuration was chosen, to be trained for some epochs (None: all), for a reason."""

    number: int
    trial_id: str
    values: dict[str, Any]
    origin: str = "algorithm"
    epochs: int | None = None
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class TrialStarted(Event):
    """A worker has taken the trial."""

    number: int
    worker: str


@dataclasses.dataclass(frozen=True)
class TrialSettled(Event):
    """The build has read these values and no others, in this order.

    `variants` holds hyperparameters that it has declared in another way than the space has them,
    by name: under plain `if`, two branches may give one name two ranges.
    """

    number: int
    values: dict[str, Any]
    variants: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class TrialDiscarded(Event):
    """The build read what an earlier trial has read; the number is free again."""

    number: int


@dataclasses.dataclass(frozen=True)
class TrialRejected(Event):
    """A configuration breaks the limits or the constraint; its number is free again."""

    number: int
    reason: str
    costs: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Reported(Event):
    """An epoch of an execution has ended. `step` counts trained epochs, from 1."""

    number: int
    execution: int
    step: int
    metrics: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class ExecutionCompleted(Event):
    """One execution of a trial has ended with these metrics at its best step.

    `stopped` says why, where it was not trained to its end and the trial ends with it.
    """

    number: int
    execution: int
    step: int
    metrics: dict[str, Any]
    stopped: str | None = None


@dataclasses.dataclass(frozen=True)
class ExecutionConfirmed(Event):
    """A trial was trained once more with a fresh seed; `repeat` counts from 0."""

    number: int
    repeat: int
    step: int
    metrics: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class TrialRequeued(Event):
    """A trial goes back to the queue; `afresh` when what it has done does not count.

    `died` says that its worker has died while it had the trial in hand, `split` that its batches
    are to be trained in parts half as large.
    """

    number: int
    reason: str
    afresh: bool = False
    died: bool = False
    split: bool = False


@dataclasses.dataclass(frozen=True)
class TrialPaused(Event):
    """A trial may be trained further later; the score is that of its best epoch so far."""

    number: int
    score: float | None
    best_step: int
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class TrialResumed(Event):
    """A worker has taken a paused trial, to train it until `epochs` in total (None: to its end)."""

    number: int
    worker: str
    epochs: int | None = None
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class TrialCompleted(Event):
    """A trial has its score; `stopped` when it was not trained to its end."""

    number: int
    score: float
    best_step: int
    values: dict[str, Any]
    message: str | None = None
    stopped: bool = False


@dataclasses.dataclass(frozen=True)
class TrialFailed(Event):
    """A trial has failed for good; `kind` is one of `keratune.training.failures`."""

    number: int
    kind: str
    message: str | None
    values: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Entry:
    """An event in its place: sequence number from 1, and seconds since the epoch."""

    sequence: int
    time: float
    event: Event


STARTED_ANEW = (
    "The study's journal is shorter than what this process has read of it: somebody has started "
    "the study anew (`overwrite=True`) or removed its files. Run this process again."
)


class Storage(abc.ABC):
    """Keeps a journal. Sequence numbers start at 1 and have no gaps.

    Attributes:
        keeps_others_out: Whether nobody else appends inside `exclusive`.
    """

    keeps_others_out = False

    @abc.abstractmethod
    def append(self, events: Sequence[Event], seen: int) -> list[Entry]:
        """Write events behind the last one, all or none.

        Args:
            events: What has happened, in order.
            seen: Sequence number of the last event that the writer has read; 0 for none.

        Returns:
            The events in their places.

        Raises:
            JournalConflictError: The journal holds events after `seen`. Nothing was written.
            StudyMismatchError: The journal ends before `seen`: it was started anew meanwhile.
        """

    @abc.abstractmethod
    def read(self, since: int, limit: int | None = None) -> list[Entry]:
        """Return the events after sequence number `since`, in order.

        Args:
            since: Sequence number of the last event that need not be read; 0 for none.
            limit: At most how many, the first ones; None for all.

        Returns:
            The events in their places; none where the journal ends at `since` or before.
        """

    def exclusive(self) -> contextlib.AbstractContextManager[None]:
        """Keep all others from appending to this study while a block runs.

        A thread that is inside may enter again. What `append` writes inside is seen by others when
        the block ends, however it ends: an exception of the caller's takes nothing back. A storage
        that has no such means leaves it at `JournalConflictError`, as this one does.

        Raises:
            JournalConflictError: At the end, or from `append` and `read` inside: the connection
                was lost, and nothing of the block was written. Decide again in a new block.

        Example:
            ```python
            with storage.exclusive():
                entries = storage.read(since)
                storage.append(follows_from(entries), since + len(entries))
            ```
        """
        return contextlib.nullcontext()

    def beat(self, worker: str) -> None:  # noqa: B027  a storage need not know who lives
        """Give a sign of life of a worker; cheap, no part of the journal."""

    def beats(self) -> Mapping[str, int]:
        """Return how often each worker has given a sign of life.

        No clock is compared: whoever observes a worker judges by a clock of its own whether the
        count has changed for long enough.
        """
        return {}

    def forget(self, worker: str) -> None:  # noqa: B027  nothing was remembered
        """Drop the count of a worker that has gone; one that still lives starts again at 1."""

    def close(self) -> None:  # noqa: B027  nothing to give back is the common case
        """Give back files and connections."""


def objective_config(objective: Objective) -> Any:
    """Return an objective as JSON."""
    if objective.outcomes:
        outcomes = [str(outcome) for outcome in objective.outcomes]
        return {"objective": objective_config(objective.keeping(())), "outcomes": outcomes}
    if isinstance(objective, MultiObjective):
        parts = [objective_config(part) for part in objective.objectives]
        return {"pareto": parts} if isinstance(objective, ParetoObjective) else parts
    config = {"name": objective.name, "direction": objective.direction}
    if objective.threshold is not None:
        return {**config, "threshold": objective.threshold}
    return config


def objective_from_config(config: Any) -> Objective:
    """Return the objective of `objective_config`."""
    if isinstance(config, list):
        return create_objective([objective_from_config(part) for part in config])
    if "outcomes" in config:
        return objective_from_config(config["objective"]).keeping(config["outcomes"])
    if "pareto" in config:
        return ParetoObjective([objective_from_config(part) for part in config["pareto"]])
    if config["name"] == "default_objective":
        return create_objective(None)
    return Objective(config["name"], config["direction"], threshold=config.get("threshold"))


def start_history(entry: Entry) -> History:
    """Return the history of a journal whose first event is `entry`.

    Raises:
        ValueError: The journal does not start with `StudyOpened`.
    """
    opened = entry.event
    if not isinstance(opened, StudyOpened):
        raise ValueError(
            f"A journal must start with StudyOpened. Received: {type(opened).__name__}. "
            "The database holds something else, or was damaged; use another directory."
        )
    return History(objective_from_config(opened.objective), opened.seed)


def fold(history: History, entry: Entry) -> None:
    """Apply one event to a history, at a cost independent of the number of trials."""
    event, history.time, history.sequence = entry.event, entry.time, entry.sequence
    match event:
        case Reported():
            metrics = _json.read_metrics(event.metrics)
            history.report(event.number, event.execution, event.step, metrics)
        case ExecutionCompleted():
            result = Result(event.step, _json.read_metrics(event.metrics))
            history[event.number].results[event.execution] = result
            history[event.number].stopped = event.stopped
        case ExecutionConfirmed():
            result = Result(event.step, _json.read_metrics(event.metrics))
            history.confirm(event.number, event.repeat, result)
        case TrialCreated():
            _fold_created(history, event, entry.time)
        case TrialStarted():
            history.start(event.number, event.worker, entry.time)
        case TrialPaused():
            history.pause(event.number, event.score, event.best_step, event.reason)
        case TrialResumed():
            history.resume(event.number, event.worker, event.epochs, event.reason, entry.time)
        case TrialSettled():
            variants = {n: parameters.deserialize(v) for n, v in event.variants.items()}
            history.settle(event.number, _decoded(event.values), variants)
        case TrialDiscarded():
            history.discard(event.number)
        case TrialRejected():
            history.reject(event.number, event.reason, _json.read_metrics(event.costs))
        case TrialRequeued():
            history.requeue(event.number, afresh=event.afresh, died=event.died, split=event.split)
        case TrialCompleted() | TrialFailed():
            _fold_ended(history, event, entry.time)
        case ObjectiveChanged():
            history.change_objective(objective_from_config(event.objective))
        case SpaceGrown():
            _fold_space(history, event)
        case Enqueued():
            history.enqueue(event.values)
        case StructureLearnt():
            history.structure.learn(event.lifted, event.structural)
        case ObservationsGiven():
            for given in event.observations:
                history.give(given["key"], _decoded(given["values"]), given["score"])


PLAIN = frozenset({bool, int, float, str, type(None)})  # what JSON gives back as it was


def _decoded(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value if type(value) in PLAIN else _json.decode(value)
        for name, value in values.items()
    }


def _fold_created(history: History, event: TrialCreated, time: float) -> None:
    if event.origin == "enqueued":
        history.enqueued.pop(0)
    record = Record(event.number, event.trial_id, _decoded(event.values), event.origin)
    record.created, record.epochs, record.reason = time, event.epochs, event.reason
    history.create(record)


def _fold_ended(history: History, event: TrialCompleted | TrialFailed, time: float) -> None:
    record, values = history[event.number], _decoded(event.values)
    if repr(values) != repr(record.values):  # 1, 1.0 and True differ; so does another order
        history.settle(event.number, values)
    record.message = event.message
    if isinstance(event, TrialCompleted):
        record.best_step = event.best_step
        status = TrialStatus.STOPPED if event.stopped else TrialStatus.COMPLETED
        history.finish(event.number, status, time, float(event.score))
    else:
        record.kind = event.kind
        history.finish(event.number, TrialStatus.FAILED, time)


def _fold_space(history: History, event: SpaceGrown) -> None:
    grown = [parameters.deserialize(entry) for entry in event.entries]
    history.space.merge(grown)
    if event.override:
        history.space.override(grown)
    if event.late:
        history.late_names.update(parameter.name for parameter in grown)
