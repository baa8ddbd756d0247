"""The study: all trials of one project, and the only writer of its journal.

`ask` gives a worker a trial, `settle` and `report` tell how it goes, `tell` and `fail` end it. All
that a study knows is its history, the fold of the journal; several studies (threads, processes,
machines) may write the same journal, and whoever decided on an older history decides again.

Example:
    ```python
    study = Study.open(MemoryStorage(), Objective("loss", "min"), create("random"), seed=0)
    study.declare([Float("x", -1.0, 1.0)])
    while isinstance(trial := study.ask("me"), Record):
        study.tell(trial.number, {"loss": trial.values["x"] ** 2})
    ```
"""

from __future__ import annotations

import dataclasses
import enum
import math
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from keratune import _json, parameters
from keratune._random import stream
from keratune.algorithms.base import Algorithm, unseen_values
from keratune.errors import DuplicateTrialError, JournalConflictError, StudyMismatchError
from keratune.history import History, Record, Result, Streak
from keratune.objectives import Objective
from keratune.parameters import HyperParameter
from keratune.storage import base as journal
from keratune.storage.base import Event, Storage

# Suggestions in a row that repeat tried configurations before the rest of the space is enumerated.
COLLISIONS = 20

# A streak of failures is taken for a broken script, not for bad luck, when the failure rate seen
# before it makes it less likely than this.
BAD_LUCK = 1e-4


class Verdict(enum.Enum):
    """Answers of `ask` that are not a trial."""

    WAIT = "wait"  # running trials may open something new: ask again later
    STOP = "stop"  # nothing is left to be tried


class NonFiniteScoreError(Exception):
    """The objective is NaN or infinite; the message says which, and at which execution."""


Source = Callable[[int, int], "Mapping[str, Any] | Verdict"]


@dataclasses.dataclass(frozen=True)
class Limits:
    """How much a study may do.

    Args:
        max_trials: Number of trials; None: until the space is used up.
        max_retries: How often a trial is tried again after a failure that may pass.
        max_consecutive_failures: Failed trials in a row that end the search (see
            `is_broken`); None: none do.
    """

    max_trials: int | None = None
    max_retries: int = 0
    max_consecutive_failures: int | None = 3


def is_broken(streak: Streak, limit: int | None) -> bool:
    """Tell whether a streak of failures means that the script is broken.

    The streak must have reached the limit, and it must be unlikely for the failure rate f of the
    trials before it, estimated by Laplace's rule: f**length < 1e-4. While no trial has
    completed, the limit alone decides.
    """
    if limit is None or streak.length < max(limit, 1):
        return False
    if streak.finished == streak.failed:
        return True
    rate = (streak.failed + 1) / (streak.finished + 2)
    return bool(rate**streak.length < BAD_LUCK)


