"""The oracle: KerasTuner's interface for deciding what to try, laid over the study.

Subclass `Oracle` and write `populate_space(trial_id)` to bring an algorithm of your own. An oracle
holds nothing that matters; the study's journal does, apart from what a subclass returns from
`get_state` and gets back in `set_state`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from keratune._processes import is_not_dead
from keratune._random import stream
from keratune._runtime import say
from keratune.algorithms.base import random_values, unseen_values
from keratune.errors import TrialRejectedError
from keratune.history import Record, Result
from keratune.storage.project_folder import values_hash
from keratune.study import NonFiniteScoreError, Verdict
from keratune.study_owner import StudyOwner, synchronized, trial_to_end
from keratune.trial import Trial, TrialStatus


class Oracle(StudyOwner):
    """Decides what to try next and keeps what was found. Subclass it and write `populate_space`.

    Args:
        objective: Name of a metric (its direction is inferred where Keras knows it), an
            `Objective`, a list of objectives (their sum is minimised), or None when what is
            evaluated returns a number to be minimised.
        max_trials: Number of trials; None: until the space is used up.
        hyperparameters: Hyperparameters declared ahead; they win over what builds declare under
            the same name.
        allow_new_entries: Whether builds may declare hyperparameters that are not among these.
        tune_new_entries: Whether such hyperparameters are searched, or kept at their defaults.
        seed: Seed of everything that is random; None draws one. 0 is a seed.
        max_retries_per_trial: How often a trial is tried again after it raised or ended in NaN.
        max_consecutive_failed_trials: Failed trials in a row that end the search when nothing
            has ever worked; later a streak must also be unlikely for the failures seen before.
            None: failures never end it.

    Raises:
        ValueError: The objective's direction is unknown, or the space is closed and empty.

    Example:
        ```python
        class Alternating(keratune.Oracle):
            def populate_space(self, trial_id):
                return {"status": "RUNNING", "values": {"units": 8 if int(trial_id) % 2 else 16}}
        ```
    """

    # ------------------------------------------------------------------ written by subclasses

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Choose a trial's values.

        Args:
            trial_id: The trial.

        Returns:
            `{"status": ..., "values": {...}}` with status RUNNING and values by name, or
            IDLE (ask again later) or STOPPED (the search is over) without values.
        """
        raise NotImplementedError(
            f"`populate_space(trial_id)` must be written in {type(self).__name__}: it returns "
            'a dict like {"status": "RUNNING", "values": {"units": 32}}.'
        )

    def score_trial(self, trial: Trial) -> None:
        """Set `trial.score` and `trial.best_step` from its metrics; may be overridden."""
        trial.best_step = trial.metrics.get_best_step(self.objective.name)
        trial.score = trial.metrics.get_best_value(self.objective.name)

    def _populate_space(self, trial_id: str) -> dict[str, Any]:
        """Return `populate_space(trial_id)`; the former name."""
        _warn_of_former_name("populate_space")
        return self.populate_space(trial_id)

    def _score_trial(self, trial: Trial) -> None:
        """Call `score_trial(trial)`; the former name."""
        _warn_of_former_name("score_trial")
        self.score_trial(trial)

    # ------------------------------------------------------------------ creating trials

    @synchronized
    def create_trial(self, tuner_id: str) -> Trial:
        """Give a worker a trial.

        Args:
            tuner_id: The worker's name; one that has a trial gets the same again.

        Returns:
            The trial; its status is RUNNING, IDLE (ask again later) or STOPPED.
        """
        if tuner_id in self.ongoing_trials:
            return self.ongoing_trials[tuner_id]
        self.tuner_ids.add(tuner_id)
        self._mirror()
        self._apply_limits()
        record = self._ask(self.worker_of(tuner_id))
        if isinstance(record, Verdict):
            return self._no_trial(tuner_id, record)
        trial = self._begun(record)
        self.ongoing_trials[tuner_id] = trial
        self._save_trial(trial)
        self._write_oracle()
        return trial

    def _ask(self, worker: str) -> Record | Verdict:
        """Ask the study; before waiting or stopping, take up what dead workers have left."""
        answer = self.study.ask(worker, self._source, self._trial_name)
        if isinstance(answer, Verdict) and self.study.recover(is_not_dead):
            answer = self.study.ask(worker, self._source, self._trial_name)
        return answer

    def _no_trial(self, tuner_id: str, verdict: Verdict) -> Trial:
        status = TrialStatus.IDLE if verdict is Verdict.WAIT else TrialStatus.STOPPED
        if status == TrialStatus.STOPPED:
            self.tuner_ids.discard(tuner_id)
        name = self._trial_name(self.study.history.next_number)
        return Trial(self.get_space(), name, status)

    def _begun(self, record: Record) -> Trial:
        """Return the trial of a record that a worker has just taken."""
        study = self.study
        return self._mirror().begin(record, lambda p: study.planner.fill(record.number, p))

    def _trial_name(self, number: int) -> str:
        return str(number).zfill(len(str(self.max_trials)))

    @property
    def _source(self) -> Callable[[int], Any] | None:
        """What `Study.ask` asks for values: `populate_space`."""
        return self._populate

    def _populate(self, number: int) -> Mapping[str, Any] | Verdict:
        answer = self.populate_space(self._trial_name(number))
        if answer["status"] == TrialStatus.STOPPED:
            return Verdict.STOP
        if answer["status"] == TrialStatus.IDLE:
            return Verdict.WAIT
        container = self.study.history.space.copy()
        container.begin(answer.get("values") or {}, None)
        container.ensure_active_values(lambda p: self.study.planner.fill(number, p))
        return dict(container.values)

    # ------------------------------------------------------------------ reporting and ending trials

    @synchronized
    def update_trial(self, trial_id: str, metrics: Mapping[str, float], step: int = 0) -> Trial:
        """Report a trial's metrics.

        Args:
            trial_id: The trial.
            metrics: Must hold the objective.
            step: The epoch, from 0.

        Returns:
            The trial.

        Raises:
            KeyError: There is no such trial.
            ValueError: The objective is not among the metrics.
        """
        number, trial = self._number(trial_id), self.trial_of(trial_id)
        missing = [name for name in self.objective.names if name not in metrics]
        if missing and self.objective.name not in metrics:
            raise ValueError(
                "Objective value missing in metrics reported to the Oracle, expected: "
                f"{list(self.objective.names)}, found: {list(metrics)}."
            )
        told = dict(metrics)
        if self.objective.has_value(told):
            told.setdefault(self.objective.name, self.objective.get_value(told))
        for name, value in told.items():
            self._mirror().register_metric(trial, name)
            trial.metrics.update(name, value, step=step)
        if not self.study.history[number].results:
            self.study.report(number, step + 1, told)
        return trial

    def show_executions(self, trial: Trial, results: Sequence[Result], step: int) -> None:
        """Show in a trial's metrics what each of its executions came to, beside the mean."""
        self._mirror().show_executions(self.trial_of(trial.trial_id), results, step)

    @synchronized
    def end_trial(self, trial: Trial | str, status: str = TrialStatus.COMPLETED) -> None:
        """End a trial by its status.

        COMPLETED; INVALID, which may be tried again; FAILED; STOPPED before its end; or PAUSED, to
        be trained further.

        Args:
            trial: The trial; by its id, with `status`, as old code does.
            status: The status, where the trial is given by its id.

        Raises:
            RuntimeError: Too many trials have failed in a row.
        """
        if isinstance(trial, str):
            trial = trial_to_end(self, trial, status)
        number, stored = self._number(trial.trial_id), self.trial_of(trial.trial_id)
        stored.hyperparameters = trial.hyperparameters
        stored.status, stored.message = trial.status, trial.message
        self.study.update_space(trial.hyperparameters.declared, late=True)
        if not self.study.history[number].finished:
            self._end(number, stored)
        if number in self.study.history:
            values = self.study.history[number].values
            stored.hyperparameters.begin(self.study.history.space.live(values), None)
        self._forget_ongoing(stored)
        self._save_trial(stored)
        self._write_oracle()
        if stored.status == TrialStatus.FAILED:
            self.study.refuse_broken(stored.message)

    def _end(self, number: int, trial: Trial) -> None:
        if trial.status == TrialStatus.PAUSED:
            self.study.pause(number, trial.message or "")
            self._mirror()  # gives the trial its score and metrics so far
            return
        values = self.final_values(trial)
        if trial.status not in (TrialStatus.INVALID, TrialStatus.FAILED):
            if trial.status == TrialStatus.COMPLETED or trial.metrics.exists(self.objective.name):
                self.score_trial(trial)
            trial.score = self._estimates.pop(trial.trial_id, trial.score)
            try:
                score = float("nan") if trial.score is None else float(trial.score)
                stopped = trial.status == TrialStatus.STOPPED
                self.study.tell_score(
                    number,
                    score,
                    trial.best_step or 0,
                    values,
                    message=trial.message,
                    stopped=stopped,
                )
                trial.status = TrialStatus.STOPPED if stopped else TrialStatus.COMPLETED
                return
            except NonFiniteScoreError as error:
                trial.score, trial.message = None, trial.message or str(error)
                trial.status = TrialStatus.INVALID
                self._kinds[trial.trial_id] = "not_finite"
        kind = self._kinds.pop(trial.trial_id, "error")
        retry = trial.status == TrialStatus.INVALID
        record = self.study.fail(number, kind, trial.message, retry=retry, values=values)
        if not record.finished:
            self._announce_retry(trial, record)
        else:
            trial.status = TrialStatus.FAILED

    def end_early(self, trial: Trial, kind: str, message: str) -> None:
        """End a trial that was cut off with the best epoch that it has come to.

        Args:
            trial: The trial; it gets its status, score and metrics.
            kind: What kind of failure it is where it has come to nothing.
            message: Why it was cut off.
        """
        self.study.end_early(self._number(trial.trial_id), kind, message)
        self._mirror()
        ended = self.record(trial)
        trial.status, trial.message = ended.status, ended.message

    def split(self, trial: Trial) -> None:
        """Put a trial that has run out of memory back, to be trained in smaller parts."""
        reason = "out of memory: tried again with batches in parts half as large"
        self.study.requeue(self._number(trial.trial_id), reason, afresh=True, split=True)
        self._forget_ongoing(trial)

    def forget(self, trial: Trial) -> None:
        """Take note that another worker has a trial now."""
        self._forget_ongoing(trial)

    def _announce_retry(self, trial: Trial, record: Record) -> None:
        left = self.max_retries_per_trial - record.attempt + 1
        if self.verbose:
            say(f"Trial {trial.trial_id} failed {record.attempt} times. {left} retries left.")
        trial.metrics = type(trial.metrics)()
        trial.score = None

    def mark_failure(self, trial: Trial, kind: str) -> None:
        """Remember what kind of failure a trial's end will be."""
        self._kinds[trial.trial_id] = kind

    def mark_estimate(self, trial: Trial, score: float) -> None:
        """Remember what a trial that ends early is estimated to score; it is not the mean then."""
        self._estimates[trial.trial_id] = score

    def final_values(self, trial: Trial) -> dict[str, Any]:
        """Return what a trial has read, in order; everything where nothing was read by name."""
        hp = trial.hyperparameters
        values = dict(hp.values)
        if not hp.declared:
            return values
        read = {name: values[name] for name in hp.reads if name in values}
        foreign = {name: value for name, value in values.items() if not hp.named(name)}
        return {**read, **foreign}

    def _forget_ongoing(self, trial: Trial) -> None:
        ended = [name for name, t in self.ongoing_trials.items() if t.trial_id == trial.trial_id]
        for name in ended:
            del self.ongoing_trials[name]

    def settle(self, trial: Trial, *, late: bool = False) -> None:
        """Record what a trial's build has read, before it is trained.

        Args:
            trial: The trial.
            late: Whether it has been trained, and fitting may have read more.

        Raises:
            DuplicateTrialError: An earlier trial has read the same.
        """
        hp = trial.hyperparameters
        values = self.final_values(trial)
        known = self.study.history.late_names
        waiting = {n: v for n, v in dict(hp.values).items() if n in known and n not in values}
        number = self._number(trial.trial_id)
        wished = self.study.history[number].origin == "enqueued"
        try:
            self.study.settle(number, {**values, **waiting}, hp.declared, late=late)
        finally:
            if number not in self.study.history:
                self._drop(trial)
                if wished and self.verbose:
                    say(f"An enqueued configuration was tried already, and is skipped: {values}")

    def reject(self, trial: Trial, rejected: TrialRejectedError) -> None:
        """Give up a trial in hand that must not be trained; its number is free again.

        Raises:
            FatalValueError: Too many were rejected in a row.
        """
        number = self._number(trial.trial_id)
        record = self.study.history[number]
        if record.origin == "enqueued" and self.verbose:
            say(f"An enqueued configuration is skipped ({rejected}): {record.values}")
        try:
            self.study.reject(number, str(rejected), rejected.costs)
        finally:
            self._drop(trial)

    def _drop(self, trial: Trial) -> None:
        """Forget a trial that is none any more, and its copy on disk."""
        self._forget_ongoing(trial)
        self._mirror().forget(trial.trial_id)
        if self._folder is not None:
            self._folder.remove_trial(trial.trial_id)

    def release(self, trial: Trial, reason: str) -> None:
        """Put a trial that a worker has in hand back to the queue."""
        with self._lock:
            number = self._number(trial.trial_id)
            if number in self.study.history.running:
                self.study.requeue(number, reason)
            self._forget_ongoing(trial)
            self._write_oracle(now=True)

    # ------------------------------------------------------------------ results

    def get_best_trials(self, num_trials: int = 1) -> list[Trial]:
        """Return the trials with the best scores, the best first.

        Trials that a scheduler has paused or stopped count with their best epoch.

        Args:
            num_trials: How many; fewer are returned where fewer have a score.
        """
        return self._mirror().best(num_trials)

    def remaining_trials(self) -> int | None:
        """Return how many trials are left, None where there is no limit."""
        return self.max_trials - len(self.trials) if self.max_trials else None

    # ------------------------------------------------------------------ for subclasses

    def _random_values(self) -> dict[str, Any] | None:
        """Return a random configuration that no trial has tried, None when there is none."""
        history = self.study.history
        place = history.next_number, history.discarded.get(history.next_number, 0)
        self._draws = {place: self._draws.get(place, 0) + 1}  # those for one trial are counted on
        rng = stream(self.seed, *place, "random", self._draws[place])
        for _ in range(self._max_collisions):
            values = random_values(history, rng)
            if not self._duplicate(values) and not history.tree.covers(values):
                break
        else:
            found = unseen_values(history, rng)
            if found is None or self._duplicate(found):
                return None
            values = found
        self._tried_so_far.add(self._compute_values_hash(values))
        return values

    @property
    def _tried_so_far(self) -> set[str]:
        """Hashes of all configurations; subclasses add those that they have drawn."""
        return self._mirror().tried

    def _compute_values_hash(self, values: Mapping[str, Any]) -> str:
        """Return a text that tells configurations apart."""
        return values_hash(values)

    def _duplicate(self, values: Mapping[str, Any]) -> bool:
        """Tell whether a configuration was tried."""
        return self._compute_values_hash(values) in self._tried_so_far


def _warn_of_former_name(name: str) -> None:
    warnings.warn(f"`_{name}` is now called `{name}`.", DeprecationWarning, stacklevel=3)


__all__ = ["Oracle", "synchronized"]
