"""The trials of a history as user code sees them: a `Trial` for each record, kept up to date.

A record changes only by events; a trial is what hooks, subclasses and users hold in their hands,
and they may put trials of their own beside those that the study knows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

from keratune import confirmation
from keratune.history import History, Record, Result
from keratune.objectives import MultiObjective, Objective
from keratune.parameters import HyperParameter
from keratune.storage.project_folder import values_hash
from keratune.trial import Trial, TrialStatus


@final
class TrialMirror:
    """Keeps a `Trial` for each record of a history.

    Args:
        history: The study's history.
        objective: What is optimised; metrics get their directions from it.

    Attributes:
        trials: All trials by id, in order of creation.
        numbers: The numbers of the trials that the study knows, by id.
        tried: Hashes of all configurations.
    """

    def __init__(self, history: History, objective: Objective) -> None:
        """Start with nothing mirrored."""
        self.trials: dict[str, Trial] = {}
        self.numbers: dict[str, int] = {}
        self.tried: set[str] = set()
        self._history = history
        self._objective = objective
        self._seen = 0
        self._replaced = False

    def update(self) -> None:
        """Make a trial of each record that has none here, and end those that ended elsewhere."""
        changes = self._history.changes
        for number in dict.fromkeys(changes[self._seen :]):
            if number in self._history:
                self._take(self._history[number])
        self._seen = len(changes)

    def begin(self, record: Record, fill: Callable[[HyperParameter], Any]) -> Trial:
        """Return the trial of a record that a worker has just taken, without a past.

        Args:
            record: The record.
            fill: Returns the value of a hyperparameter that the trial's build declares anew.
        """
        self.trials.pop(record.trial_id, None)
        self.update()
        trial = self._take(record)
        trial.status = TrialStatus.RUNNING
        trial.hyperparameters.begin(self._history.space.live(record.values), fill)
        return trial

    def forget(self, trial_id: str) -> None:
        """Drop a trial."""
        self.trials.pop(trial_id, None)
        self.numbers.pop(trial_id, None)

    def replace(self, trials: Mapping[str, Trial]) -> None:
        """Show these trials from now on, and those that are still to come."""
        self.update()
        self.trials, self._replaced = dict(trials), True

    def unknown(self) -> list[Trial]:
        """Return the trials that somebody has put in by hand, in order."""
        if len(self.trials) <= len(self.numbers) and not self._replaced:
            return []
        return [trial for name, trial in self.trials.items() if name not in self.numbers]

    def best(self, count: int) -> list[Trial]:
        """Return the confirmed trials, then those with the best scores, the best first."""
        wanted = len(self._history) if self._replaced else count
        ranked = confirmation.ranked(self._history, wanted)
        shown = (self.trials.get(record.trial_id) for record in ranked)
        return [trial for trial in shown if trial is not None][:count]

    def register_metric(self, trial: Trial, name: str) -> None:
        """Give a trial a metric, with the objective's direction where it belongs to it."""
        if trial.metrics.exists(name):
            return
        directions: dict[str, str] = {self._objective.name: self._objective.direction}
        if isinstance(self._objective, MultiObjective):
            directions.update(self._objective.name_to_direction)
        trial.metrics.register(name, directions.get(name))

    def _take(self, record: Record) -> Trial:
        self.numbers[record.trial_id] = record.number
        trial = self.trials.get(record.trial_id)
        if trial is None:
            trial = Trial(self._history.space.copy(), record.trial_id, record.status)
            trial.hyperparameters.begin(self._history.space.live(record.values), None)
            self.trials[record.trial_id] = trial
        at_rest = record.finished or record.status == TrialStatus.PAUSED
        if at_rest and (trial.score is None or trial.status != record.status):
            trial.status, trial.message = record.status, record.message
            trial.score, trial.best_step = record.score, record.best_step
            results = [record.results[key] for key in sorted(record.results)]
            so_far = record.curves.get(0, {}).get(record.best_step + 1)
            if not results and so_far:
                results = [Result(record.best_step + 1, so_far)]
            self.show_executions(trial, results, record.best_step)
        trial.confirmed = confirmation.scores(self._history, record)
        self.tried.add(values_hash(record.values))
        return trial

    def show_executions(self, trial: Trial, results: Sequence[Result], step: int) -> None:
        """Give a trial its metrics: one observation each, with every execution's value."""
        for name in dict.fromkeys(name for result in results for name in result.metrics):
            trial.metrics.metrics.pop(name, None)
            self.register_metric(trial, name)
            values = [result.metrics[name] for result in results if name in result.metrics]
            trial.metrics.metrics[name].update(values, step)