class Study:
    """All trials of one project. Use `Study.open`.

    Attributes:
        history: What has happened so far, as deciders see it.
        limits: How much the study may do.
        settings: The arguments in force, as the journal holds them.
        tune_new: Whether hyperparameters that builds declare join the space.
        allow_new: Whether builds may declare any.
        defaults_first: Whether trial 0 takes the declared defaults.
    """

    def __init__(self, storage: Storage, algorithm: Algorithm, limits: Limits) -> None:
        """Keep the parts; `open` reads or starts the journal."""
        self.limits = limits
        self.algorithm = algorithm
        self.settings: dict[str, Any] = {}
        self.tune_new = True
        self.allow_new = True
        self.defaults_first = True
        self.history: History
        self._storage = storage
        self._sequence = 0
        self._lock = threading.RLock()

    @classmethod
    def open(
        cls,
        storage: Storage,
        objective: Objective,
        algorithm: Algorithm,
        *,
        seed: int,
        limits: Limits | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Study:
        """Open the study that a storage holds, or start it there.

        Args:
            storage: Where the journal is.
            objective: What is optimised.
            algorithm: What decides; it is asked with the study's history.
            seed: Seed of a study that starts; one that exists keeps its own.
            limits: How much the study may do; they hold from now on.
            settings: Arguments to remember, plain JSON.

        Raises:
            StudyMismatchError: The stored study has another objective.
        """
        study = cls(storage, algorithm, limits or Limits())
        opened = journal.StudyOpened(
            journal.objective_config(objective), seed, dict(settings or {})
        )
        if not study.sync():
            try:
                storage.append([opened], seen=0)
            except JournalConflictError:
                pass  # another worker has just started it
            study.sync()
        study._refuse_other_objective(opened.objective)
        return study

    def _refuse_other_objective(self, wanted: Any) -> None:
        stored = journal.objective_config(self.history.objective)
        if stored != wanted:
            raise StudyMismatchError(
                f"The stored study optimises {stored}. Received: objective={wanted}. Use the same "
                "objective, change `project_name`, or pass `overwrite=True` to start anew."
            )

    # ------------------------------------------------------------------ the journal

    def sync(self) -> bool:
        """Read what others have written; tell whether the journal holds anything."""
        with self._lock:
            for entry in self._storage.read(self._sequence):
                self._fold(entry)
            return self._sequence > 0

    def _fold(self, entry: journal.Entry) -> None:
        if entry.sequence == 1:
            self.history = journal.start_history(entry)
        else:
            journal.fold(self.history, entry)
        event = entry.event
        if isinstance(event, (journal.StudyOpened, journal.SettingsChanged)):
            self.settings = dict(event.settings)
        self._sequence = entry.sequence

    def _append(self, *events: Event) -> None:
        """Write events that are true whatever others have written meanwhile."""
        with self._lock:
            while True:
                try:
                    self._append_or_conflict(*events)
                    return
                except JournalConflictError:
                    self.sync()

    def _append_or_conflict(self, *events: Event) -> None:
        """Write events that were decided on the history as it stands, and fold them."""
        for entry in self._storage.append(events, self._sequence):
            self._fold(entry)

    def close(self) -> None:
        """Give back files and connections."""
        self._storage.close()

    # ------------------------------------------------------------------ the space

    def declare(
        self, declared: Iterable[HyperParameter], *, override: bool = False, late: bool = False
    ) -> list[HyperParameter]:
        """Add hyperparameters to the space, those that it lacks or has with another definition.

        Args:
            declared: Hyperparameters, from a build or from the user.
            override: Whether they win over what builds will declare under the same name.
            late: Whether they were declared while fitting, after the build.

        Returns:
            Those that were added.
        """
        with self._lock:
            listed = list(declared)
            space = self.history.space
            fresh = [p for p in listed if _is_news(space.find(p), p)]
            if fresh:
                entries = [parameters.serialize(parameter) for parameter in fresh]
                self._append(journal.SpaceGrown(entries, override, late))
            space.merge(listed)  # the journal knows functions by label, the caller has them live
            return fresh

    def change_settings(self, settings: Mapping[str, Any]) -> None:
        """Remember the arguments that are in force from now on."""
        if dict(settings) != self.settings:
            self._append(journal.SettingsChanged(dict(settings)))

    def enqueue(self, values: Mapping[str, Any]) -> None:
        """Have a configuration, possibly partial, tried next; what is missing is filled in."""
        encoded = {name: _json.encode(value) for name, value in values.items()}
        self._append(journal.Enqueued(encoded))

    # ------------------------------------------------------------------ asking

    def ask(
        self,
        worker: str,
        source: Source | None = None,
        name: Callable[[int], str] = str,
    ) -> Record | Verdict:
        """Give a worker a trial: one that waits, or a new one.

        Args:
            worker: Who asks.
            source: Called with the trial's number and the attempt, returns its values or a verdict;
                default: the study's algorithm, kept from repeating configurations.
            name: Returns the trial's name for files and users, from its number.

        Returns:
            The trial, running; or a verdict.
        """
        with self._lock:
            self.sync()
            while True:
                try:
                    return self._ask(worker, source, name)
                except JournalConflictError:
                    self.sync()

    def _ask(
        self, worker: str, source: Source | None, name: Callable[[int], str]
    ) -> Record | Verdict:
        history = self.history
        if history.queue:
            number = history.queue[0]
            self._append_or_conflict(journal.TrialStarted(number, worker))
            return history[number]
        if self.is_full:
            return Verdict.STOP
        number = history.next_number
        origin, values = self._choose(number, source)
        if isinstance(values, Verdict):
            return values
        encoded = {key: _json.encode(value) for key, value in values.items()}
        self._append_or_conflict(
            journal.TrialCreated(number, name(number), encoded, origin),
            journal.TrialStarted(number, worker),
        )
        return history[number]

    @property
    def is_full(self) -> bool:
        """Whether the study has all the trials that it may have."""
        limit = self.limits.max_trials
        return bool(limit) and len(self.history) >= (limit or 0)

    def _choose(self, number: int, source: Source | None) -> tuple[str, dict[str, Any] | Verdict]:
        """Return where the next trial's values come from, and the values."""
        if self.history.enqueued:
            return "enqueued", self.complete(
                number, self.history.space.live(self.history.enqueued[0])
            )
        if source is not None:
            given = source(number, 0)
            return "algorithm", given if isinstance(given, Verdict) else dict(given)
        if number == 0 and self.defaults_first and not self.history.discarded.get(0):
            return "defaults", self._defaults()
        return "algorithm", self.suggest(number)

    def _defaults(self) -> dict[str, Any]:
        container = self.history.space.copy()
        container.begin({}, None)
        container.ensure_active_values(lambda parameter: parameter.default)
        return dict(container.values)

    def suggest(self, number: int) -> dict[str, Any] | Verdict:
        """Return a configuration of the algorithm's that no trial has tried.

        Args:
            number: The number that the trial will have.

        Returns:
            The configuration; WAIT when only running trials can open new ones; STOP when none is
            left.
        """
        discards = self.history.discarded.get(number, 0)
        for attempt in range(discards, discards + COLLISIONS):
            rng = stream(self.history.seed, number, "suggest", attempt)
            suggested = self.algorithm.suggest(self.history, rng)
            if suggested is None:
                return self._wait_or_stop()
            values = self.complete(number, suggested)
            if discards >= COLLISIONS or not self.history.tree.covers(values):
                return values
        found = unseen_values(self.history, stream(self.history.seed, number, "unseen", discards))
        return self._wait_or_stop() if found is None else found

    def _wait_or_stop(self) -> Verdict:
        return Verdict.WAIT if self.history.running else Verdict.STOP

    def complete(self, number: int, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return values with what they leave open filled in by the algorithm."""
        container = self.history.space.copy()
        container.begin(values, None)
        container.ensure_active_values(lambda parameter: self.fill(number, parameter))
        return dict(container.values)

    def fill(self, number: int, parameter: HyperParameter) -> Any:
        """Return the value of a hyperparameter that a trial's values leave open."""
        record = self.history[number] if number in self.history else None
        if not self.tune_new or (record is not None and record.origin == "defaults"):
            return parameter.default
        discards = self.history.discarded.get(number, 0)
        rng = stream(self.history.seed, number, "fill", parameter.name, discards)
        return self.algorithm.fill(parameter, self.history, rng)

    # ------------------------------------------------------------------ while a trial runs

    def settle(
        self,
        number: int,
        values: Mapping[str, Any],
        declared: Sequence[HyperParameter] = (),
        *,
        late: bool = False,
    ) -> None:
        """Record what a trial's build has read, before it is trained.

        Args:
            number: The trial.
            values: What was read, in order.
            declared: Hyperparameters that the build has declared.
            late: Whether they were declared while fitting, after the build.

        Raises:
            RuntimeError: New hyperparameters although the study does not allow them.
            DuplicateTrialError: An earlier trial has read the same; the trial is gone, its number
                free.
        """
        with self._lock:
            self.update_space(declared, late=late)
            record = self.history[number]
            encoded = {name: _json.encode(value) for name, value in values.items()}
            now = {name: _json.decode(value) for name, value in encoded.items()}
            if list(now.items()) == list(record.values.items()):
                return
            self.history.tree.remove(record.values)
            repeats = self.history.tree.covers(now)
            self.history.tree.add(record.values)
            if repeats and self.history.discarded.get(number, 0) < COLLISIONS and not late:
                self._append(journal.TrialDiscarded(number))
                raise DuplicateTrialError(f"trial {number} repeats an earlier one")
            self._append(journal.TrialSettled(number, encoded))

    def update_space(self, declared: Sequence[HyperParameter], *, late: bool = False) -> None:
        """Take hyperparameters that a build has declared into the space, as the settings allow.

        Raises:
            RuntimeError: New ones although the study does not allow them.
        """
        fresh = [p for p in declared if not self.history.space.knows(p)]
        if fresh and not self.allow_new:
            raise RuntimeError(
                f"`allow_new_entries` is `False`, but found new entries {fresh}. Declare them in "
                "`hyperparameters`, or pass `allow_new_entries=True`."
            )
        if fresh and self.tune_new:
            self.declare(fresh, late=late)

    def report(
        self, number: int, step: int, metrics: Mapping[str, float], execution: int = 0
    ) -> None:
        """Record an epoch's metrics; `step` counts trained epochs, from 1."""
        finite = _json.finite_metrics(metrics)
        self._append(journal.Reported(number, execution, step, finite))

    def complete_execution(self, number: int, execution: int, result: Result) -> None:
        """Record what one execution came to, so that a resumed trial need not repeat it."""
        finite = _json.finite_metrics(result.metrics)
        self._append(journal.ExecutionCompleted(number, execution, result.step, finite))

    def requeue(self, number: int, reason: str, *, afresh: bool = False) -> None:
        """Put a running trial back into the queue."""
        self._append(journal.TrialRequeued(number, reason, afresh))

    # ------------------------------------------------------------------ ending a trial

    def tell(
        self,
        number: int,
        metrics: Mapping[str, float] | None = None,
        *,
        values: Mapping[str, Any] | None = None,
        message: str | None = None,
    ) -> Record:
        """Complete a trial.

        Args:
            number: The trial.
            metrics: Its metrics; default: those of its completed executions.
            values: What it has read in the end; default: as settled.
            message: Anything worth keeping.

        Returns:
            The trial with its score, the mean of the objective over its executions.

        Raises:
            NonFiniteScoreError: The objective is NaN or infinite; the trial is not ended.
            ValueError: The metrics lack the objective.
        """
        with self._lock:
            if metrics is not None:
                self.complete_execution(number, 0, Result(0, dict(metrics)))
            record = self.history[number]
            results = [record.results[key] for key in sorted(record.results)]
            score = self._score(results)
            step = int(sum(max(r.step - 1, 0) for r in results) / max(len(results), 1))
            final = {k: _json.encode(v) for k, v in (values or record.values).items()}
            self._append(journal.TrialCompleted(number, score, step, final, message))
            return self.history[number]

    def tell_score(
        self,
        number: int,
        score: float,
        best_step: int,
        values: Mapping[str, Any],
        message: str | None = None,
    ) -> Record:
        """Complete a trial whose score was computed elsewhere; NonFiniteScoreError as in `tell`."""
        _refuse_non_finite(score, self.history.objective.name)
        final = {key: _json.encode(value) for key, value in values.items()}
        self._append(journal.TrialCompleted(number, float(score), best_step, final, message))
        return self.history[number]

    def _score(self, results: Sequence[Result]) -> float:
        objective = self.history.objective
        scores = []
        for result in results:
            if not objective.has_value(result.metrics):
                raise ValueError(
                    "Objective value missing in metrics reported to the Oracle, expected: "
                    f"{list(objective.names)}, found: {sorted(result.metrics)}."
                )
            scores.append(float(objective.get_value(result.metrics)))
            _refuse_non_finite(scores[-1], objective.name)
        if not scores:
            raise ValueError(
                f"Objective value missing: no metrics were reported, expected "
                f"{list(objective.names)}."
            )
        return sum(scores) / len(scores)

    def fail(
        self,
        number: int,
        kind: str,
        message: str | None = None,
        *,
        retry: bool = False,
        values: Mapping[str, Any] | None = None,
    ) -> Record:
        """End a trial that went wrong, or put it back for another attempt.

        Args:
            number: The trial.
            kind: What kind of failure it was.
            message: What went wrong, for the user: usually a traceback.
            retry: Whether another attempt may go better; it is made while the limit allows.
            values: What it has read; default: as settled.

        Returns:
            The trial: failed, or waiting.
        """
        with self._lock:
            record = self.history[number]
            if retry and record.attempt < self.limits.max_retries:
                self.requeue(number, f"{kind}: attempt {record.attempt + 1} failed", afresh=True)
            else:
                final = {k: _json.encode(v) for k, v in (values or record.values).items()}
                self._append(journal.TrialFailed(number, kind, message, final))
            return self.history[number]

    def refuse_broken(self, message: str | None) -> None:
        """Raise when the last failures mean that the script is broken.

        Raises:
            RuntimeError: See `is_broken`; the message ends with the last failure's.
        """
        limit = self.limits.max_consecutive_failures
        if is_broken(self.history.streak, limit):
            raise RuntimeError(
                f"Number of consecutive failures exceeded the limit of {limit}.\n{message}"
            )

    def recover(self, is_alive: Callable[[str], bool]) -> list[int]:
        """Put the trials of workers that are gone back into the queue.

        Args:
            is_alive: Tells whether a worker still runs.

        Returns:
            The numbers of these trials.
        """
        with self._lock:
            self.sync()
            gone = [
                number
                for number in sorted(self.history.running)
                if not is_alive(self.history[number].worker or "")
            ]
            for number in gone:
                self.requeue(number, "its worker is gone")
            return gone

    def import_trial(
        self, trial_id: str, values: Mapping[str, Any], curve: Mapping[int, Mapping[str, float]]
    ) -> Record:
        """Take up a trial from elsewhere, to be told or failed next.

        Args:
            trial_id: Its name.
            values: Its configuration.
            curve: Metrics by step, steps counted from 1.
        """
        with self._lock:
            number = self.history.next_number
            encoded = {name: _json.encode(value) for name, value in values.items()}
            events: list[Event] = [
                journal.TrialCreated(number, trial_id, encoded, "imported"),
                journal.TrialStarted(number, "import"),
            ]
            for step, metrics in curve.items():
                finite = _json.finite_metrics(metrics)
                events.append(journal.Reported(number, 0, step, finite))
            self._append(*events)
            return self.history[number]

    @property
    def pending(self) -> bool:
        """Whether a trial waits or runs."""
        return bool(self.history.queue or self.history.running)


def _is_news(known: HyperParameter | None, declared: HyperParameter) -> bool:
    return known is None or known.definition() != declared.definition()


def _refuse_non_finite(score: float, name: str) -> None:
    if not math.isfinite(score):
        raise NonFiniteScoreError(f"The objective {name} is {score}.")


__all__ = ["Limits", "NonFiniteScoreError", "Study", "Verdict", "is_broken"]
