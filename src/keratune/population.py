"""Population based training (Jaderberg et al., 2017, arXiv 1711.09846).

    P: population   I: interval, epochs   G = ceil(R / I): generations   R: max_epochs

P members train side by side, I epochs at a time. Before a member goes on it is compared with what
the others had come to by as many epochs: one of the worse quarter takes over weights and
hyperparameters of one of the better quarter (exploit), and changes the hyperparameters (explore):
each is drawn anew with probability 1/4, or multiplied by 0.8 or 1.25. What comes out is a schedule
of hyperparameters, not one configuration. Each interval of a member is a trial, which goes on from
another's state. What breaks an outcome stands behind what keeps all. Where nothing that a member
explores is allowed it goes on with the parent's hyperparameters, and begins anew where these are
not allowed either.

Members that lag go first, so the population stays together without waiting for all of it.
"""

from __future__ import annotations

import bisect
import dataclasses
import math
import weakref
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from keratune.configurations import CONTINUES, searched
from keratune.history import History, Record
from keratune.parameters import Float, HyperParameter, Int
from keratune.ranking import ranking_by
from keratune.trial import TrialStatus

MEMBER, GENERATION = "tuner/member", "tuner/generation"
EPOCHS, INITIAL_EPOCH = "tuner/epochs", "tuner/initial_epoch"

# Jaderberg et al., section 4.1: a fifth of the population and factors 0.8 and 1.2; a quarter and
# 1.25, which undoes 0.8, are what Ray Tune's implementation made usual.
QUANTILE, RESAMPLED, FACTORS = 0.25, 0.25, (0.8, 1.25)

# Explorations that are forbidden or rejected before a member takes its parent's hyperparameters. Of
# one hyperparameter, all 20 are multiples of the parent's value in one of 300 cases (0.75^20).
EXPLORATIONS = 20


@dataclasses.dataclass(frozen=True)
class Step:
    """What a member does next.

    Attributes:
        member: Its number, from 0.
        generation: The interval, from 0.
        parent: The trial that it goes on from; None at its beginning.
        explores: Whether it goes on from another member's trial, with other hyperparameters.
    """

    member: int
    generation: int
    parent: int | None = None
    explores: bool = False


class _Members:
    """The trials by generation and member; a cache of a history, kept up to date trial by trial."""

    def __init__(self) -> None:
        self._placed: dict[int, Record] = {}  # a number that was discarded is given again
        self._trials: dict[int, list[int]] = {}
        self._generations: dict[int, dict[int, list[int]]] = {}
        self._seen = 0

    @property
    def latest(self) -> dict[int, int]:
        """The last trial of each member that has begun."""
        return {member: numbers[-1] for member, numbers in self._trials.items() if numbers}

    def of(self, generation: int) -> list[int]:
        """Return the trials of a generation, the last one of each member."""
        members = self._generations.get(generation, {})
        return [numbers[-1] for numbers in members.values() if numbers]

    def update(self, history: History) -> None:
        """Take in the trials that were created since, and let go of those that are no more."""
        for number in dict.fromkeys(history.changes[self._seen :]):
            record = history[number] if number in history else None
            if self._placed.get(number) is record:
                continue
            if number in self._placed:
                for numbers in self._lists(self._placed.pop(number).values):
                    numbers.remove(number)
            if record is not None and MEMBER in record.values:
                self._placed[number] = record
                for numbers in self._lists(record.values):
                    bisect.insort(numbers, number)
        self._seen = len(history.changes)

    def _lists(self, values: Mapping[str, Any]) -> tuple[list[int], list[int]]:
        member, generation = values[MEMBER], values[GENERATION]
        members = self._generations.setdefault(generation, {})
        return self._trials.setdefault(member, []), members.setdefault(member, [])


_caches: weakref.WeakKeyDictionary[History, _Members] = weakref.WeakKeyDictionary()


