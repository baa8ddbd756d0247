"""The contract of schedulers: a pure function from a history to a plan."""

from __future__ import annotations

import abc
import dataclasses
import enum

from keratune.history import History


class Action(enum.Enum):
    """What a worker is to do next."""

    START = "start"  # a new configuration
    PROMOTE = "promote"  # the configuration of a completed trial, trained further
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


class Scheduler(abc.ABC):
    """Decides who trains how long. It owns no state: equal histories get equal plans."""

    @abc.abstractmethod
    def plan(self, history: History, exhausted: bool = False) -> Plan:
        """Return what the next worker is to do.

        Args:
            history: What has happened; not to be changed.
            exhausted: Whether there are no new configurations to be started.
        """
