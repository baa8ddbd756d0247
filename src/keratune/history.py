"""The history of a study: what deciders see.

A `History` is the fold of a study's events. Search algorithms and schedulers read it and own no
state; what they compute from it at a cost they may cache by `History.changes`, the numbers of
the trials in the order in which something about them changed. It grows in one place only, the fold.
"""

from __future__ import annotations

import contextlib
import dataclasses
import heapq
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from keratune.configurations import ConfigurationTree
from keratune.objectives import Objective
from keratune.parameters import HyperParameter
from keratune.ranking import ranking_by
from keratune.space import HyperParameters
from keratune.structure import Structure
from keratune.trial import TrialStatus

Metrics = dict[str, float]


@dataclasses.dataclass(frozen=True)
class Result:
    """What one execution of a trial came to.

    Attributes:
        step: Epochs trained at the best epoch, from 1; 0 where the evaluator knows no epochs.
        metrics: The metrics of that epoch.
    """

    step: int
    metrics: Metrics


@dataclasses.dataclass(frozen=True)
class Observation:
    """A configuration that was evaluated elsewhere.

    Attributes:
        key: Tells it apart from other observations.
        values: The configuration, in the terms of the present space.
        score: The objective's value.
    """

    key: str
    values: dict[str, Any]
    score: float


@dataclasses.dataclass
class Record:
    """One trial as the journal tells it.

    Attributes:
        number: 0, 1, 2, ... in order of creation.
        trial_id: Its name in files and for users.
        values: The configuration; once the build has run, exactly what it read, in that order.
        status: One of `TrialStatus`; INVALID means: waiting for a worker (again).
        origin: Who chose the values: "algorithm", "defaults", "enqueued" or "imported".
        settled: Whether a build has confirmed the values.
        variants: Hyperparameters that its build declared in another way than the space has them.
        worker: The worker that runs it.
        lease: Place in the journal at which a worker has last taken it: the last one owns it.
        deaths: Workers that have died with it in hand since it has last got on.
        attempt: How often it was started anew after a failure.
        splits: How often its batches were halved because the memory ran out.
        epochs: Epochs that it is to have trained before somebody decides about it again; None:
            as many as it is trained for.
        curves: Reports by execution and step (epochs trained, from 1).
        losses: The objective's losses of the first execution by step, inf for what is not finite.
        results: What each finished execution came to.
        confirmed: What further trainings with fresh seeds have come to, by repeat.
        score: Objective's value, mean over executions; of a paused trial, that of its best epoch
            so far; None before.
        best_step: Mean best step of the executions, counted from 0.
        kind: What kind of failure it was.
        message: What went wrong, or why it was stopped.
        stopped: Why its last execution was not trained to its end, and it ends with it.
        reason: Why it was last started, resumed or paused, where there is more to say than that.
        created, started, ended: When it was created, last started or resumed, and ended: seconds
            since the epoch; None where it has not come to that.
        touched: When its worker has last given a sign of life.
    """

    number: int
    trial_id: str
    values: dict[str, Any]
    origin: str = "algorithm"
    status: str = TrialStatus.INVALID
    settled: bool = False
    variants: dict[str, HyperParameter] = dataclasses.field(default_factory=dict)
    worker: str | None = None
    lease: int = 0
    deaths: int = 0
    attempt: int = 0
    splits: int = 0
    epochs: int | None = None
    curves: dict[int, dict[int, Metrics]] = dataclasses.field(default_factory=dict)
    losses: dict[int, float] = dataclasses.field(default_factory=dict)
    results: dict[int, Result] = dataclasses.field(default_factory=dict)
    confirmed: dict[int, Result] = dataclasses.field(default_factory=dict)
    score: float | None = None
    best_step: int = 0
    kind: str | None = None
    message: str | None = None
    stopped: str | None = None
    reason: str = ""
    created: float | None = None
    started: float | None = None
    touched: float = 0.0
    ended: float | None = None

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status in (TrialStatus.COMPLETED, TrialStatus.STOPPED, TrialStatus.FAILED)

    @property
    def metrics(self) -> Metrics:
        """Mean metrics of the executions; those of the best epoch so far where none has ended."""
        if not self.results:
            return self.curves.get(0, {}).get(self.best_step + 1, {})
        collected: dict[str, list[float]] = {}
        for result in self.results.values():
            for name, value in result.metrics.items():
                collected.setdefault(name, []).append(value)
        return {name: sum(values) / len(values) for name, values in collected.items()}

    @property
    def trained(self) -> int:
        """Epochs that its first execution has trained so far."""
        return next(reversed(self.curves.get(0, {})), 0)


