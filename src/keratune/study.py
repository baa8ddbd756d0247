"""The study: all trials of one project, and the only writer of its journal.

`ask` gives a worker a trial, `settle` and `report` tell how it goes, `decide` says whether it goes
on, `pause` puts it aside, `tell` and `fail` end it. What is to be done next its planner says. All
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

import functools
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from keratune import _json, parameters
from keratune._processes import process_of
from keratune.algorithms.base import Algorithm
from keratune.constraints import Constraint
from keratune.endings import NonFiniteScoreError, ended_early, mean_score, refuse_non_finite
from keratune.errors import (
    DuplicateTrialError,
    StudyMismatchError,
    TrialLostError,
    TrialRejectedError,
)
from keratune.history import History, Observation, Record, Result
from keratune.journal import Journal
from keratune.limits import Limits, is_broken, refuse_broken, refuse_endless_rejections
from keratune.objectives import Objective
from keratune.parameters import HyperParameter
from keratune.planning import FORBIDDEN, Planner, Source
from keratune.proposals import Verdict
from keratune.schedulers.base import Action, Decision
from keratune.settling import is_news, settled, variants
from keratune.storage import base as events
from keratune.storage.base import Event, Storage
from keratune.training import failures

# Seconds of thinking up to which a worker thinks while it keeps the others from writing: about what
# a transaction costs anyway, and it cannot lose a race.
BRIEF = 0.005

# Workers that may die with a trial in hand, without an epoch in between, before the trial is taken
# for the cause.
MOST_DEATHS = 5


class Study:
    """All trials of one project. Use `Study.open`.

    Attributes:
        planner: What decides what a worker is to do next.
        allow_new: Whether builds may declare hyperparameters.
        storage: Where the journal is.
    """

    def __init__(self, storage: Storage, algorithm: Algorithm, limits: Limits) -> None:
        """Keep the parts; `open` reads or starts the journal."""
        self.allow_new = True
        self.storage = storage
        self._journal = Journal(storage)
        self.planner = Planner(self._journal, algorithm, limits)
        self._lock = self._journal.lock
        self._leases: dict[int, int] = {}
        self._known_processes: set[str] = set()
        self._thinking = math.inf  # seconds that it took last
        self._thought_at = 0  # the journal's last event then
        self._enqueued_then = 0  # configurations that waited then

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
            StudyMismatchError: The stored study has completed trials by another objective.
        """
        study = cls(storage, algorithm, limits or Limits())
        opened = events.StudyOpened(events.objective_config(objective), seed, dict(settings or {}))
        study._journal.start(opened)
        study._change_objective(opened.objective)
        return study

    def _change_objective(self, wanted: Any) -> None:
        """Take another objective than the stored one while no trial has a score by it."""

        def decide() -> Sequence[Event]:
            stored = events.objective_config(self.history.objective)
            if stored == wanted:
                return []
            if self.history.scored_count:
                raise StudyMismatchError(
                    f"The stored study optimises {stored}. Received: objective={wanted}. Use the "
                    "same objective, change `project_name`, or pass `overwrite=True` to start anew."
                )
            return [events.ObjectiveChanged(wanted)]

        self._journal.write(decide)

    # ------------------------------------------------------------------ the journal

    @property
    def history(self) -> History:
        """What has happened so far, as deciders see it."""
        return self._journal.history

    @property
    def limits(self) -> Limits:
        """How much the study may do; they hold from the moment on at which they are set."""
        return self.planner.limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self.planner.limits = limits

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments in force, as the journal holds them."""
        return self._journal.settings

    def sync(self) -> bool:
        """Read what others have written; tell whether the journal holds anything."""
        return self._journal.sync()

    def close(self) -> None:
        """Give back files and connections."""
        self._journal.close()

    def _append(self, *decided: Event) -> None:
        """Write events that are true whatever others have written meanwhile."""
        self._journal.write(lambda: decided)

    def _append_about(self, number: int, *decided: Event) -> None:
        """Write what has happened in a trial, unless it has ended.

        Raises:
            TrialLostError: It was asked for here, and another worker has taken it since.
        """
        self._journal.write(lambda: decided if self._goes_on(number) else ())

    def _goes_on(self, number: int) -> bool:
        """Tell whether a trial has not ended; TrialLostError as in `_append_about`."""
        if self._is_lost(number):
            raise TrialLostError(f"trial {number} is in other hands")
        return not self._record(number).finished

    def _in_hand(self, number: int) -> bool:
        """Tell whether a trial runs, and not with another worker than the one that asked here."""
        return number in self.history.running and not self._is_lost(number)

    def _is_lost(self, number: int) -> bool:
        """Tell whether another worker has taken a trial that was asked for here."""
        lease = self._leases.get(number)
        known = number in self.history
        return lease is not None and not (known and self.history[number].lease == lease)

    def hold(self, number: int) -> None:
        """Take a trial for one that was asked for here, as somebody else has done on our behalf."""
        self._leases[number] = self.history[number].lease

    def _record(self, number: int) -> Record:
        if number not in self.history:
            raise KeyError(f"There is no trial {number}. Trials: {len(self.history)}.")
        return self.history[number]

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
            fresh: list[HyperParameter] = []
            space = self.history.space

            def decide() -> Sequence[Event]:
                fresh[:] = [p for p in listed if is_news(space.find(p), p)]
                entries = [parameters.serialize(parameter) for parameter in fresh]
                return [events.SpaceGrown(entries, override, late)] if fresh else []

            self._journal.write(decide)
            space.merge(listed)  # the journal knows functions by label, the caller has them live
            return fresh

    def change_settings(self, settings: Mapping[str, Any]) -> None:
        """Remember the arguments that are in force from now on."""
        if dict(settings) != self.settings:
            self._append(events.SettingsChanged(dict(settings)))

    def constrain(self, holds: Callable[[Any], Any]) -> None:
        """Try only configurations for which a function holds; it is no part of the journal.

        Args:
            holds: Called with a configuration, read as `hp["name"]`; see `constraints.Constraint`.
        """
        self.history.allowed = Constraint(holds, self.history.space)

    def enqueue(self, *wanted: Mapping[str, Any]) -> None:
        """Have configurations, possibly partial, tried next; what is missing is filled in.

        Raises:
            ValueError: The user's constraint forbids one; none was taken.
        """
        for values in wanted:
            if not self.history.allowed(values):
                raise ValueError(
                    f"The configuration breaks `constraint`. Received: {dict(values)}. Change it, "
                    "or search without the constraint."
                )
        self._append(*(events.Enqueued(_json.encoded(values)) for values in wanted))

    def give(self, observations: Sequence[Observation]) -> int:
        """Let the algorithm learn from what was evaluated elsewhere, each observation once.

        Args:
            observations: The observations; their scores are by the study's objective.

        Returns:
            How many of them the study did not have.
        """
        fresh: list[dict[str, Any]] = []

        def decide() -> Sequence[Event]:
            by_key = {given.key: given for given in observations}
            fresh[:] = [
                {"key": key, "values": _json.encoded(given.values), "score": given.score}
                for key, given in by_key.items()
                if key not in self.history.given_keys
            ]
            return [events.ObservationsGiven(list(fresh))] if fresh else []

        self._journal.write(decide)
        return len(fresh)

    def learn_structure(self, lifted: Iterable[str], structural: Iterable[str]) -> None:
        """Record which hyperparameters have turned out to change a model's program, or not to.

        Args:
            lifted: Names of those in which trials of one program differ.
            structural: Names of those that have kept trials from sharing one.
        """
        learnt = events.StructureLearnt(sorted(lifted), sorted(structural))
        if learnt.lifted or learnt.structural:
            self._append(learnt)

    # ------------------------------------------------------------------ asking

    def ask(
        self,
        worker: str,
        source: Source | None = None,
        name: Callable[[int], str] = str,
    ) -> Record | Verdict:
        """Give a worker a trial: one that waits, a paused one to go on with, or a new one.

        Args:
            worker: Who asks.
            source: Called with the trial's number, returns its values or a verdict;
                default: the study's algorithm, kept from repeating configurations.
            name: Returns the trial's name for files and users, from its number.

        Returns:
            The trial, running; or a verdict.
        """
        with self._lock:
            while True:
                wanted = None
                if self._thinking > BRIEF:
                    self.sync()
                    wanted = self._think(worker, source, name)
                answer = self._journal.transact(
                    functools.partial(self._take, wanted, worker, source, name)
                )
                if answer is not None:
                    return answer
                refuse_endless_rejections(self.history, self.planner.algorithm)

    def _take(
        self,
        wanted: Sequence[Event] | Verdict | None,
        worker: str,
        source: Source | None,
        name: Callable[[int], str],
    ) -> Record | Verdict | None:
        """Write what a worker is to do, while no other writes; None where that came to nothing.

        `wanted` is what it was thought to be before; None: it is quickly thought of now.
        """
        if wanted is None:
            wanted = self._think(worker, source, name)
        if isinstance(wanted, Verdict):
            return wanted
        stale = self.history.sequence != self._thought_at
        if stale and not self._stands(wanted[0], chosen=source is None):
            return None
        self._journal.write_at_once(*wanted)
        last = wanted[-1]
        if not isinstance(last, (events.TrialStarted, events.TrialResumed)):
            return None  # the configuration was rejected
        self.hold(last.number)
        return self.history[last.number]

    def _stands(self, wanted: Event, chosen: bool) -> bool:
        """Tell whether what was thought of before others have written is still the thing to do.

        `chosen` says that the algorithm has chosen the values: they must not have been tried since.
        Whoever brings values of their own may bring them twice.
        """
        history = self.history
        if isinstance(wanted, events.TrialStarted):
            return history.queue[:1] == [wanted.number]
        if isinstance(wanted, events.TrialResumed):
            return wanted.number in history.paused
        if not isinstance(wanted, events.TrialCreated) or wanted.number != history.next_number:
            return False
        if history.queue or self.planner.is_full:
            return False
        if wanted.origin == "enqueued" or history.enqueued:
            return wanted.origin == "enqueued" and len(history.enqueued) == self._enqueued_then
        values = {n: _json.decode(value) for n, value in wanted.values.items()}
        return not (chosen and history.tree.covers(values))

    def _think(
        self, worker: str, source: Source | None, name: Callable[[int], str]
    ) -> Sequence[Event] | Verdict:
        """Return what a worker is to do: events that say it, or a verdict."""
        begun, self._thought_at = time.monotonic(), self.history.sequence
        self._enqueued_then = len(self.history.enqueued)
        try:
            return self.planner.next(worker, source, name)
        finally:
            self._thinking = time.monotonic() - begun

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
            TrialRejectedError: The user's constraint forbids what was read; see `reject`.
        """
        with self._lock:
            self.update_space(declared, late=late)
            changed = variants(self.history, values, declared)
            self._journal.write(
                lambda: (
                    settled(self.history, number, values, changed, late)
                    if self._goes_on(number)
                    else []
                )
            )
            if number not in self.history:
                raise DuplicateTrialError(f"trial {number} repeats an earlier one")
            if not late and not self.history.allowed(values):
                raise TrialRejectedError(FORBIDDEN)

    def reject(self, number: int, reason: str, costs: Mapping[str, float] | None = None) -> None:
        """Give up a running trial that must not be trained; its number is free again.

        Args:
            number: The trial.
            reason: What it breaks, in words.
            costs: What was measured of its model.

        Raises:
            FatalValueError: Too many were rejected since a trial has last ended.
        """
        rejected = events.TrialRejected(number, reason, _json.finite_metrics(costs or {}))
        self._journal.write(lambda: [rejected] if self._in_hand(number) else [])
        refuse_endless_rejections(self.history, self.planner.algorithm)

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
        if fresh and self.planner.tune_new:
            self.declare(fresh, late=late)

    def report(
        self, number: int, step: int, metrics: Mapping[str, float], execution: int = 0
    ) -> None:
        """Record an epoch's metrics; `step` counts trained epochs, from 1."""
        finite = _json.finite_metrics(metrics)
        self._append_about(number, events.Reported(number, execution, step, finite))

    def decide(self, number: int) -> Decision:
        """Return whether a trial that has just reported an epoch goes on, pauses or stops."""
        with self._lock:
            if self.limits.spent(self.history) >= 1.0:
                return Decision(Action.PAUSE, self.limits.reason(self.history))
            return self.planner.scheduler.decide(self.history, number)

    def pause(self, number: int, reason: str = "") -> Record:
        """Put a running trial aside; it may be trained further.

        Args:
            number: The trial.
            reason: One line that explains it.

        Returns:
            The trial; its score is that of its best epoch so far, None where none is finite.
        """
        with self._lock:
            record = self._record(number)
            step = min(record.losses, key=lambda s: record.losses[s], default=0)
            score = None
            if math.isfinite(record.losses.get(step, math.inf)):
                score = self.history.objective.to_loss(record.losses[step])
            paused = events.TrialPaused(number, score, max(step - 1, 0), reason)
            self._journal.write(lambda: [paused] if self._in_hand(number) else [])
            return record

    def complete_execution(
        self, number: int, execution: int, result: Result, stopped: str | None = None
    ) -> None:
        """Record what one execution came to, so that a resumed trial need not repeat it.

        Args:
            number: The trial.
            execution: The execution.
            result: What it came to.
            stopped: Why it was not trained to its end, and the trial ends with it; None: it was.
        """
        finite = _json.finite_metrics(result.metrics)
        self._append_about(
            number, events.ExecutionCompleted(number, execution, result.step, finite, stopped)
        )

    def requeue(
        self, number: int, reason: str, *, afresh: bool = False, split: bool = False
    ) -> None:
        """Put a running trial back into the queue; one that this worker lacks stays where it is.

        Args:
            number: The trial.
            reason: Why, in words.
            afresh: Whether what it has done does not count.
            split: Whether its batches are to be trained in parts half as large.
        """
        back = events.TrialRequeued(number, reason, afresh, split=split)
        self._journal.write(lambda: [back] if self._in_hand(number) else [])

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

        def complete() -> Record:
            if metrics is not None:
                self.complete_execution(number, 0, Result(0, dict(metrics)))
            record = self._record(number)
            if record.finished:  # by another worker, who had taken this one for dead
                return record
            results = record.results.values()
            score = mean_score(self.history.objective, record.results)
            step = int(sum(max(r.step - 1, 0) for r in results) / max(len(results), 1))
            final = _json.encoded(record.values if values is None else values)
            self._append_about(number, events.TrialCompleted(number, score, step, final, message))
            return record

        return self._journal.transact(complete)

    def tell_score(
        self,
        number: int,
        score: float,
        best_step: int,
        values: Mapping[str, Any],
        message: str | None = None,
        *,
        stopped: bool = False,
    ) -> Record:
        """Complete a trial whose score was computed elsewhere; NonFiniteScoreError as in `tell`.

        `stopped` says that it was not trained to its end.
        """
        refuse_non_finite(score, self.history.objective.name)
        ended = events.TrialCompleted(
            number, float(score), best_step, _json.encoded(values), message, stopped
        )
        self._append_about(number, ended)
        return self.history[number]

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
            record = self._record(number)
            if retry and record.attempt < self.limits.max_retries:
                self.requeue(number, f"{kind}: attempt {record.attempt + 1} failed", afresh=True)
            else:
                final = _json.encoded(record.values if values is None else values)
                self._append_about(number, events.TrialFailed(number, kind, message, final))
            return record

    def confirm(self, number: int, repeat: int, result: Result) -> None:
        """Record what a trial came to when it was trained once more, with a fresh seed."""
        finite = _json.finite_metrics(result.metrics)
        told = events.ExecutionConfirmed(number, repeat, result.step, finite)
        self._journal.write(lambda: [] if repeat in self._record(number).confirmed else [told])

    def refuse_broken(self, message: str | None) -> None:
        """Raise when the last failures mean that the script is broken.

        Raises:
            RuntimeError: See `is_broken`; the message begins with the last failure's cause and ends
                with its traceback.
        """
        history, most = self.history, self.limits.max_consecutive_failures
        if most is not None:  # each trial that has begun earlier and still runs may end the streak
            most += sum(number < last for last in history.ended[-1:] for number in history.running)
        refuse_broken(history.streak, most, message)

    def end_early(self, number: int, kind: str, message: str) -> Record:
        """End a trial that was cut off with the best that it has come to by then.

        Args:
            number: The trial.
            kind: What kind of failure it is where it has come to nothing.
            message: Why it was cut off.

        Returns:
            The trial: stopped, with its score; or failed.
        """
        with self._lock:
            record = self._record(number)
            self._journal.write(
                lambda: (
                    ended_early(self.history, record, kind, message)
                    if self._goes_on(number)
                    else []
                )
            )
            return record

    def recover(self, is_alive: Callable[[str], bool], *, died: bool = True) -> list[int]:
        """Settle what workers have left that are gone; see `lose`.

        Args:
            is_alive: Tells whether a worker still runs.
            died: Whether they have died; otherwise somebody has ended them on purpose.

        Returns:
            The numbers of these trials.
        """
        with self._lock:
            self.sync()
            owners = {number: self.history[number].worker or "" for number in self.history.running}
            gone = sorted(number for number, worker in owners.items() if not is_alive(worker))
            for number in gone:
                self._settle_end(number, owners[number], "its worker is gone", died=died)
            return gone

    def lose(self, worker: str, kind: str, message: str, cause: int | None = None) -> list[int]:
        """Settle what the workers of a process have left that has died, or was ended from outside.

        Its trials go back to the queue and go on from their last epoch, unless they are the cause:
        one that took too long ends with the best that it has come to, one that has used up the
        memory is retried as the limits allow, and one that has seen `MOST_DEATHS` workers die
        without an epoch in between has failed.

        Args:
            worker: The name of one of its workers, or of the process.
            kind: One of `keratune.training.failures`: what has ended it.
            message: What is known about it, for the user.
            cause: The trial that took too long or used up the memory, where the process may have
                several; the others only go back to the queue.

        Returns:
            The numbers of their trials.
        """

        def settle() -> list[int]:
            process = process_of(worker)
            owners = {n: self.history[n].worker or "" for n in sorted(self.history.running)}
            left = [number for number, owner in owners.items() if process_of(owner) == process]
            guilty = left[0] if cause is None and len(left) == 1 else cause
            for number in left:
                if kind == failures.TIMED_OUT and number == guilty:
                    self.end_early(number, kind, message)
                elif kind == failures.OUT_OF_MEMORY and number == guilty:
                    self.fail(number, kind, message, retry=True)
                else:
                    died = guilty is None or kind not in (
                        failures.TIMED_OUT,
                        failures.OUT_OF_MEMORY,
                    )
                    self._settle_end(number, owners[number], message, died=died)
            return left

        return self._journal.transact(settle)

    def _settle_end(self, number: int, worker: str, message: str, *, died: bool) -> None:
        """Put a trial back into the queue if a worker that has ended still has it.

        One that has seen too many workers die has failed.
        """

        def decide() -> Sequence[Event]:
            record = self.history[number] if number in self.history.running else None
            if record is None or (record.worker or "") != worker:
                return []
            if died and record.deaths + 1 >= MOST_DEATHS:
                return [
                    events.TrialFailed(number, failures.LOST, message, _json.encoded(record.values))
                ]
            return [events.TrialRequeued(number, message, died=died)]

        self._journal.write(decide)

    def bury(self, worker: str) -> list[int]:
        """Settle what a worker has left that gives no sign of life; see `lose`.

        It may be called from another thread than the one that works: this study is not touched.
        """
        other = Study(self.storage, self.planner.algorithm, self.limits)
        return other.lose(worker, failures.LOST, "its worker gives no sign of life")

    def processes(self) -> set[str]:
        """Return the processes whose workers have trials in hand, as far as is known.

        It never waits, however long this study thinks.
        """
        if self._lock.acquire(blocking=False):
            try:
                owners = [self.history[number].worker or "" for number in self.history.running]
                self._known_processes = {process_of(owner) for owner in owners}
            finally:
                self._lock.release()
        return self._known_processes

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
            taken = 0

            def decide() -> Sequence[Event]:
                nonlocal taken
                taken = number = self.history.next_number
                created = events.TrialCreated(number, trial_id, _json.encoded(values), "imported")
                reports = [
                    events.Reported(number, 0, step, _json.finite_metrics(metrics))
                    for step, metrics in curve.items()
                ]
                return [created, events.TrialStarted(number, "import"), *reports]

            self._journal.write(decide)
            return self.history[taken]


__all__ = ["Limits", "NonFiniteScoreError", "Study", "Verdict", "is_broken"]
