"""Histories made up by hand: trials that report, pause, go on and end as a table says."""

from keratune.history import History
from keratune.objectives import Objective
from keratune.schedulers.base import Action
from keratune.storage import base as events


class Table:
    """A history and a scheduler that is asked about it. Losses are by epoch, None without."""

    def __init__(self, scheduler, max_epochs, direction="min"):
        self.scheduler = scheduler.bound(max_epochs)
        self.history = History(Objective("loss", direction), 0)
        self.max_epochs = max_epochs

    def _happens(self, event):
        events.fold(self.history, events.Entry(0, 0.0, event))

    def start(self, epochs=None):
        """Start a new trial, to the first rung that is planned unless told otherwise."""
        if epochs is None:
            epochs = self.scheduler.plan(History(self.history.objective, 0)).epochs
        number = self.history.next_number
        self._happens(events.TrialCreated(number, str(number), {}, epochs=epochs))
        self._happens(events.TrialStarted(number, "worker"))
        return number

    def go(self, number, *losses):
        """Have a trial report, and do what is decided behind the last report; return that."""
        decision = None
        for loss in losses:
            step = self.history[number].trained + 1
            metrics = {} if loss is None else {"loss": loss}
            self._happens(events.Reported(number, 0, step, metrics))
            decision = self.scheduler.decide(self.history, number)
        if decision.action is Action.PAUSE:
            self._happens(events.TrialPaused(number, self.best(number), 0, decision.reason))
        elif decision.action is Action.STOP:
            self.end(number, stopped=self.history[number].trained < self.max_epochs)
        return decision.action

    def enter(self, *losses, epochs=None):
        """Start a trial and have it report; return what is decided at the end."""
        return self.go(self.start(epochs), *losses)

    def best(self, number):
        """Return the best value that a trial has reported."""
        return self.history.objective.to_loss(min(self.history[number].losses.values()))

    def end(self, number, stopped=False, score=None):
        """End a trial with its best epoch."""
        score = self.best(number) if score is None else score
        self._happens(events.TrialCompleted(number, score, 0, {}, stopped=stopped))

    def fail(self, number):
        """End a trial without a score."""
        self._happens(events.TrialFailed(number, "error", "no good", {}))

    def anew(self, number):
        """Have a running trial start from nothing again."""
        self._happens(events.TrialRequeued(number, "bad luck", afresh=True))
        self._happens(events.TrialStarted(number, "worker"))

    def again(self, number, step, loss):
        """Have a running trial report an epoch that it has reported before."""
        self._happens(events.Reported(number, 0, step, {"loss": loss}))

    def plan(self, exhausted=False):
        """Return what a worker would do: (action, trial, epochs)."""
        plan = self.scheduler.plan(self.history, exhausted)
        return plan.action, plan.number, plan.epochs

    def resume(self, exhausted=False):
        """Have the trial that is planned go on; return it and the epochs that it goes to."""
        action, number, epochs = self.plan(exhausted)
        assert action is Action.RESUME
        self._happens(events.TrialResumed(number, "worker", epochs))
        return number, epochs
