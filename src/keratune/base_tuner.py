"""The base tuner: the search loop over an oracle's study, and the hooks of subclasses."""

from __future__ import annotations

import datetime
import functools
import inspect
import os
import shutil
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keratune import noise, transfer
from keratune._processes import worker_name
from keratune._runtime import say
from keratune.execution import client, heart, server, worker
from keratune.execution.base import Executor
from keratune.execution.interrupts import interruptible
from keratune.execution.roles import Role, current_role
from keratune.executors import executor_of
from keratune.halt import Halt
from keratune.history import History, Result
from keratune.job import TunersJob, TunersSearch
from keratune.limits import Limits
from keratune.numerics import pareto
from keratune.objectives import ObjectiveLike, pareto_objective
from keratune.oracle import Oracle
from keratune.parameters import HyperParameter
from keratune.reporting import progress, summaries
from keratune.reporting.following import Following
from keratune.schedulers.base import Scheduler
from keratune.schedulers.none import Unscheduled
from keratune.space import HyperParameters
from keratune.stop import Stop, seconds_of, stops_of
from keratune.storage import Storage
from keratune.storage.project_folder import from_strict_json, strict_json
from keratune.training import results as training_results
from keratune.training.base import get_hypermodel
from keratune.trial import Trial, TrialStatus

# A build that opens ever new scopes is not finite; each scope costs one build.
MOST_SCOPES = 1000

# Attributes that a worker process has its own of.
OF_THIS_PROCESS = {"executor", "halt", "progress", "role", "_arguments", "_closed", "_run"}


