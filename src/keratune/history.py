"""The history of a study: what deciders see.

A `History` is the fold of a study's events. Search algorithms and schedulers read it and own no
state; what they compute from it at a cost they may cache by `History.changes`, the numbers of
the trials in the order in which something about them changed. It grows in one place only, the fold.
"""

from __future__ import annotations

import bisect
import dataclasses
import heapq
from collections.abc import Mapping, Sequence
from typing import Any

from keratune.configurations import ConfigurationTree
from keratune.objectives import Objective
from keratune.parameters import HyperParameter
from keratune.space import HyperParameters
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
        attempt: How often it was started anew after a failure.
        curves: Reports by execution and step (epochs trained, from 1).
        results: What each finished execution came to.
        score: Objective's value, mean over executions; None until completed.
        best_step: Mean best step of the executions, counted from 0.
        kind: What kind of failure it was.
        message: What went wrong.
        created, started, ended: Seconds since the epoch; None where it has not come to that.
    """

    number: int
    trial_id: str
    values: dict[str, Any]
    origin: str = "algorithm"
    status: str = TrialStatus.INVALID
    settled: bool = False
    variants: dict[str, HyperParameter] = dataclasses.field(default_factory=dict)
    worker: str | None = None
    attempt: int = 0
    curves: dict[int, dict[int, Metrics]] = dataclasses.field(default_factory=dict)
    results: dict[int, Result] = dataclasses.field(default_factory=dict)
    score: float | None = None
    best_step: int = 0
    kind: str | None = None
    message: str | None = None
    created: float | None = None
    started: float | None = None
    ended: float | None = None

    @property
    def finished(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status in (TrialStatus.COMPLETED, TrialStatus.FAILED)


@dataclasses.dataclass
class Streak:
    """How the failures have come so far.

    Attributes:
        length: Failed trials since the last completed one.
        finished: Trials finished before the streak began.
        failed: Of these, failed ones.
    """

    length: int = 0
    finished: int = 0
    failed: int = 0


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
        enqueued: Configurations (partial ones too) that are to be tried next.
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
        self.enqueued: list[dict[str, Any]] = []
        self.late_names: set[str] = set()
        self.streak = Streak()
        self.discarded: dict[int, int] = {}
        self._records: dict[int, Record] = {}
        self._numbers: dict[str, int] = {}
        self._free: list[int] = []
        self._ranking: list[tuple[float, int]] = []
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
        return len(self._ranking)

    @property
    def next_number(self) -> int:
        """The number of the next trial: the smallest that no trial has."""
        return self._free[0] if self._free else len(self._records)

    def number_of(self, trial_id: str) -> int | None:
        """Return the number of the trial with this name, None where there is none."""
        return self._numbers.get(trial_id)

    def best(self, count: int = 1) -> list[Record]:
        """Return the completed trials with the best scores; ties go to the older trial."""
        return [self._records[number] for _, number in self._ranking[:count]]

    def rank(self, number: int) -> int | None:
        """Return a completed trial's place among the completed ones, from 0."""
        record = self._records[number]
        if record.score is None:
            return None
        entry = (self.objective.to_loss(record.score), number)
        place = bisect.bisect_left(self._ranking, entry)
        found = place < len(self._ranking) and self._ranking[place] == entry
        return place if found else None

    # ------------------------------------------------------------------ written by the fold only

    def change_objective(self, objective: Objective) -> None:
        """Optimise something else; what unfinished trials have reported no longer counts."""
        self.objective = objective
        for record in self._records.values():
            if not record.finished:
                record.curves, record.results = {}, {}

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
        record.status, record.worker, record.started = TrialStatus.RUNNING, worker, time

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
        self._numbers.pop(record.trial_id, None)
        self.running.discard(number)
        if number in self.queue:
            self.queue.remove(number)
        self.tree.remove(record.values)
        heapq.heappush(self._free, number)
        self.discarded[number] = self.discarded.get(number, 0) + 1
        self.changes.append(number)

    def requeue(self, number: int, *, afresh: bool) -> None:
        """Put a running trial back; `afresh` forgets what it has reported."""
        record = self._records[number]
        self.running.discard(number)
        record.status, record.worker = TrialStatus.INVALID, None
        if afresh:
            record.attempt += 1
            record.curves, record.results = {}, {}
        self.queue.append(number)

    def finish(self, number: int, status: str, time: float) -> None:
        """End a trial whose other fields are final."""
        record = self._records[number]
        self.running.discard(number)
        if number in self.queue:
            self.queue.remove(number)
        record.status, record.ended, record.settled = status, time, True
        self._ended.append(number)
        self.changes.append(number)
        if status == TrialStatus.COMPLETED:
            score = self.objective.worst if record.score is None else record.score
            bisect.insort(self._ranking, (self.objective.to_loss(score), number))
            self.streak = Streak(
                0,
                self.streak.finished + self.streak.length + 1,
                self.streak.failed + self.streak.length,
            )
        else:
            self.streak = dataclasses.replace(self.streak, length=self.streak.length + 1)