@dataclasses.dataclass(frozen=True)
class Rejection:
    """A configuration that was not trained: it breaks the limits or the constraint.

    Attributes:
        number: The trial's number, which another configuration has got.
        values: The configuration, as far as its build has read it.
        variants: See `Record`.
        reason: What it breaks, in words.
        costs: What was measured of its model, by name.
    """

    number: int
    values: dict[str, Any]
    variants: dict[str, HyperParameter]
    reason: str
    costs: dict[str, float]


@dataclasses.dataclass
class Streak:
    """How the failures have come so far.

    Attributes:
        length: Failed trials since the last completed one.
        finished: Trials finished before the streak began.
        failed: Of these, failed ones.
        kinds: What kinds of failure the streak consists of.
        causes: Where its trials have failed and by what, see `cause_of`.
    """

    length: int = 0
    finished: int = 0
    failed: int = 0
    kinds: frozenset[str] = frozenset({"error"})
    causes: frozenset[str] = frozenset()

    @property
    def alike(self) -> bool:
        """Whether all its trials have failed in the same way."""
        return len(self.causes) <= 1

    def longer(self, record: Record) -> Streak:
        """Return the streak with one more failed trial."""
        begun = self.length > 0
        return dataclasses.replace(
            self,
            length=self.length + 1,
            kinds=(self.kinds if begun else frozenset()) | {record.kind or "error"},
            causes=(self.causes if begun else frozenset()) | {cause_of(record)},
        )


# How a traceback names what was raised.
_RAISED = re.compile(r"[\w.]+(: |$)")


def raised_line(message: str) -> str:
    """Return the line of a traceback that names the exception; libraries add notes behind it.

    Of a message that is no traceback, the last line.
    """
    lines = [line for line in message.splitlines() if line[:1].strip()]
    named = [line for line in lines if _RAISED.match(line)] if "Traceback" in message else []
    return (named or lines or [message])[-1]


def cause_of(record: Record) -> str:
    """Return where a failed trial has failed and by what, without what differs between trials.

    From a traceback these are the innermost line of code and the exception's class.
    """
    kind, message = record.kind or "error", record.message or ""
    places = [line.strip() for line in message.splitlines() if line.startswith('  File "')]
    if not places:
        return kind
    return f"{kind} {places[-1]} {raised_line(message).split(':')[0]}"


