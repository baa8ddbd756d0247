"""The planner: what a worker is to do next, from a study's history alone.

A trial that waits comes first, then what the scheduler says: a paused trial, or a new one, whose
values are somebody's wish, the declared defaults, or what the algorithm suggests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from keratune import _json, proposals
from keratune._random import stream
from keratune.algorithms.base import Algorithm
from keratune.history import History
from keratune.journal import Journal
from keratune.limits import Limits
from keratune.parameters import HyperParameter
from keratune.proposals import Verdict
from keratune.schedulers.base import Action, Plan, Scheduler
from keratune.schedulers.none import Unscheduled
from keratune.storage import base as events
from keratune.storage.base import Event

FORBIDDEN = "constraint"  # why a configuration was rejected; limits say "params 1200 > 1000"

Source = Callable[[int], "Mapping[str, Any] | Verdict"]


class Planner:
    """Plans what a worker is to do next; it writes nothing.

    Args:
        journal: Knows the history.
        algorithm: What decides what to try.
        limits: How much the study may do.

    Attributes:
        limits: How much the study may do.
        scheduler: What decides who trains how long.
        tune_new: Whether hyperparameters that builds declare join the space.
        defaults_first: Whether trial 0 takes the declared defaults.
        batch: How many new trials in a row share what a model's program depends on, as far as it is
            known, for them to be trained together.
        beside: Returns what a schedule puts beside an enqueued configuration's values; None where
            no new configuration is to be started.
    """

    def __init__(self, journal: Journal, algorithm: Algorithm, limits: Limits) -> None:
        """Keep the parts."""
        self._journal = journal
        self.algorithm = algorithm
        self.limits = limits
        self.scheduler: Scheduler = Unscheduled()
        self.tune_new = True
        self.defaults_first = True
        self.batch = 1
        self.beside: Callable[[], Mapping[str, Any] | None] = dict

    @property
    def history(self) -> History:
        """What has happened so far."""
        return self._journal.history

    def next(
        self, worker: str, source: Source | None, name: Callable[[int], str]
    ) -> Sequence[Event] | Verdict:
        """Return what a worker is to do: events that say it, or a verdict.

        Args:
            worker: Who asks.
            source: As `Study.ask` takes it.
            name: As `Study.ask` takes it.
        """
        history = self.history
        if self.limits.spent(history) >= 1.0:
            return Verdict.STOP
        if history.queue:
            return [events.TrialStarted(history.queue[0], worker)]
        plan = self._plan()
        if plan.action is not Action.START:
            return self._follow(plan, worker)
        number = history.next_number
        origin, values = self._choose(number, source)
        if isinstance(values, Verdict):  # no configuration is left, or none before others end
            return self._follow(self.scheduler.plan(history, exhausted=True), worker, values)
        created = events.TrialCreated(
            number, name(number), _json.encoded(values), origin, plan.epochs, plan.reason
        )
        if not history.allowed(values):
            return [created, events.TrialRejected(number, FORBIDDEN)]
        return [created, events.TrialStarted(number, worker)]

    def _plan(self) -> Plan:
        """Return what is to be done next; near the end of the budget, what was begun is ended."""
        scheduler, history = self.scheduler, self.history
        if not self.is_full and self.limits.closing(history, scheduler.max_epochs):
            closing = scheduler.plan(history, exhausted=True)
            if closing.action is Action.RESUME:
                return closing
        return scheduler.plan(history, self.is_full)

    def _follow(
        self, plan: Plan, worker: str, otherwise: Verdict = Verdict.STOP
    ) -> Sequence[Event] | Verdict:
        """Return the event by which a plan resumes a trial, or the verdict that it stands for."""
        if plan.action is Action.RESUME and plan.number is not None:
            return [events.TrialResumed(plan.number, worker, plan.epochs, plan.reason)]
        return Verdict.WAIT if plan.action is Action.WAIT else otherwise

    @property
    def is_full(self) -> bool:
        """Whether the study has all the trials that it may have."""
        return self.limits.reached(len(self.history))

    def _choose(self, number: int, source: Source | None) -> tuple[str, dict[str, Any] | Verdict]:
        """Return where the next trial's values come from, and the values."""
        beside = self.beside() if self.history.enqueued else None
        if beside is not None:
            wanted = self.history.space.live(self.history.enqueued[0])
            values = proposals.wished(
                self.history, wanted, lambda p, attempt: self.fill(number, p, attempt)
            )
            return "enqueued", {**values, **beside}
        if source is not None:
            given = source(number)
            return "algorithm", given if isinstance(given, Verdict) else dict(given)
        begun = self.history.discarded.get(number, 0) + self.history.rejections(number)
        if number == 0 and self.defaults_first and not begun:
            return "defaults", proposals.completed(self.history, {}, lambda p: p.default)
        return "algorithm", self.suggest(number)

    def suggest(self, number: int) -> dict[str, Any] | Verdict:
        """Return a configuration of the algorithm's that no trial has tried.

        Args:
            number: The number that the trial will have.

        Returns:
            The configuration; WAIT when only running trials can open new ones; STOP when none is
            left.
        """
        return proposals.suggest(
            self.history,
            self.algorithm,
            number,
            lambda values: self.complete(number, values),
            proposals.shared(self.history, number, self.batch, self.limits.max_trials),
        )

    def complete(self, number: int, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return values with what they leave open filled in by the algorithm."""
        return proposals.completed(self.history, values, lambda p: self.fill(number, p))

    def fill(self, number: int, parameter: HyperParameter, attempt: int = 0) -> Any:
        """Return the value of a hyperparameter that a trial's values leave open.

        Args:
            number: The trial.
            parameter: The hyperparameter.
            attempt: Which of several values that chance may choose, from 0.
        """
        record = self.history[number] if number in self.history else None
        if not self.tune_new or (record is not None and record.origin == "defaults"):
            return parameter.default
        begun = self.history.discarded.get(number, 0) + self.history.rejections(number)
        further = [attempt] if attempt else []
        rng = stream(self.history.seed, number, "fill", parameter.name, begun, *further)
        return self.algorithm.fill(parameter, self.history, rng)
