"""Population based training (Jaderberg et al., 2017, arXiv 1711.09846).

    P: population   I: interval, epochs   G = ceil(R / I): generations   R: max_epochs

P members train side by side, I epochs at a time. Before a member goes on it is compared with what
the others had come to by as many epochs: one of the worse quarter takes over weights and
hyperparameters of one of the better quarter (exploit), and changes the hyperparameters (explore):
each is drawn anew with probability 1/4, or multiplied by 0.8 or 1.25. What comes out is a schedule
of hyperparameters, not one configuration. Each interval of a member is a trial, which goes on from
another's state.

Members that lag go first, so the population stays together without waiting for all of it.
"""

from __future__ import annotations

import dataclasses
import math
import weakref
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from keratune.configurations import CONTINUES, searched
from keratune.history import History, Record
from keratune.parameters import Float, HyperParameter, Int
from keratune.trial import TrialStatus

MEMBER, GENERATION = "tuner/member", "tuner/generation"
EPOCHS, INITIAL_EPOCH = "tuner/epochs", "tuner/initial_epoch"

# Jaderberg et al., section 4.1: a fifth of the population and factors 0.8 and 1.2; a quarter and
# 1.25, which undoes 0.8, are what Ray Tune's implementation made usual.
QUANTILE, RESAMPLED, FACTORS = 0.25, 0.25, (0.8, 1.25)


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
        self.generations: list[dict[int, int]] = []
        self.latest: dict[int, int] = {}
        self._seen = 0

    def update(self, history: History) -> None:
        """Take in the trials that were created since."""
        for number in history.changes[self._seen :]:
            if number in history and MEMBER in history[number].values:
                self._place(number, history[number].values)
        self._seen = len(history.changes)

    def _place(self, number: int, values: Mapping[str, Any]) -> None:
        member, generation = values[MEMBER], values[GENERATION]
        while len(self.generations) <= generation:
            self.generations.append({})
        self.generations[generation][member] = number
        self.latest[member] = max(number, self.latest.get(member, -1))


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
        idle = [m for m in idle if latest[m].values[GENERATION] + 1 < self.generations]
        if not idle:
            return None
        member = min(idle, key=lambda m: (latest[m].values[GENERATION], m))
        generation = latest[member].values[GENERATION]
        peers = [history[number] for number in members.generations[generation].values()]
        return self._next(history, latest[member], peers, rng)

    def disposable(self, history: History) -> list[int]:
        """Return the trials that no member will go on from: all have come to a later generation."""
        members = _caches.setdefault(history, _Members())
        members.update(history)
        lowest = min(
            (history[number].values[GENERATION] for number in members.latest.values()), default=0
        )
        past = members.generations[: max(lowest - 1, 0)] if len(members.latest) == self.size else []
        return [number for trials in past[-1:] for number in trials.values()]

    def is_over(self, history: History) -> bool:
        """Tell whether nothing is running that could still have a next step."""
        return not history.running and not history.queue

    def _next(
        self, history: History, own: Record, peers: Sequence[Record], rng: np.random.Generator
    ) -> Step:
        """Return how a member goes on: by itself, or from one of its generation's better ones."""
        member, generation = own.values[MEMBER], own.values[GENERATION]
        scored = [r for r in peers if r.status == TrialStatus.COMPLETED]
        scored.sort(key=lambda r: (history.objective.to_loss(r.score or 0.0), r.number))
        quarter = math.ceil(QUANTILE * self.size)
        better = scored[:quarter]
        fails = own.status != TrialStatus.COMPLETED
        worse = {r.number for r in scored[max(self.size - quarter, quarter) :]}
        if better and (fails or own.number in worse):
            parent = better[int(rng.integers(len(better)))]
            return Step(member, generation + 1, parent.number, explores=True)
        return Step(member, 0) if fails else Step(member, generation + 1, own.number)

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


def _explored(parameter: HyperParameter, value: Any, rng: np.random.Generator) -> Any:
    """Return a value near another one, or a new one."""
    anew = rng.random() < RESAMPLED
    if anew or not isinstance(parameter, (Float, Int)):
        return parameter.prob_to_value(float(rng.random()))
    moved = value * FACTORS[int(rng.integers(2))]
    inside = min(max(moved, parameter.min_value), parameter.max_value)
    return parameter.prob_to_value(parameter.value_to_prob(inside))