class History:
    """Everything that has happened in a study, by trial.

    Args:
        objective: What the study optimises.
        seed: The study's seed.

    Attributes:
        space: Union of all hyperparameters declared so far, with their defaults.
        tree: The configurations of all trials as a tree of decisions.
        changes: Numbers of the trials in the order in which they changed; append-only.
        queue: Numbers of the trials that wait for a worker, first come first served.
        running: Numbers of the trials that a worker has.
        paused: Numbers of the trials that may be trained further.
        reports: Number and step of every epoch of a first execution in the order in which they
            came; append-only. Step 0 says that the trial starts from nothing again.
        epochs: Epochs trained in all.
        sequence: Place of the last event in the journal.
        time: When the last event happened, seconds since the epoch.
        seconds: How long at least one worker has had a trial in hand, as its signs of life tell.
        enqueued: Configurations (partial ones too) that are to be tried next.
        ever_enqueued: All that were ever enqueued; append-only.
        given: Observations from elsewhere, (values, loss), which algorithms learn from and which
            are no trials; append-only while the objective stays.
        confirmed: Numbers of the trials that were trained again to confirm them.
        allowed: Tells whether a configuration may be tried, by the user's constraint; it is code,
            and no part of the journal.
        structure: What is known about which hyperparameters change a model's program.
        shared: Values that the next configuration must have, see `sharing`; no part of the journal.
        rejected: Configurations that were not trained and never will be; append-only.
        rejections_in_a_row: Number of them since a trial has last ended or paused.
    """

    def __init__(self, objective: Objective, seed: int) -> None:
        """Start with no trials."""
        self.objective = objective
        self.seed = seed
        self.space = HyperParameters()
        self.tree = ConfigurationTree()
        self.changes: list[int] = []
        self.queue: list[int] = []
        self.running: set[int] = set()
        self.paused: set[int] = set()
        self.reports: list[tuple[int, int]] = []
        self.epochs = 0
        self.sequence = 0
        self.time = 0.0
        self.seconds = 0.0
        self._counted_until = 0.0
        self.enqueued: list[dict[str, Any]] = []
        self.ever_enqueued: list[dict[str, Any]] = []
        self.given: list[tuple[dict[str, Any], float]] = []
        self.given_keys: set[str] = set()
        self.confirmed: set[int] = set()
        self.late_names: set[str] = set()
        self.streak = Streak()
        self.discarded: dict[int, int] = {}
        self.allowed: Callable[[Mapping[str, Any]], bool] = _anything
        self.structure = Structure()
        self.shared: Mapping[str, Any] = {}
        self.rejected: list[Rejection] = []
        self.rejections_in_a_row = 0
        self._rejections: dict[int, int] = {}
        self._records: dict[int, Record] = {}
        self._numbers: dict[str, int] = {}
        self._free: list[int] = []
        self._ranking = ranking_by(objective.count)
        self._completed = 0
        self._ended: list[int] = []

    def __len__(self) -> int:
        """Return the number of trials."""
        return len(self._records)

    def __getitem__(self, number: int) -> Record:
        """Return a trial by its number."""
        return self._records[number]

    def __contains__(self, number: int) -> bool:
        """Tell whether there is a trial with this number."""
        return number in self._records

    @property
    def trials(self) -> Sequence[Record]:
        """All trials by number."""
        return [self._records[number] for number in sorted(self._records)]

    @property
    def ended(self) -> Sequence[int]:
        """Numbers of the finished trials in the order in which they ended."""
        return self._ended

    @property
    def completed_count(self) -> int:
        """Number of completed trials."""
        return self._completed

    @property
    def tried_count(self) -> int:
        """Number of trials that no worker has in hand and none waits for."""
        return len(self._ended) + len(self.paused)

    @property
    def scored_count(self) -> int:
        """Number of trials that have a score: completed, stopped and paused ones."""
        return len(self._ranking)

    @property
    def next_number(self) -> int:
        """The number of the next trial: the smallest that no trial has."""
        return self._free[0] if self._free else len(self._records)

    def number_of(self, trial_id: str) -> int | None:
        """Return the number of the trial with this name, None where there is none."""
        return self._numbers.get(trial_id)

    def best(self, count: int = 1) -> list[Record]:
        """Return the trials with the best scores; ties go to the older trial.

        Paused and stopped trials count with the best epoch that they have come to. With several
        objectives the order is that of `keratune.ranking`.
        """
        return [self._records[number] for number in self._ranking.best(count)]

    def front(self) -> list[Record]:
        """Return the trials that keep all thresholds and outcomes, and that no other beats."""
        return [self._records[number] for number in self._ranking.front()]

    def rank(self, number: int) -> int | None:
        """Return a trial's place among those that have a score, from 0; None where it has none."""
        return self._ranking.place(number)

    def losses(self, record: Record) -> list[float]:
        """Return the losses that a trial with a score is compared by, inf where it has none."""
        if self.objective.count == 1:
            score = self.objective.worst if record.score is None else record.score
            return [self.objective.to_loss(score)]
        metrics = record.metrics
        if not self.objective.has_value(metrics):
            return [math.inf] * self.objective.count
        return self.objective.get_losses(metrics)

    @contextlib.contextmanager
    def sharing(self, values: Mapping[str, Any]) -> Iterator[None]:
        """Have the configurations that are chosen in a block share these values."""
        before, self.shared = self.shared, values
        try:
            yield
        finally:
            self.shared = before

    # ------------------------------------------------------------------ written by the fold only

    def change_objective(self, objective: Objective) -> None:
        """Optimise something else; what unfinished trials have reported no longer counts."""
        self.objective = objective
        self._ranking = ranking_by(objective.count)
        self.given, self.given_keys = [], set()  # their losses are by the other objective
        for record in self._records.values():
            if not record.finished:
                self._forget_training(record)

    def enqueue(self, values: Mapping[str, Any]) -> None:
        """Take up a configuration that is to be tried next."""
        self.enqueued.append(dict(values))
        self.ever_enqueued.append(dict(values))

    def give(self, key: str, values: Mapping[str, Any], score: float) -> None:
        """Take up an observation from elsewhere."""
        self.given_keys.add(key)
        self.given.append((dict(values), float(self.objective.to_loss(score))))

    def create(self, record: Record) -> None:
        """Take up a new trial, which waits for a worker."""
        if self._free and self._free[0] == record.number:
            heapq.heappop(self._free)
        self._records[record.number] = record
        self._numbers[record.trial_id] = record.number
        self.tree.add(record.values)
        self.queue.append(record.number)
        self.changes.append(record.number)

    def start(self, number: int, worker: str, time: float) -> None:
        """Give a waiting trial to a worker."""
        record = self._records[number]
        self.queue.remove(number)
        self.running.add(number)
        self._hand_over(record, worker, time)

    def _hand_over(self, record: Record, worker: str, time: float) -> None:
        record.status, record.worker = TrialStatus.RUNNING, worker
        record.lease = self.sequence
        record.started = record.touched = time

    def report(self, number: int, execution: int, step: int, metrics: Metrics) -> None:
        """Take up an epoch's metrics."""
        record = self._records[number]
        curve = record.curves.setdefault(execution, {})
        self.epochs += 1
        curve[step] = metrics
        record.deaths = 0
        self._count_time(record)
        if execution == 0:
            if self.objective.has_value(metrics):
                loss = float(self.objective.to_loss(self.objective.get_value(metrics)))
                record.losses[step] = loss if math.isfinite(loss) else math.inf
            self.reports.append((number, step))

    def pause(self, number: int, score: float | None, best_step: int, reason: str) -> None:
        """Take a trial from its worker until somebody decides that it is trained further."""
        record = self._records[number]
        self._unrank(record)
        record.status, record.worker, record.reason = TrialStatus.PAUSED, None, reason
        record.score, record.best_step = score, best_step
        self._rank(record)
        self._count_time(record)
        self.running.discard(number)
        self.paused.add(number)
        self.rejections_in_a_row = 0
        self.changes.append(number)

    def resume(
        self, number: int, worker: str, epochs: int | None, reason: str, time: float
    ) -> None:
        """Give a paused trial to a worker."""
        record = self._records[number]
        self.paused.discard(number)
        self.running.add(number)
        self._hand_over(record, worker, time)
        record.epochs, record.reason = epochs, reason
        self.changes.append(number)

    def confirm(self, number: int, repeat: int, result: Result) -> None:
        """Take up what a trial came to when it was trained once more."""
        self._records[number].confirmed[repeat] = result
        self.confirmed.add(number)
        self.changes.append(number)

    def _count_time(self, record: Record) -> None:
        """Count the time since the last sign of life of a trial's worker."""
        if record.number in self.running:
            uncounted = self.time - max(record.touched, self._counted_until)
            self.seconds += max(uncounted, 0.0)
            self._counted_until = max(self._counted_until, self.time)
            record.touched = self.time

    def _rank(self, record: Record) -> None:
        if record.score is not None:
            violation = self.objective.violation(record.metrics)
            self._ranking.add(record.number, self.losses(record), violation)

    def _unrank(self, record: Record) -> None:
        self._ranking.remove(record.number)

    def _forget_training(self, record: Record) -> None:
        self._unrank(record)
        record.curves, record.losses, record.results, record.score = {}, {}, {}, None
        self.reports.append((record.number, 0))

    def settle(
        self,
        number: int,
        values: Mapping[str, Any],
        variants: Mapping[str, HyperParameter] | None = None,
    ) -> None:
        """Replace a trial's values by what its build has read; None keeps the variants."""
        record = self._records[number]
        record.settled = True
        self.tree.remove(record.values)
        record.values = dict(values)
        record.variants = record.variants if variants is None else dict(variants)
        self.tree.add(record.values, record.variants)
        self.changes.append(number)

    def discard(self, number: int) -> None:
        """Forget a trial that repeats another; its number is free again."""
        record = self._records.pop(number)
        self._unrank(record)
        self.running.discard(number)
        self.paused.discard(number)
        self.confirmed.discard(number)
        self._numbers.pop(record.trial_id, None)
        if number in self.queue:
            self.queue.remove(number)
        self.tree.remove(record.values)
        heapq.heappush(self._free, number)
        self.discarded[number] = self.discarded.get(number, 0) + 1
        self.changes.append(number)
        self.reports.append((number, 0))

    def reject(self, number: int, reason: str, costs: Mapping[str, float]) -> None:
        """Forget a trial that must not be trained; its values stay in the tree."""
        record = self._records[number]
        self.discard(number)
        self.discarded[number] -= 1
        self.tree.add(record.values, record.variants)
        self.rejected.append(Rejection(number, record.values, record.variants, reason, dict(costs)))
        self._rejections[number] = self.rejections(number) + 1
        self.rejections_in_a_row += 1

    def rejections(self, number: int) -> int:
        """Return how many configurations were rejected that had a trial's number."""
        return self._rejections.get(number, 0)

    def requeue(
        self, number: int, *, afresh: bool, died: bool = False, split: bool = False
    ) -> None:
        """Put a running trial back; see `TrialRequeued`. `afresh` forgets what it has reported."""
        record = self._records[number]
        record.deaths += died
        record.splits += split
        self.running.discard(number)
        record.status, record.worker = TrialStatus.INVALID, None
        if afresh:
            record.attempt += not split
            self._forget_training(record)
        self.queue.append(number)

    def finish(self, number: int, status: str, time: float, score: float | None = None) -> None:
        """End a trial whose other fields are final."""
        record = self._records[number]
        self._unrank(record)
        record.score = score
        if record.kind != "lost":  # somebody else has written the end of that, at any time
            self._count_time(record)
        self.running.discard(number)
        self.paused.discard(number)
        if number in self.queue:
            self.queue.remove(number)
        record.status, record.ended, record.settled = status, time, True
        self.rejections_in_a_row = 0
        self._ended.append(number)
        self.changes.append(number)
        self._rank(record)
        self._completed += status == TrialStatus.COMPLETED
        if status != TrialStatus.FAILED:
            self.streak = Streak(
                0,
                self.streak.finished + self.streak.length + 1,
                self.streak.failed + self.streak.length,
            )
        else:
            self.streak = self.streak.longer(record)


def _anything(values: Mapping[str, Any]) -> bool:
    return True