class Population:
    """Says which member goes on, from where, and with which hyperparameters.

    Args:
        size: Members, at least 4.
        max_epochs: Epochs of each member in the end.
        interval: Epochs between two comparisons; default: a tenth of `max_epochs`.
        explored: Names of the hyperparameters that may change while a member trains; default: those
            that are numbers with a fraction, which change no shape of the model.

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        size: int = 10,
        max_epochs: int = 100,
        interval: int | None = None,
        explored: Collection[str] | None = None,
    ) -> None:
        """Check the arguments."""
        if size < 4:
            raise ValueError(
                f"`population` must be 4 or more, so that there is a worst quarter. Received: "
                f"population={size}."
            )
        for name, value in (("max_epochs", max_epochs), ("interval", interval)):
            if value is not None and value < 1:
                raise ValueError(f"`{name}` must be 1 or more. Received: {name}={value}.")
        self.size = size
        self.max_epochs = max_epochs
        self.interval = interval or max(1, -(-max_epochs // 10))
        self.explored = None if explored is None else frozenset(explored)

    @property
    def generations(self) -> int:
        """Intervals of a whole training."""
        return math.ceil(self.max_epochs / self.interval)

    def step(self, history: History, rng: np.random.Generator) -> Step | None:
        """Return what the next worker is to do; None when running trials decide, or all is done.

        Args:
            history: What has happened; not to be changed.
            rng: Where chance comes from.
        """
        members = _caches.setdefault(history, _Members())
        members.update(history)
        latest = {m: history[number] for m, number in members.latest.items()}
        for member in range(self.size):
            if member not in latest:
                return Step(member, 0)
        idle = [m for m, record in latest.items() if record.finished]
        idle = [m for m in idle if latest[m].values[EPOCHS] < self.max_epochs]
        if not idle:
            return None
        member = min(idle, key=lambda m: (latest[m].values[GENERATION], m))
        generation = latest[member].values[GENERATION]
        peers = [history[number] for number in members.of(generation)]
        return self._next(history, latest[member], peers, rng)

    def disposable(self, history: History) -> list[int]:
        """Return the trials that no member will go on from: all have come to a later generation."""
        members = _caches.setdefault(history, _Members())
        members.update(history)
        lowest = _lowest(members, history)
        return members.of(lowest - 2) if len(members.latest) == self.size else []

    def going_on(self, history: History) -> list[int]:
        """Return the trials that members would go on from if they had more epochs."""
        members = _caches.setdefault(history, _Members())
        members.update(history)
        latest = [history[number] for number in members.latest.values()]
        last = max((record.values[GENERATION] for record in latest), default=-1)
        return [n for g in range(_lowest(members, history), last + 1) for n in members.of(g)]

    def is_over(self, history: History) -> bool:
        """Tell whether nothing is running that could still have a next step."""
        return not history.running and not history.queue

    def _next(
        self, history: History, own: Record, peers: Sequence[Record], rng: np.random.Generator
    ) -> Step:
        """Return how a member goes on: by itself, or from one of its generation's better ones."""
        member, generation = own.values[MEMBER], own.values[GENERATION]
        ranking = ranking_by(history.objective.count)
        for peer in peers:
            if peer.status == TrialStatus.COMPLETED:
                violation = history.objective.violation(peer.metrics)
                ranking.add(peer.number, history.losses(peer), violation)
        ranked = ranking.best(len(peers))
        quarter = math.ceil(QUANTILE * self.size)
        better, worse = ranked[:quarter], ranked[max(self.size - quarter, quarter) :]
        fails = own.status != TrialStatus.COMPLETED
        if better and (fails or own.number in worse):
            parent = better[int(rng.integers(len(better)))]
            return Step(member, generation + 1, parent, explores=True)
        return Step(member, 0) if fails else Step(member, generation + 1, own.number)

    def proposed(
        self, history: History, number: int, rng: np.random.Generator
    ) -> tuple[Step, dict[str, Any] | None] | None:
        """Return the next step and its configuration, one that may be tried as far as is known.

        Args:
            history: What has happened; not to be changed.
            number: The number that the trial will have.
            rng: Where chance comes from; another one after each rejection.

        Returns:
            The step and its configuration, None for that of a member that begins; None for both
            where `step` has none.
        """
        step = self.step(history, rng)
        if step is None or step.parent is None:
            return None if step is None else (step, None)
        explorations = EXPLORATIONS if step.explores else 0
        refused = _refused(history, number, step)
        for _ in range(refused, explorations):
            values = self.values(history, step, rng)
            if values is not None and history.allowed(values):
                return step, values
        if refused <= explorations:
            step = dataclasses.replace(step, explores=False)
            values = self.values(history, step, rng)
            if values is not None and history.allowed(values):
                return step, values
        return Step(step.member, 0), None

    def values(
        self, history: History, step: Step, rng: np.random.Generator
    ) -> dict[str, Any] | None:
        """Return the configuration of a step, None for a member that begins.

        Args:
            history: What has happened.
            step: What the member does.
            rng: Where chance comes from.
        """
        if step.parent is None:
            return None
        parent = history[step.parent]
        values = history.space.live(searched(parent.values))
        if step.explores:
            for parameter in history.space.space:
                if parameter.name in values and self._may_change(parameter):
                    values[parameter.name] = _explored(parameter, values[parameter.name], rng)
        return {**values, CONTINUES: parent.trial_id}

    def schedule(self, history: History, step: Step) -> dict[str, int]:
        """Return what user code may read beside the hyperparameters."""
        trained = 0 if step.parent is None else history[step.parent].values[EPOCHS]
        return {
            MEMBER: step.member,
            GENERATION: step.generation,
            INITIAL_EPOCH: trained,
            EPOCHS: min(trained + self.interval, self.max_epochs),
        }

    def _may_change(self, parameter: HyperParameter) -> bool:
        if parameter.size == 1:
            return False
        if self.explored is None:
            return isinstance(parameter, Float)
        return parameter.name in self.explored


def _lowest(members: _Members, history: History) -> int:
    """Return the generation of the members that lag most."""
    return min((history[n].values[GENERATION] for n in members.latest.values()), default=0)


def _refused(history: History, number: int, step: Step) -> int:
    """Return how many configurations of a step that goes on from a trial were rejected."""
    if not history.rejections(number):
        return 0
    return sum(
        r.number == number
        and CONTINUES in r.values
        and (r.values[MEMBER], r.values[GENERATION]) == (step.member, step.generation)
        for r in history.rejected
    )


def _explored(parameter: HyperParameter, value: Any, rng: np.random.Generator) -> Any:
    """Return a value near another one, or a new one."""
    anew = rng.random() < RESAMPLED
    if anew or not isinstance(parameter, (Float, Int)):
        return parameter.prob_to_value(float(rng.random()))
    moved = value * FACTORS[int(rng.integers(2))]
    inside = min(max(moved, parameter.min_value), parameter.max_value)
    return parameter.prob_to_value(parameter.value_to_prob(inside))
