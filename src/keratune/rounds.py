"""Hyperband by rounds (Li et al., 2018, JMLR 18(185)), with KerasTuner's brackets to the epoch.

R: max_epochs   eta: factor   b: bracket   r: round in the bracket, 0 <= r <= b

    brackets    floor(log_eta R) + 1
    size(b, r)   = ceil(ceil(1 + log_eta R) / (b + 1) * eta^(b - r))      trials
    epochs(b, r) = ceil(R / eta^(b - r))                                  trained in the end

A round keeps the best trials of the one before. A trial is promoted as soon as enough of its
round have finished behind it that it is sure to be among those kept; failed trials count as
finished behind everyone, and so do those whose promotion was rejected, so that they never starve a
later round. What breaks an outcome stands behind what keeps all. Brackets run from the most
aggressive down, and a new one opens only when the open ones have nothing to do, so parallel
workers keep busy.
"""

from __future__ import annotations

import dataclasses
import enum
import math
import weakref
from typing import Any, final

from keratune.configurations import CONTINUES
from keratune.history import History, Record
from keratune.ranking import ranking_by
from keratune.trial import TrialStatus

BRACKET, ROUND, PARENT = "tuner/bracket", "tuner/round", CONTINUES
EPOCHS, INITIAL_EPOCH = "tuner/epochs", "tuner/initial_epoch"


