"""The contract of schedulers: pure functions from a history to who trains how long."""

from __future__ import annotations

import abc
import copy
import dataclasses
import enum

from keratune.history import History


class Action(enum.Enum):
    """What is to be done next, by a worker that asks or with a trial that has reported."""

    START = "start"  # a new configuration
    RESUME = "resume"  # a paused trial, trained further
    WAIT = "wait"  # running trials decide what comes next
    CONTINUE = "continue"  # the trial trains on
    PAUSE = "pause"  # the trial waits; it may be resumed
    STOP = "stop"  # nothing is left to be done; of a trial: it ends here


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a worker is to do next, and for how long.

    Attributes:
        action: Start, resume, wait or stop.
        number: The trial that is resumed.
        epochs: Epochs that the trial will have trained when it is decided about again, what it
            has trained before included; None: all.
        reason: One line that explains it to a user.
    """

    action: Action
    number: int | None = None
    epochs: int | None = None
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class Decision:
    """What becomes of a trial that has just reported an epoch.

    Attributes:
        action: Continue, pause or stop.
        reason: One line that explains it to a user.
    """

    action: Action = Action.CONTINUE
    reason: str = ""


CONTINUE = Decision()


class Scheduler(abc.ABC):
    """Decides who trains how long. It owns no state: equal histories get equal plans.

    Attributes:
        max_epochs: Epochs of a training in full; None until `bound` has told it.
    """

    max_epochs: int | None = None

    @abc.abstractmethod
    def __repr__(self) -> str:
        """Show the arguments; a resumed search compares them."""

    def plan(self, history: History, exhausted: bool = False) -> Plan:
        """Return what the next worker is to do.

        By default, what a spent budget has paused goes on; then there are new trials while there
        are any.

        Args:
            history: What has happened; not to be changed.
            exhausted: Whether there are no new configurations to be started.
        """
        if history.paused:
            return Plan(Action.RESUME, min(history.paused), reason="goes on after the budget's end")
        return Plan(Action.STOP if exhausted else Action.START)

    def decide(self, history: History, number: int) -> Decision:
        """Return what becomes of a running trial that has just reported; by default it goes on.

        Args:
            history: What has happened, the report included; not to be changed.
            number: The trial. Its `losses` hold the objective by step.
        """
        return CONTINUE

    def bound(self, max_epochs: int | None) -> Scheduler:
        """Return this scheduler for trainings of a length.

        Args:
            max_epochs: Epochs of a training in full, as `search(epochs=...)` says it; one that
                the scheduler was given before wins.

        Raises:
            ValueError: Neither says it, though the scheduler has to know.
        """
        wanted = self.max_epochs if self.max_epochs is not None else max_epochs
        if wanted is None and self.needs_max_epochs:
            raise ValueError(
                f"A scheduler must know how many epochs a training in full has. Received no "
                f"`epochs` as a number in `search`. Pass `search(..., epochs=...)`, or "
                f"`scheduler=keratune.schedulers.{type(self).__name__}(max_epochs=...)`."
            )
        bound = copy.copy(self)
        bound.max_epochs = wanted
        return bound

    needs_max_epochs = False  # whether it cannot plan without