class BaseTuner:
    """Runs an oracle's trials. Subclass it and write `run_trial`, `save_model` and `load_model`.

    Args:
        oracle: Decides what to try and keeps what was found.
        hypermodel: A `HyperModel`, a function `build(hp)`, or None.
        directory: Folder of projects; default: the working directory.
        project_name: Folder of this project; default: `untitled_project`.
        overwrite: Whether a project that exists is deleted; otherwise it is continued.
        objectives: Several objectives, of which none is to be bought with another: metric names,
            `Objective`s, and "params", "flops", "memory" or "latency" for what a model costs. What
            is looked for are the trials that no other beats, see `get_pareto_trials`. Stands
            instead of `objective`, of which a list means a sum.
        constraint: Tells which configurations may be tried: a function of the configuration, such
            as `lambda hp: hp["units_2"] <= hp["units_1"]`. Where a configuration lacks a
            hyperparameter that it reads, it does not count.
        outcomes: What a trained trial's metrics have to keep, such as `["val_recall >= 0.8"]`: what
            keeps it is better than what does not. A trial is judged at its best epoch.
        storage: Where the journal is: a SQLAlchemy URL or a `Storage`; default: SQLite in the
            project's folder.
        defaults_first: Whether trial 0 takes the declared defaults.
        tuner_id: Name of this worker; default: `tuner0`, or what KERASTUNER_TUNER_ID says.
        initial_trials: Trials of other searches that the algorithm is to learn from: a tuner or a
            study; the path of a project's folder, keratune's or KerasTuner's; a DataFrame with a
            column for each hyperparameter and one for the objective (that of Optuna's
            `trials_dataframe()` too); or a list of (values, score). They are no trials of this
            search: they do not count against `max_trials`, and `get_best_trials` leaves them out,
            for they have no weights here. What the space cannot express is left out, with a line.
            Random, grid and Hyperband searches learn nothing, from these either.
        builtin_priors: Whether hyperparameters with a well-known name, such as `learning_rate`, and
            without a prior get the one of `keratune.priors.COMMON`.
        stop: What ends the search before its trials are used up: one or several of
            `keratune.stop`. What is being trained then counts with its score so far, and goes on
            when the search is continued with more.
        trial_timeout: How long a trial may be trained at a stretch: seconds, a text such as "10m",
            or a `timedelta`. One that takes longer ends before its next batch with the best epoch
            that it has come to; where it has come to none, it has failed.
        executor: Who runs the trials: None or 1 for this process, a number of worker processes on
            this machine, or one out of `keratune.executors`.
        **kwargs: `logger`, as old code passes it; it is kept and not used.

    Raises:
        ValueError: `oracle` is not an `Oracle`, or an argument is unknown or wrong.
        TypeError: `constraint` is not a function.
        RuntimeError: The project that exists cannot be continued with these arguments.

    Attributes:
        oracle: The oracle.
        hypermodel: What is tuned.
        tuner_id: Name of this worker.
    """

    def __init__(
        self,
        oracle: Oracle,
        hypermodel: Any = None,
        directory: str | os.PathLike[str] | None = None,
        project_name: str | None = None,
        overwrite: bool = False,
        *,
        objectives: Sequence[ObjectiveLike] | None = None,
        constraint: Callable[[Any], Any] | None = None,
        outcomes: Sequence[str] = (),
        storage: str | Storage | None = None,
        defaults_first: bool = True,
        tuner_id: str | None = None,
        initial_trials: Any = None,
        builtin_priors: bool = False,
        stop: Stop | Sequence[Stop] | None = None,
        trial_timeout: float | str | datetime.timedelta | None = None,
        executor: Executor | int | None = None,
        **kwargs: Any,
    ) -> None:
        """Check the arguments, then start the project or continue it."""
        if not isinstance(oracle, Oracle):
            raise ValueError(
                "Expected `oracle` argument to be an instance of `Oracle`. "
                f"Received: oracle={oracle} (of type {type(oracle)})."
            )
        if "logger" in kwargs:
            warnings.warn(
                "The `logger` argument is deprecated and not used.",
                DeprecationWarning,
                stacklevel=2,
            )
        self.logger = kwargs.pop("logger", None)
        if kwargs:
            raise ValueError(
                f"Unrecognized arguments {list(kwargs)} for `{type(self).__name__}.__init__()`."
            )
        self.oracle = oracle
        self.hypermodel: Any = get_hypermodel(hypermodel)
        self.directory = directory or "."
        self.project_name = project_name or "untitled_project"
        self.tuner_id = tuner_id or os.environ.get("KERASTUNER_TUNER_ID", "tuner0")
        self.stop = oracle.stops = stops_of(stop)
        self.trial_timeout = None if trial_timeout is None else seconds_of(trial_timeout)
        self.executor = executor_of(executor)
        self.halt = Halt()
        self.progress: progress.Progress | None = None
        self._queue = transfer.Queue()
        oracle.storage, oracle.defaults_first = storage, defaults_first
        if constraint is not None and not callable(constraint):
            raise TypeError(
                f"`constraint` must be a function. Received: constraint={constraint!r}. Pass one, "
                'such as `lambda hp: hp["units_2"] <= hp["units_1"]`.'
            )
        oracle.constraint = constraint or oracle.constraint
        if objectives is not None:
            oracle.objective = pareto_objective(objectives, oracle.objective)
        if outcomes:
            oracle.objective = oracle.objective.keeping(outcomes)
        oracle.builtin_priors = builtin_priors
        oracle._set_project_dir(self.directory, self.project_name)
        oracle.settings = self._settings()
        folder = Path(self.directory) / self.project_name
        if overwrite and storage is not None:
            raise ValueError(
                "`overwrite=True` deletes the project's folder, not what lies in `storage`. "
                f"Received: storage={storage!r}. Use another `project_name` to start anew there."
            )
        self.role: Role | None = current_role()
        if self.role is not None and not self.role.leads:  # the chief deletes and reloads
            client.follow(oracle, self.role)
        elif overwrite and folder.exists():
            shutil.rmtree(folder)
        elif not overwrite and oracle.exists():
            say(f"Reloading Tuner from {folder}")
            self.reload()
        self._populate_initial_space()
        if initial_trials is not None:
            self._give(initial_trials)
        if self._follows and not client.is_own(oracle):
            self.oracle = client.asking_the_chief(oracle)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a worker process needs of a tuner."""
        own = dict.fromkeys(OF_THIS_PROCESS & vars(self).keys())
        return {**vars(self), **own}

    # ------------------------------------------------------------------ written by subclasses

    def run_trial(self, trial: Trial, *fit_args: Any, **fit_kwargs: Any) -> Any:
        """Evaluate a trial's hyperparameters.

        Args:
            trial: The trial; `trial.hyperparameters` declares and returns values.
            *fit_args: As given to `search`.
            **fit_kwargs: As given to `search`.

        Returns:
            A `History`, a dict of metrics that has the objective, a float to minimise, or a list of
            these, one for each execution.
        """
        raise NotImplementedError(f"`run_trial` must be written in {type(self).__name__}.")

    def save_model(self, trial_id: str, model: Any, step: int = 0) -> None:
        """Save a model of a trial."""
        raise NotImplementedError(f"`save_model` must be written in {type(self).__name__}.")

    def load_model(self, trial: Trial) -> Any:
        """Return the best model of a trial."""
        raise NotImplementedError(f"`load_model` must be written in {type(self).__name__}.")

    def on_search_begin(self) -> None:
        """Called at the beginning of `search`."""

    def on_search_end(self) -> None:
        """Called at the end of `search`."""

    def pre_create_trial(self) -> None:
        """Called before the oracle is asked for a trial."""

    def on_trial_begin(self, trial: Trial) -> None:
        """Called when a trial has been created."""

    def on_trial_end(self, trial: Trial) -> None:
        """Called when a trial has been run; overriders call it through `super()`."""
        self.oracle.end_trial(trial)
        self.save()

    def _settings(self) -> dict[str, Any]:
        """Return the arguments, beside the oracle's, that a resumed search compares."""
        return {}

    def get_state(self) -> dict[str, Any]:
        """Return what a subclass wants back on reload, as JSON."""
        return {}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `get_state` returned."""

    # ------------------------------------------------------------------ knowledge from outside

    def enqueue(self, *configurations: Any) -> None:
        """Have configurations tried next, before the algorithm chooses again.

        They are trials like any other: they count against `max_trials`, and the algorithm learns
        from them. Those that were tried already are skipped, with a line. The queue is part of the
        study: it outlives the process, and a script that is started again may call this again.
        Queued ahead of the first search, they come before the defaults too; the defaults are
        `tuner.oracle.get_space()`.

        Args:
            *configurations: Dicts of values by name; `HyperParameters`; trials; or lists of these.
                What a dict leaves out is filled in by the algorithm.

        Raises:
            ValueError: There is no hyperparameter of a name, or it may not take the value; nothing
                was queued.

        Example:
            ```python
            tuner.enqueue({"learning_rate": 1e-3}, {"learning_rate": 1e-2, "units": 64})
            ```
        """
        study = self.oracle.study
        study.sync()
        explore = None if self.hypermodel is None else self._declared_with
        space = study.history.space
        wanted = [transfer.checked(w, space, explore) for w in transfer.wishes(configurations)]
        study.enqueue(*transfer.fresh(wanted, study.history, self._queue, self._say))

    def _give(self, initial_trials: Any) -> None:
        """Have the algorithm learn from trials of other searches.

        Raises:
            ValueError: They are those of this very project.
        """
        study, folder = self.oracle.study, Path(self.directory) / self.project_name
        if isinstance(initial_trials, (str, os.PathLike)):
            if Path(initial_trials).resolve() == folder.resolve():
                raise ValueError(
                    "`initial_trials` must come from another search: those of this project count "
                    f"already. Received: {initial_trials}. Use another `project_name`, or leave "
                    "`initial_trials` out."
                )
        rows = transfer.rows_of(initial_trials, self.oracle.objective)
        explore = None if self.hypermodel is None else self._declared_with
        found = transfer.expressed(rows, study.history.space, explore)
        if study.give(found.observations) or found.causes:
            self._say(found.line())

    def _declared_with(self, values: Mapping[str, Any]) -> list[HyperParameter]:
        """Build with some values, and return what the build has declared."""
        return self._build_for_space(values, refresh=False).declared

    def _say(self, line: str) -> None:
        """Tell the user a line, unless nothing is to be shown."""
        if self.oracle.verbose:
            say(line)

    # ------------------------------------------------------------------ searching

    def search(self, *fit_args: Any, **fit_kwargs: Any) -> None:
        """Run trials until the oracle has no more.

        Arguments are passed on to `run_trial`. A function whose only parameter is named `hp`
        is called with each trial's hyperparameters, and what it returns is passed on:

        ```python
        tuner.search(x, y, epochs=20, batch_size=lambda hp: hp.Choice("batch_size", [16, 32, 64]))
        ```

        Args:
            *fit_args: For `run_trial`.
            **fit_kwargs: For `run_trial`; `verbose` (0: nothing is shown, 1: the search, 2: and
                Keras's own lines) is for the tuner too.

        Raises:
            RuntimeError: Too many trials have failed in a row.
            FatalError: A mistake that every trial would repeat.
        """
        if self.role is not None and self.role.leads:
            self._lead(self.role, fit_args, fit_kwargs)
            return
        if self._follows:
            client.join(self.oracle)
        tried_before, shown = self._open_search(fit_args, fit_kwargs)
        self.on_search_begin()
        try:
            with shown.shown(), interruptible(self.halt, shown.say):
                run = functools.partial(self._run_trials, fit_args, fit_kwargs)
                if self._follows:
                    client.take_part(self.oracle, self.halt, run)
                else:
                    run()
        except (KeyboardInterrupt, SystemExit):
            shown.say("Interrupted. Run it again to go on where it stopped.")
            raise
        finally:
            self.oracle.save()
        self._say_why_it_ended(self.history.tried_count - tried_before)
        self.on_search_end()

    @property
    def _follows(self) -> bool:
        """Whether this process works for a chief."""
        return self.role is not None and not self.role.leads

    def _run_trials(self, fit_args: tuple[Any, ...], fit_kwargs: dict[str, Any]) -> None:
        """Run trials, here or wherever the executor does, until none is left."""
        if self.executor is None:
            self._work(fit_args, fit_kwargs)
        else:
            self.executor.run(TunersSearch(self, fit_args, fit_kwargs))

    def _lead(self, role: Role, fit_args: tuple[Any, ...], fit_kwargs: dict[str, Any]) -> None:
        """Serve the study until its workers have nothing more to do; see `execution.server`."""
        tried_before, shown = self._open_search(fit_args, fit_kwargs)
        self.save()
        following = Following(self.history, shown)
        try:
            with shown.shown(), interruptible(self.halt, shown.say):
                server.lead(self.oracle, role, following.update, self.halt.requested, shown.say)
        finally:
            self.oracle.save()
        self._say_why_it_ended(self.history.tried_count - tried_before)

    def join(self, *fit_args: Any, **fit_kwargs: Any) -> None:
        """Work on a search that another process leads, until nothing is left to be done.

        Arguments as for `search`; what a search does at its beginning and its end, the leading
        process does.
        """
        self._open_search(fit_args, fit_kwargs)
        self._work(fit_args, fit_kwargs)

    def _open_search(
        self, fit_args: tuple[Any, ...], fit_kwargs: dict[str, Any]
    ) -> tuple[int, progress.Progress]:
        """Bring the study up to the arguments.

        Returns:
            How many trials were tried before, and the display of the search.
        """
        self.oracle.verbose = fit_kwargs.get("verbose", self.oracle.verbose)
        study = self.oracle.study
        study.sync()
        study.planner.scheduler = self._bound_scheduler(fit_args, fit_kwargs)
        self.halt = Halt()
        left = self._limits().seconds_left(study.history)
        self.halt.until = None if left is None else time.monotonic() + left
        self.progress = self._display()
        return study.history.tried_count, self.progress

    def _display(self) -> progress.Progress:
        """Return what shows the user how the search goes."""
        study = self.oracle.study
        return progress.progress_for(self.oracle.verbose, study.history, study.limits)

    def _work(self, fit_args: tuple[Any, ...], fit_kwargs: dict[str, Any]) -> None:
        """Run trials in this process until nothing is left to be done."""
        study, name = self.oracle.study, worker_name(self.tuner_id)
        with heart.beating(study.storage, name, study.processes, study.bury):
            self._loop(fit_args, fit_kwargs)

    def _loop(self, fit_args: tuple[Any, ...], fit_kwargs: dict[str, Any]) -> None:
        """Run trials one behind the other."""
        worker.work(TunersJob(self, fit_args, fit_kwargs, self.tuner_id), self.halt)

    def _may_split(self, trial: Trial) -> bool:
        """Tell whether a trial that has run out of memory may be trained in smaller parts."""
        return False

    def _put_down(self, trial: Trial) -> None:
        """Leave a trial that was cut off so that it can be gone on with, and its best loaded."""

    def _limits(self) -> Limits:
        """Return how much the study may do, as the oracle's arguments say now."""
        self.oracle._apply_limits()
        return self.oracle.study.limits

    def _bound_scheduler(self, fit_args: tuple[Any, ...], fit_kwargs: Any) -> Scheduler:
        """Return what decides who trains how long in a search with these arguments."""
        return Unscheduled()

    _completion = "nothing is left to be tried"  # why a search without a limit has ended
    _remedy = "more folds or repeats tell them apart"  # what to do when noise hides the best

    def _say_why_it_ended(self, trials: int) -> None:
        """Say what a user may not expect: nothing was left to do, or nothing has worked."""
        history, limit = self.oracle.study.history, self.oracle.max_trials
        if self.progress is None:
            return
        total = progress.counted(history.tried_count, "trial")
        if limit and history.tried_count >= limit:
            if not trials:
                self.progress.say(
                    f"The search has ended before, with {total}. A larger `max_trials` extends "
                    "it, `overwrite=True` starts anew."
                )
        elif why := self._limits().reason(history) or self.halt.reason:
            self.progress.say(f"The search ends after {total}: {why}.")
        elif not history.running:
            self.progress.say(f"The search ends after {total}: {self._completion}.")
        if history.ended and not history.scored_count:
            self.progress.say("No trial has been completed; `results_summary()` shows the causes.")
        line = noise.warning(history, self._remedy) if trials and self._remedy else None
        if line is not None:
            self.progress.say(line)

    def _run_and_update_trial(self, trial: Trial, *fit_args: Any, **fit_kwargs: Any) -> None:
        """Run a trial and record its metrics."""
        hp = trial.hyperparameters
        arguments, keywords = resolved_arguments(hp, fit_args, fit_kwargs)
        results = self.run_trial(trial, *arguments, **keywords)
        if self.oracle.get_trial(trial.trial_id).metrics.exists(self.oracle.objective.name):
            warnings.warn(
                "The metrics of this trial were reported by `oracle.update_trial` already. "
                "Please remove the call, and return the metrics from `Tuner.run_trial()`.",
                DeprecationWarning,
                stacklevel=2,
            )
            return
        training_results.validate(results, self.oracle.objective, training_results.RUN_TRIAL)
        self._record(trial, results)

    def _record(self, trial: Trial, results: Any) -> None:
        """Record what each execution came to, and report the mean."""
        listed = results if isinstance(results, list) else [results]
        executions = [
            self._record_execution(trial, execution, result)
            for execution, result in enumerate(listed)
        ]
        step = max(training_results.mean_step(executions) - 1, 0)
        mean = training_results.mean_metrics(executions)
        self.oracle.update_trial(trial.trial_id, mean, step=step)
        if len(executions) > 1:
            self.oracle.show_executions(trial, executions, step)

    def _record_execution(self, trial: Trial, execution: int, result: Any) -> Result:
        """Record an execution, unless it was recorded when it ended."""
        record = self.oracle.record(trial)
        told = training_results.result_of(result, self.oracle.objective)
        known = record.results.get(execution)
        if known is not None and known.metrics == told.metrics:
            return known
        self.oracle.study.complete_execution(record.number, execution, told)
        return told

    # ------------------------------------------------------------------ the space

    def _populate_initial_space(self) -> None:
        """Declare the space ahead: build once, then once for each scope that was never active."""
        if self.hypermodel is None:
            return
        hp = self.oracle.get_space()
        self.hypermodel.declare_hyperparameters(hp)
        self.oracle.update_space(hp)
        visited: set[str] = set()
        forced: dict[str, Any] = {}
        for _ in range(MOST_SCOPES):
            hp = self._build_for_space(forced)
            visited |= {repr(scope) for scope in hp.active_scopes}
            scope = next((s for s in self._openable(hp) if repr(s) not in visited), None)
            if scope is None:
                return
            visited.add(repr(scope))
            forced = {condition.name: condition.values[0] for condition in scope}

    def _openable(self, hp: HyperParameters) -> list[Any]:
        """Return the scopes that were closed, those that a value of their parents would open."""
        self._closed = getattr(self, "_closed", {})
        for scope in hp.inactive_scopes:
            if all(any(p.contains(c.values[0]) for p in hp.named(c.name)) for c in scope):
                self._closed[repr(scope)] = scope
        return list(self._closed.values())

    def _build_for_space(
        self, forced: Mapping[str, Any], *, refresh: bool = True
    ) -> HyperParameters:
        """Build with defaults and a few forced values, and take what is declared into the space.

        `refresh` has it take the place of what was known under the same names.
        """
        hp = self.oracle.get_space()
        hp.begin(forced, None)
        hp.ensure_active_values(lambda parameter: parameter.default)
        self._build_quietly(hp)
        self.oracle.update_space(hp)
        if refresh:
            self.oracle.refresh_space(hp.declared)
        return hp

    def _build_quietly(self, hp: HyperParameters) -> None:
        """Build for the sake of the space alone."""
        self.hypermodel.build(hp)

    # ------------------------------------------------------------------ results

    def get_best_models(self, num_models: int = 1) -> list[Any]:
        """Return the best models, the best first.

        Args:
            num_models: How many; fewer are returned where fewer trials are completed.

        Raises:
            FileNotFoundError: A trial keeps no weights: it is not among the best.
        """
        return [self.load_model(trial) for trial in self.oracle.get_best_trials(num_models)]

    def get_best_hyperparameters(self, num_trials: int = 1) -> list[HyperParameters]:
        """Return the hyperparameters of the best trials, the best first."""
        return [trial.hyperparameters for trial in self.oracle.get_best_trials(num_trials)]

    def get_pareto_trials(self) -> list[Trial]:
        """Return the trials that no other beats: nowhere worse and somewhere better.

        Each trial counts with the metrics of its best step. Equals are all returned. With
        `objectives=`, what misses a threshold is left out, and the best compromise is the first
        (see `get_knee_trial`); with a list for `objective`, the trial whose sum is best.

        Example:
            ```python
            tuner = keratune.RandomSearch(build_model, objectives=["val_accuracy", "params"])
            tuner.search(x, y, validation_split=0.2)
            for trial in tuner.get_pareto_trials():
                print(trial.hyperparameters.values, trial.metrics_at_best())
            ```
        """
        objective = self.oracle.objective
        if objective.count > 1:
            trials = self.oracle.trials
            found = [trials.get(record.trial_id) for record in self.history.front()]
            return [trial for trial in found if trial is not None]
        told = [
            (t, t.metrics_at_best()) for t in self.oracle.get_best_trials(len(self.oracle.trials))
        ]
        told = [
            (trial, metrics)
            for trial, metrics in told
            if objective.has_value(metrics) and objective.violation(metrics) == 0.0
        ]
        if not told:
            return []
        kept = pareto.front(np.array([objective.get_losses(metrics) for _, metrics in told]))
        return [trial for (trial, _), keep in zip(told, kept, strict=True) if keep]

    def get_knee_trial(self) -> Trial | None:
        """Return the best compromise of several objectives; None while there is none.

        It is the trial of the front that is nearest to a point where every objective is as good as
        anywhere on the front, each objective being measured in parts of the front's range.
        """
        trials = self.get_pareto_trials()
        if not trials or self.oracle.objective.count > 1:
            return trials[0] if trials else None
        losses = [self.oracle.objective.get_losses(trial.metrics_at_best()) for trial in trials]
        return trials[pareto.knee(np.array(losses, dtype=float))]

    def search_space_summary(self, extended: bool = False) -> None:
        """Print the search space.

        Args:
            extended: Accepted as KerasTuner does; the summary is always whole.
        """
        summaries.search_space(self.oracle.get_space().space)

    def results_summary(self, num_trials: int = 10) -> None:
        """Print the best trials, and the failed ones with what went wrong.

        Args:
            num_trials: How many of each.
        """
        trials = self.oracle.trials.values()
        failed = [trial for trial in trials if trial.status == TrialStatus.FAILED]
        summaries.results(
            self.project_dir,
            self.oracle.objective,
            num_trials,
            self.oracle.get_best_trials(num_trials),
            failed[:num_trials],
            [rejection.reason for rejection in self.history.rejected],
        )

    @property
    def remaining_trials(self) -> int | None:
        """How many trials are left, None where there is no limit."""
        return self.oracle.remaining_trials()

    # ------------------------------------------------------------------ files

    @property
    def project_dir(self) -> str:
        """The project's folder, made if it does not exist."""
        return self.oracle._project_dir

    def get_trial_dir(self, trial_id: str) -> str:
        """Return a trial's folder, made if it does not exist."""
        return self.oracle._get_trial_dir(trial_id)

    def _get_tuner_fname(self) -> str:
        return os.path.join(self.project_dir, f"{self.tuner_id}.json")

    def save(self) -> None:
        """Write what `get_state` returns, where it has changed."""
        text = strict_json(self.get_state())
        if text != getattr(self, "_saved_state", None):
            self.oracle.write_file(f"{self.tuner_id}.json", text)
            self._saved_state = text

    def reload(self) -> None:
        """Continue the project; says what differs from how it was begun."""
        self.oracle.settings = self._settings()
        self.oracle.reload()
        for line in self.oracle.differences:
            say(line)
        text = self.oracle.read_file(f"{self.tuner_id}.json")
        if text is not None:
            self.set_state(from_strict_json(text))

    @property
    def history(self) -> History:
        """What has happened in the study."""
        return self.oracle.study.history


def takes_only_hp(argument: Any) -> bool:
    """Tell whether an argument is a function whose only parameter is named `hp`."""
    if not callable(argument) or inspect.isclass(argument):
        return False
    try:
        return list(inspect.signature(argument).parameters) == ["hp"]
    except (TypeError, ValueError):
        return False


def resolved(argument: Any, hp: HyperParameters) -> Any:
    """Return an argument; what it returns for the hyperparameters if it is a function of `hp`."""
    return argument(hp) if takes_only_hp(argument) else argument


def resolved_arguments(
    hp: HyperParameters, fit_args: Sequence[Any], fit_kwargs: Mapping[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments of `run_trial` for a trial; callbacks are made anew later."""
    arguments = [resolved(argument, hp) for argument in fit_args]
    keywords = {
        name: argument if name == "callbacks" else resolved(argument, hp)
        for name, argument in fit_kwargs.items()
    }
    return arguments, keywords