class Action(enum.Enum):
    """What a worker is to do next."""

    START = "start"  # a new configuration
    PROMOTE = "promote"  # the configuration of a completed trial, as a trial of its own
    WAIT = "wait"  # running trials decide what comes next
    STOP = "stop"  # nothing is left to be done


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a worker is to do next, and for how long.

    Attributes:
        action: Start, promote, wait or stop.
        parent: Number of the trial that is promoted.
        initial_epoch: Epochs that the parent has trained; 0 for a new configuration.
        epochs: Epochs that the trial will have trained in the end, the parent's included.
        bracket: Number of the bracket; its first round has the smallest budget for the highest.
        round: Number of the round in the bracket, from 0.
    """

    action: Action
    parent: int | None = None
    initial_epoch: int = 0
    epochs: int = 0
    bracket: int = 0
    round: int = 0


def budget_of(plan: Plan) -> dict[str, int]:
    """Return a plan as the values that user code may read beside its hyperparameters."""
    return {
        EPOCHS: plan.epochs,
        INITIAL_EPOCH: plan.initial_epoch,
        BRACKET: plan.bracket,
        ROUND: plan.round,
    }


@dataclasses.dataclass
class _Bracket:
    """One bracket of one iteration: the numbers of its trials, by round."""

    number: int
    rounds: list[list[int]]
    promoted: set[int] = dataclasses.field(default_factory=set)


class _Placement:
    """Which trial stands in which bracket; computed from the history step by step."""

    def __init__(self) -> None:
        self.seen = 0
        self.opened: list[_Bracket] = []
        self.placed: dict[int, _Bracket] = {}
        self.created: dict[int, Record] = {}  # a number that was discarded is given again
        self.refused: set[int] = set()  # trials whose promotion was rejected, now and for ever
        self.first_open = 0
        self._rejections_seen = 0

    def update(self, history: History, scheduler: Rounds) -> None:
        """Take in the trials that were created since."""
        for number in dict.fromkeys(history.changes[self.seen :]):
            if number in history and self.created.get(number) is history[number]:
                continue
            self._remove(history, number)
            if number in history:
                self.created[number] = history[number]
                self._place(history, history[number], scheduler)
        self.seen = len(history.changes)
        for rejection in history.rejected[self._rejections_seen :]:
            parent = history.number_of(rejection.values.get(PARENT, ""))
            if parent is not None:
                self.refused.add(parent)
        self._rejections_seen = len(history.rejected)

    def _remove(self, history: History, number: int) -> None:
        record = self.created.pop(number, None)
        bracket = self.placed.pop(number, None)
        if record is None or bracket is None:
            return
        bracket.rounds[record.values[ROUND]].remove(number)
        parent = history.number_of(record.values.get(PARENT, ""))
        if parent is not None:
            bracket.promoted.discard(parent)

    def _place(self, history: History, record: Record, scheduler: Rounds) -> None:
        if BRACKET not in record.values:
            return
        number, round_ = record.values[BRACKET], record.values[ROUND]
        if round_ == 0:
            bracket = self._with_room(number, scheduler)
        else:
            parent = history.number_of(record.values[PARENT])
            if parent is None or parent not in self.placed:
                return
            bracket = self.placed[parent]
            bracket.promoted.add(parent)
        bracket.rounds[round_].append(record.number)
        self.placed[record.number] = bracket

    def _with_room(self, number: int, scheduler: Rounds) -> _Bracket:
        for bracket in self.opened[self.first_open :]:
            if bracket.number == number and len(bracket.rounds[0]) < scheduler.size(number, 0):
                return bracket
        self.opened.append(_Bracket(number, [[] for _ in range(number + 1)]))
        return self.opened[-1]


def _peer_rounds(bracket: _Bracket, history: History) -> list[list[dict[str, str | None]]]:
    return [
        [
            {"past_id": history[number].values.get(PARENT), "id": history[number].trial_id}
            for number in trials
        ]
        for trials in bracket.rounds
    ]


def _is_out(record: Record, refused: set[int]) -> bool:
    """Tell whether a trial will never be promoted: it has failed, or its promotion was rejected."""
    return record.status == TrialStatus.FAILED or record.number in refused


_placements: weakref.WeakKeyDictionary[History, _Placement] = weakref.WeakKeyDictionary()


@final
class Rounds:
    """Many short trainings, the best of them longer, in brackets of different boldness.

    Args:
        max_epochs: Epochs of the longest training.
        factor: How many times fewer trials, and longer trainings, each round has.
        iterations: How often all brackets are run; None: without end.

    Raises:
        ValueError: The factor is smaller than 2, or `max_epochs` smaller than 1.
    """

    def __init__(self, max_epochs: int = 100, factor: int = 3, iterations: int | None = 1) -> None:
        """Check the arguments."""
        if factor < 2:
            raise ValueError(
                f"factor needs to be a int larger than 1. Received: factor={factor}. "
                "Use 3 when in doubt."
            )
        if max_epochs < 1:
            raise ValueError(f"`max_epochs` must be 1 or more. Received: max_epochs={max_epochs}.")
        self.max_epochs = max_epochs
        self.factor = factor
        self.iterations = iterations or None

    # ------------------------------------------------------------------ the tables

    @property
    def brackets(self) -> int:
        """Number of brackets in an iteration."""
        count, epochs = 0, float(self.max_epochs)
        while epochs >= 1:
            count, epochs = count + 1, epochs / self.factor
        return count

    def size(self, bracket: int, round_: int) -> int:
        """Return the number of trials of a round."""
        most = math.ceil(1 + math.log(self.max_epochs, self.factor))
        return math.ceil(most / (bracket + 1) * self.factor ** (bracket - round_))

    def epochs(self, bracket: int, round_: int) -> int:
        """Return the epochs that a round's trials have trained at its end."""
        return math.ceil(self.max_epochs / self.factor ** (bracket - round_))

    def total(self) -> tuple[int, int]:
        """Return the trials and the epochs of one iteration, promoted trials going on."""
        trials = epochs = 0
        for bracket in range(self.brackets):
            for round_ in range(bracket + 1):
                before = self.epochs(bracket, round_ - 1) if round_ else 0
                trials += self.size(bracket, round_)
                epochs += self.size(bracket, round_) * (self.epochs(bracket, round_) - before)
        return trials, epochs

    def peer_state(self, history: History) -> dict[str, Any]:
        """Return the brackets that have trials to come, as KerasTuner stores them."""
        placement = _placements.setdefault(history, _Placement())
        placement.update(history, self)
        iteration, place = divmod(max(len(placement.opened) - 1, 0), self.brackets)
        return {
            "brackets": [
                {"bracket_num": bracket.number, "rounds": _peer_rounds(bracket, history)}
                for bracket in placement.opened[placement.first_open :]
                if len(bracket.rounds[-1]) < self.size(bracket.number, bracket.number)
            ],
            "current_bracket": self.brackets - 1 - place,
            "current_iteration": iteration,
        }

    # ------------------------------------------------------------------ the plan

    def plan(self, history: History, exhausted: bool = False) -> Plan:
        """Return what the next worker is to do.

        Args:
            history: What has happened; not to be changed.
            exhausted: Whether there are no new configurations to be started.
        """
        placement = _placements.setdefault(history, _Placement())
        placement.update(history, self)
        for place, bracket in enumerate(placement.opened):
            if place < placement.first_open:
                continue
            plan = self._within(bracket, placement.refused, history, exhausted)
            if plan is not None:
                return plan
            if place == placement.first_open and self._has_ended(bracket, history):
                placement.first_open += 1
        opened = len(placement.opened)
        limit = None if self.iterations is None else self.iterations * self.brackets
        if exhausted or (limit is not None and opened >= limit):
            return Plan(Action.WAIT if history.running else Action.STOP)
        bracket_number = self.brackets - 1 - opened % self.brackets
        return Plan(Action.START, epochs=self.epochs(bracket_number, 0), bracket=bracket_number)

    def _within(
        self, bracket: _Bracket, refused: set[int], history: History, exhausted: bool
    ) -> Plan | None:
        """Return what there is to do in an open bracket, None when it has to wait or is over."""
        number = bracket.number
        if len(bracket.rounds[0]) < self.size(number, 0) and not exhausted:
            return Plan(Action.START, epochs=self.epochs(number, 0), bracket=number)
        for round_ in range(1, number + 1):
            parent = self._promotable(bracket, round_, refused, history)
            if parent is not None:
                return Plan(
                    Action.PROMOTE,
                    parent=parent,
                    initial_epoch=self.epochs(number, round_ - 1),
                    epochs=self.epochs(number, round_),
                    bracket=number,
                    round=round_,
                )
        return None

    def _promotable(
        self, bracket: _Bracket, round_: int, refused: set[int], history: History
    ) -> int | None:
        """Return the trial of the round before that is sure to be among those kept."""
        size = self.size(bracket.number, round_)
        if len(bracket.rounds[round_]) >= size:
            return None
        before = [history[number] for number in bracket.rounds[round_ - 1]]
        failed = sum(_is_out(record, refused) for record in before)
        waiting = [
            record
            for record in before
            if record.status == TrialStatus.COMPLETED
            and record.number not in bracket.promoted
            and record.number not in refused
        ]
        expected = self._expected(bracket, round_ - 1, refused, history)
        if not waiting or len(waiting) + failed <= expected - size:
            return None
        best = ranking_by(history.objective.count)
        for record in waiting:
            violation = history.objective.violation(record.metrics)
            best.add(record.number, history.losses(record), violation)
        return best.best(1)[0]

    def _expected(self, bracket: _Bracket, round_: int, refused: set[int], history: History) -> int:
        """Return how many trials a round will have: fewer than planned where too few are left."""
        here = len(bracket.rounds[round_])
        if round_ == 0:
            return here  # asked for only when the round is full, or there is nothing to fill it
        planned = self.size(bracket.number, round_)
        before = [history[number] for number in bracket.rounds[round_ - 1]]
        usable = sum(not _is_out(record, refused) for record in before)
        return max(here, min(planned, usable))

    def disposable(self, history: History, number: int) -> list[int]:
        """Return the trials that will not be trained further, of those in a trial's bracket.

        Args:
            history: What has happened.
            number: A trial that has just ended.
        """
        placement = _placements.setdefault(history, _Placement())
        placement.update(history, self)
        bracket = placement.placed.get(number)
        if bracket is None:
            return [number]
        waits = self._within(bracket, placement.refused, history, False) is None
        over = waits and self._has_ended(bracket, history)
        done = bracket.promoted | placement.refused
        going_on = {
            history.number_of(history[child].values[PARENT])
            for trials in bracket.rounds[1:]
            for child in trials
            if not history[child].finished
        }
        return [
            trial
            for round_, trials in enumerate(bracket.rounds)
            for trial in trials
            if history[trial].finished
            and trial not in going_on
            and (over or trial in done or self._has_no_room(bracket, round_ + 1))
        ]

    def _has_no_room(self, bracket: _Bracket, round_: int) -> bool:
        """Tell whether a round takes no more trials."""
        if round_ > bracket.number:
            return True
        return len(bracket.rounds[round_]) >= self.size(bracket.number, round_)

    def _has_ended(self, bracket: _Bracket, history: History) -> bool:
        """Tell whether a bracket is full and all its trials have ended."""
        full = len(bracket.rounds[0]) >= self.size(bracket.number, 0)
        return full and all(
            history[number].finished for trials in bracket.rounds for number in trials
        )
