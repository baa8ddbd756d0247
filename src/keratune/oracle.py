"""The oracle: KerasTuner's interface for deciding what to try, laid over the study.

Subclass `Oracle` and write `populate_space(trial_id)` to bring an algorithm of your own. An oracle
holds nothing that matters; the study's journal does, apart from what a subclass returns from
`get_state` and gets back in `set_state`.
"""

from __future__ import annotations

import functools
import math
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from keratune import algorithms
from keratune._processes import is_other_live_process, worker_name
from keratune._random import stream
from keratune._runtime import say
from keratune.algorithms.base import Algorithm, random_values, unseen_values
from keratune.errors import StudyMismatchError
from keratune.history import Record, Result
from keratune.objectives import MultiObjective, ObjectiveLike, create_objective
from keratune.parameters import HyperParameter
from keratune.space import HyperParameters
from keratune.storage import Storage, open_storage
from keratune.storage.project_folder import ProjectFolder, oracle_state, values_hash
from keratune.study import Limits, NonFiniteScoreError, Study, Verdict
from keratune.trial import Trial, TrialStatus

Method = TypeVar("Method", bound=Callable[..., Any])

# `oracle.json` costs O(trials) to write. It is written at the end of a search, and meanwhile when
# this many times the last writing's duration has passed: at most 2 % of the time goes into it.
ORACLE_FILE_SHARE = 50


def synchronized(method: Method) -> Method:
    """Let one thread at a time into the decorated methods of an oracle.

    The lock belongs to the oracle, is re-entrant, and is given back whatever happens.
    """

    @functools.wraps(method)
    def locked(oracle: Any, *args: Any, **kwargs: Any) -> Any:
        with oracle._lock:
            return method(oracle, *args, **kwargs)

    return locked  # type: ignore[return-value]


class Oracle:
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

    def __init__(
        self,
        objective: ObjectiveLike = None,
        max_trials: int | None = None,
        hyperparameters: HyperParameters | None = None,
        allow_new_entries: bool = True,
        tune_new_entries: bool = True,
        seed: int | None = None,
        max_retries_per_trial: int = 0,
        max_consecutive_failed_trials: int | None = 3,
    ) -> None:
        """Check the arguments; the study opens when it is needed."""
        for name, value in (
            ("tune_new_entries", tune_new_entries),
            ("allow_new_entries", allow_new_entries),
        ):
            if hyperparameters is None and not value:
                raise ValueError(
                    f"If you set `{name}=False`, you must specify the search space via the "
                    "`hyperparameters` argument. Received: hyperparameters=None."
                )
        self.objective = create_objective(objective)
        self.max_trials = max_trials
        self.allow_new_entries = allow_new_entries
        self.tune_new_entries = tune_new_entries
        self.max_retries_per_trial = max_retries_per_trial
        self.max_consecutive_failed_trials = max_consecutive_failed_trials
        self.seed = random.randint(1, 10_000) if seed is None else seed
        self.defaults_first = True
        self.directory: Any = None
        self.project_name: str | None = None
        self.storage: str | Storage | None = None
        self.verbose: Any = 1
        self.multi_worker = False
        self.should_report = True
        self.tuner_ids: set[str] = set()
        self.ongoing_trials: dict[str, Trial] = {}
        self._given_seed = seed
        self._given_space = hyperparameters
        self._lock = threading.RLock()
        self._opened: Study | None = None
        self._mirrored = 0
        self._trials: dict[str, Trial] = {}
        self._numbers: dict[str, int] = {}
        self._kinds: dict[str, str] = {}
        self._max_collisions = 20
        self._seed_state = self.seed
        self._tried_so_far: set[str] = set()
        self._next_write = 0.0
        self.differences: list[str] = []

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

    def get_state(self) -> dict[str, Any]:
        """Return the state as `oracle.json` holds it; subclasses add theirs."""
        return oracle_state(self.study.history)

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take back what a subclass has added in `get_state`; the journal holds the rest."""

    # ------------------------------------------------------------------ the study

    @property
    def study(self) -> Study:
        """The study, opened at the first use: in the project's folder, in memory without one."""
        with self._lock:
            if self._opened is None:
                self._opened = self._open_study()
                self._start()
            return self._opened

    def _open_study(self) -> Study:
        folder = self._folder.path if self._folder else None
        return Study.open(
            open_storage(self.storage, folder, str(self.project_name)),
            self.objective,
            self._algorithm(),
            seed=self.seed,
            settings=self._settings(),
        )

    def _start(self) -> None:
        """Bring a study that was just opened up to this oracle's arguments."""
        study = self.study
        self.seed = self._seed_state = study.history.seed
        self._mirrored, self._trials, self._numbers = 0, {}, {}
        if self._given_space is not None:
            study.declare(self._given_space.space, override=True)
        self._apply_limits()

    def _apply_limits(self) -> None:
        """Hand the arguments, which may be assigned at any time, to the study."""
        study = self.study
        study.limits = Limits(
            self.max_trials, self.max_retries_per_trial, self.max_consecutive_failed_trials
        )
        study.allow_new, study.tune_new = self.allow_new_entries, self.tune_new_entries
        study.defaults_first = self.defaults_first

    def _algorithm(self) -> Algorithm:
        """Return what fills in values that `populate_space` leaves open."""
        return algorithms.create("random")

    def _settings(self) -> dict[str, Any]:
        """Return the arguments that a resumed search compares."""
        return {
            "oracle": type(self).__name__,
            "max_trials": self.max_trials,
            "max_retries_per_trial": self.max_retries_per_trial,
            "max_consecutive_failed_trials": self.max_consecutive_failed_trials,
            "allow_new_entries": self.allow_new_entries,
            "tune_new_entries": self.tune_new_entries,
            **({} if self._given_seed is None else {"seed": self._given_seed}),
        }

    @property
    def _source(self) -> Callable[[int, int], Any] | None:
        """What `Study.ask` asks for values: `populate_space`."""
        return self._populate

    def _populate(self, number: int, attempt: int) -> Mapping[str, Any] | Verdict:
        answer = self.populate_space(self._trial_name(number))
        if answer["status"] == TrialStatus.STOPPED:
            return Verdict.STOP
        if answer["status"] == TrialStatus.IDLE:
            return Verdict.WAIT
        container = self.study.history.space.copy()
        container.begin(answer.get("values") or {}, None)
        container.ensure_active_values(lambda p: self.study.fill(number, p))
        return dict(container.values)

    # ------------------------------------------------------------------ trials

    @property
    def trials(self) -> dict[str, Trial]:
        """All trials by id, in order of creation."""
        self._mirror()
        return self._trials

    @trials.setter
    def trials(self, trials: Mapping[str, Trial]) -> None:
        self._trials = dict(trials)

    @property
    def start_order(self) -> list[str]:
        """Ids in the order in which the trials were created."""
        return [record.trial_id for record in self.study.history.trials]

    @property
    def end_order(self) -> list[str]:
        """Ids in the order in which the trials ended."""
        history = self.study.history
        return [history[number].trial_id for number in history.ended]

    def _mirror(self) -> None:
        """Make a `Trial` of each record that has none here, update those that ended elsewhere."""
        study = self.study
        changes = study.history.changes
        for number in dict.fromkeys(changes[self._mirrored :]):
            if number in study.history:
                self._mirror_record(study.history[number])
        self._mirrored = len(changes)
        self._adopt_foreign_trials()

    def _mirror_record(self, record: Record) -> None:
        self._numbers[record.trial_id] = record.number
        trial = self._trials.get(record.trial_id)
        if trial is None:
            trial = Trial(self.study.history.space.copy(), record.trial_id, record.status)
            trial.hyperparameters.begin(self.study.history.space.live(record.values), None)
            self._trials[record.trial_id] = trial
        if record.finished and trial.score is None:
            trial.status, trial.message = record.status, record.message
            trial.score, trial.best_step = record.score, record.best_step
            self._fill_metrics(trial, record)
        self._tried_so_far.add(values_hash(record.values))

    def _fill_metrics(self, trial: Trial, record: Record) -> None:
        """Give a trial its metrics: one observation each, with every execution's value."""
        results = [record.results[key] for key in sorted(record.results)]
        names = dict.fromkeys(name for result in results for name in result.metrics)
        for name in names:
            if not trial.metrics.exists(name):
                self._register_metric(trial, name)
            values = [result.metrics[name] for result in results if name in result.metrics]
            trial.metrics.set_history(name, [])
            trial.metrics.metrics[name].update(values, record.best_step)

    def _register_metric(self, trial: Trial, name: str) -> None:
        directions = (
            self.objective.name_to_direction
            if isinstance(self.objective, MultiObjective)
            else {self.objective.name: self.objective.direction}
        )
        trial.metrics.register(name, directions.get(name))

    def _adopt_foreign_trials(self) -> None:
        """Tell the study of completed trials that were put into `trials` by assignment."""
        if len(self._trials) <= len(self._numbers):
            return
        for trial_id, trial in list(self._trials.items()):
            if trial_id not in self._numbers and trial.score is not None:
                self.study.update_space(trial.hyperparameters.space)
                metrics = {self.objective.name: trial.score}
                record = self.study.import_trial(trial_id, trial.hyperparameters.values, {})
                self._numbers[trial_id] = record.number
                self.study.complete_execution(record.number, 0, Result(0, metrics))
                self.study.tell(record.number)

    def _trial_name(self, number: int) -> str:
        return str(number).zfill(len(str(self.max_trials)))

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
        record = self.study.ask(worker_name(tuner_id), self._source, self._trial_name)
        if isinstance(record, Verdict):
            return self._no_trial(tuner_id, record)
        trial = self._begun(record)
        self.ongoing_trials[tuner_id] = trial
        self._save_trial(trial)
        self._write_oracle()
        return trial

    def _no_trial(self, tuner_id: str, verdict: Verdict) -> Trial:
        status = TrialStatus.IDLE if verdict is Verdict.WAIT else TrialStatus.STOPPED
        if status == TrialStatus.STOPPED:
            self.tuner_ids.discard(tuner_id)
        name = self._trial_name(self.study.history.next_number)
        return Trial(self.get_space(), name, status)

    def _begun(self, record: Record) -> Trial:
        """Return the trial of a record that a worker has just taken."""
        self._trials.pop(record.trial_id, None)
        self._mirror_record(record)
        self._mirrored = len(self.study.history.changes)
        trial = self._trials[record.trial_id]
        trial.status = TrialStatus.RUNNING
        study = self.study
        trial.hyperparameters.begin(
            study.history.space.live(record.values), lambda p: study.fill(record.number, p)
        )
        return trial

    def record(self, trial: Trial) -> Record:
        """Return what the journal tells about a trial."""
        return self.study.history[self._number(trial.trial_id)]

    def _number(self, trial_id: str) -> int:
        self._mirror()
        if trial_id not in self._numbers:
            raise KeyError(
                f"There is no trial {trial_id!r}. Known: {list(self._numbers)[-10:]} (the last 10)."
            )
        return self._numbers[trial_id]

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
        number = self._number(trial_id)
        trial = self._trials[trial_id]
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
            if not trial.metrics.exists(name):
                self._register_metric(trial, name)
            trial.metrics.update(name, value, step=step)
        if not self.study.history[number].results:
            self.study.report(number, step + 1, told)
        return trial

    @synchronized
    def end_trial(self, trial: Trial | str, status: str = TrialStatus.COMPLETED) -> None:
        """End a trial by its status: COMPLETED, INVALID (may be tried again) or FAILED.

        Args:
            trial: The trial; by its id, with `status`, as old code does.
            status: The status, where the trial is given by its id.

        Raises:
            RuntimeError: Too many trials have failed in a row.
        """
        if isinstance(trial, str):
            self._number(trial)
            stored = self._trials[trial]
            stored.status = status
            trial = stored
        number = self._number(trial.trial_id)
        stored = self._trials[trial.trial_id]
        stored.hyperparameters = trial.hyperparameters
        stored.status, stored.message = trial.status, trial.message
        self.study.update_space(trial.hyperparameters.declared, late=True)
        self._end(number, stored)
        self._forget_ongoing(stored)
        self._save_trial(stored)
        self._write_oracle()
        if stored.status == TrialStatus.FAILED:
            self.study.refuse_broken(stored.message)

    def _end(self, number: int, trial: Trial) -> None:
        values = self.final_values(trial)
        if trial.status not in (TrialStatus.INVALID, TrialStatus.FAILED):
            if trial.status == TrialStatus.COMPLETED or trial.metrics.exists(self.objective.name):
                self.score_trial(trial)
            try:
                score = float("nan") if trial.score is None else float(trial.score)
                self.study.tell_score(
                    number, score, trial.best_step or 0, values, message=trial.message
                )
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

    def _announce_retry(self, trial: Trial, record: Record) -> None:
        left = self.max_retries_per_trial - record.attempt + 1
        if self.verbose:
            say(f"Trial {trial.trial_id} failed {record.attempt} times. {left} retries left.")
        trial.metrics = type(trial.metrics)()
        trial.score = None

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

    def settle(self, trial: Trial) -> None:
        """Record what a trial's build has read, before it is trained.

        Raises:
            DuplicateTrialError: An earlier trial has read the same.
        """
        hp = trial.hyperparameters
        values = self.final_values(trial)
        late = self.study.history.late_names
        waiting = {n: v for n, v in dict(hp.values).items() if n in late and n not in values}
        number = self._number(trial.trial_id)
        try:
            self.study.settle(number, {**values, **waiting}, hp.declared)
        finally:
            if number not in self.study.history:
                self._forget_ongoing(trial)
                self._trials.pop(trial.trial_id, None)
                self._numbers.pop(trial.trial_id, None)

    def release(self, trial: Trial, reason: str) -> None:
        """Put a trial that a worker has in hand back to the queue."""
        with self._lock:
            number = self._number(trial.trial_id)
            if number in self.study.history.running:
                self.study.requeue(number, reason)
            self._forget_ongoing(trial)
            self._write_oracle(now=True)

    def mark_failure(self, trial: Trial, kind: str) -> None:
        """Remember what kind of failure a trial's end will be."""
        self._kinds[trial.trial_id] = kind

    def get_trial(self, trial_id: str) -> Trial:
        """Return a trial by its id; KeyError where there is none."""
        return self.trials[trial_id]

    def get_best_trials(self, num_trials: int = 1) -> list[Trial]:
        """Return the completed trials with the best scores, the best first.

        Args:
            num_trials: How many; fewer are returned where fewer are completed.
        """
        self._mirror()
        best = self.study.history.best(num_trials)
        return [self._trials[record.trial_id] for record in best]

    def remaining_trials(self) -> int | None:
        """Return how many trials are left, None where there is no limit."""
        return self.max_trials - len(self.trials) if self.max_trials else None

    # ------------------------------------------------------------------ the space

    @property
    def hyperparameters(self) -> HyperParameters:
        """The space known so far, with its defaults."""
        return self.study.history.space

    @hyperparameters.setter
    def hyperparameters(self, hyperparameters: HyperParameters) -> None:
        self.study.declare(hyperparameters.space, override=True)

    def get_space(self) -> HyperParameters:
        """Return a copy of the space."""
        return self.hyperparameters.copy()

    def refresh_space(self, declared: Sequence[HyperParameter]) -> None:
        """Take the definitions of known hyperparameters from a build of the code as it is now.

        A range that was widened between two runs counts from now on, and functions among choices,
        which the journal knows by label, are there again.
        """
        known = self.study.history.space
        self.study.declare(p for p in declared if known.knows(p))

    @synchronized
    def update_space(self, hyperparameters: HyperParameters | Sequence[HyperParameter]) -> None:
        """Add hyperparameters that a build has declared, as the arguments allow.

        Raises:
            RuntimeError: There are new ones although `allow_new_entries` is False.
        """
        self._apply_limits()
        listed = (
            hyperparameters.space
            if isinstance(hyperparameters, HyperParameters)
            else list(hyperparameters)
        )
        self.study.update_space(listed)

    # ------------------------------------------------------------------ for subclasses

    def _random_values(self) -> dict[str, Any] | None:
        """Return a random configuration that no trial has tried, None when there is none."""
        history = self.study.history
        rng = stream(self.seed, self._seed_state, "random")
        self._seed_state += 1
        for _ in range(self._max_collisions):
            values = random_values(history, rng)
            if not self._duplicate(values) and not history.tree.covers(values):
                break
        else:
            found = unseen_values(history, rng)
            if found is None:
                return None
            values = found
        self._tried_so_far.add(self._compute_values_hash(values))
        return values

    def _compute_values_hash(self, values: Mapping[str, Any]) -> str:
        """Return a text that tells configurations apart."""
        return values_hash(values)

    def _duplicate(self, values: Mapping[str, Any]) -> bool:
        """Tell whether a configuration was tried."""
        return self._compute_values_hash(values) in self._tried_so_far

    # ------------------------------------------------------------------ files

    @property
    def _folder(self) -> ProjectFolder | None:
        if self.directory is None and self.project_name is None:
            return None
        return ProjectFolder(Path(self.directory or ".") / str(self.project_name))

    @property
    def _project_dir(self) -> str:
        """The project's folder, made if it does not exist."""
        folder = self._folder or ProjectFolder(Path("untitled_project"))
        folder.path.mkdir(parents=True, exist_ok=True)
        return str(folder.path)

    def _set_project_dir(self, directory: Any, project_name: str) -> None:
        """Say where the study is; one that was opened before is left."""
        if self._opened is not None:
            space = self._opened.history.space
            self._given_space = self._given_space or (space if len(space) else None)
        self.directory, self.project_name, self._opened = directory, project_name, None

    def _get_trial_dir(self, trial_id: str) -> str:
        """Return a trial's folder, made if it does not exist."""
        folder = Path(self._project_dir) / f"trial_{trial_id}"
        folder.mkdir(parents=True, exist_ok=True)
        return str(folder)

    def _get_oracle_fname(self) -> str:
        return str(Path(self._project_dir) / "oracle.json")

    def _save_trial(self, trial: Trial) -> None:
        """Write a trial's copy."""
        if self._folder is not None:
            self._folder.write_trial(trial)

    def _write_oracle(self, *, now: bool = False) -> None:
        """Write the study's copy when it is due; always where a subclass keeps state in it."""
        if self._folder is None:
            return
        stateful = type(self).get_state is not Oracle.get_state
        if now or stateful or time.monotonic() >= self._next_write:
            began = time.monotonic()
            self._folder.write_oracle(self.get_state())
            ended = time.monotonic()
            self._next_write = ended + ORACLE_FILE_SHARE * (ended - began)

    def save(self) -> None:
        """Write `oracle.json`; everything else is written when it happens."""
        self._write_oracle(now=True)

    def write_file(self, name: str, text: str) -> None:
        """Write a file of the project's folder."""
        if self._folder is not None:
            self._folder.write_text(name, text)

    def read_file(self, name: str) -> str | None:
        """Return what a file of the project's folder holds, None where there is none."""
        return self._folder.read_text(name) if self._folder is not None else None

    def exists(self) -> bool:
        """Tell whether the project's folder holds a study, of keratune or of KerasTuner."""
        return bool(self._folder and self._folder.holds_a_study()) or bool(self.storage)

    def reload(self) -> None:
        """Continue the study of the project's folder; its interrupted trials are tried first.

        Raises:
            RuntimeError: The folder's files are damaged, or of another objective or oracle.
        """
        with self._lock:
            self._opened = None
            study = self.study
            self.differences = self._compare_settings(study.settings)
            study.change_settings(self._settings())
            if self._folder is not None and not len(study.history):
                self._import(self._folder)
            study.recover(is_other_live_process)
            self.ongoing_trials = {}
            state = self._folder.read_oracle() if self._folder else None
            if state is not None and type(self).set_state is not Oracle.set_state:
                self._set_user_state(state)

    def _compare_settings(self, stored: Mapping[str, Any]) -> list[str]:
        """Return a line for each argument that differs from how the study was begun.

        Raises:
            StudyMismatchError: Another oracle began it.
        """
        now = self._settings()
        if stored["oracle"] != now["oracle"]:
            raise StudyMismatchError(
                f"The project at {self._project_dir} was begun by {stored['oracle']}. Received: "
                f"{now['oracle']}. Use the same, change the `project_name`, or pass "
                "`overwrite=True` to start anew."
            )
        lines = [
            f"`{name}` was {stored[name]} and is {value} from now on."
            for name, value in now.items()
            if name != "seed" and name in stored and stored[name] != value
        ]
        if self._given_seed is not None and self._given_seed != self.seed:
            lines.append(
                f"`seed` stays {self.seed}, from which the study was begun; "
                f"{self._given_seed} is not used."
            )
        return lines

    def _import(self, folder: ProjectFolder) -> None:
        """Take up what KerasTuner has left in a folder that has no journal."""
        oracle = folder.read_oracle()
        if oracle is None:
            return
        space = HyperParameters.from_config(oracle["hyperparameters"])
        self.study.declare(space.space)
        for trial in folder.read_trials():
            self.study.declare(p for p in trial.hyperparameters.space if not space.knows(p))
            self._import_trial(trial)

    def _import_trial(self, trial: Trial) -> None:
        values = dict(trial.hyperparameters.values)
        curve, executions = _curve_of(trial), _executions_of(trial)
        number = self.study.import_trial(trial.trial_id, values, curve).number
        best_step = trial.best_step or 0
        if trial.status == TrialStatus.COMPLETED and _is_finite(trial.score):
            for execution, metrics in enumerate(executions):
                self.study.complete_execution(number, execution, Result(best_step + 1, metrics))
            self.study.tell_score(number, trial.score or 0.0, best_step, values)
        elif trial.status in (TrialStatus.COMPLETED, TrialStatus.FAILED):
            self.study.fail(number, "error", trial.message)
        else:
            self.study.requeue(number, "it was interrupted", afresh=True)

    def _set_user_state(self, state: Mapping[str, Any]) -> None:
        try:
            self.set_state(state)
        except KeyError as error:
            raise StudyMismatchError(
                "Error reloading `Oracle` from existing project. If you did not mean to reload, "
                "change the `project_name` or pass `overwrite=True` when creating the `Tuner`. "
                f"Missing: {error}. Found existing project at: {self._project_dir}"
            ) from error


def _is_finite(score: float | None) -> bool:
    return score is not None and math.isfinite(score)


def _curve_of(trial: Trial) -> dict[int, dict[str, float]]:
    """Return a trial's metrics by trained epochs."""
    curve: dict[int, dict[str, float]] = {}
    for name, history in trial.metrics.metrics.items():
        for observation in history.get_history():
            curve.setdefault(observation.step + 1, {})[name] = observation.mean()
    return curve


def _executions_of(trial: Trial) -> list[dict[str, float]]:
    """Return the metrics at the best step, execution by execution."""
    executions: list[dict[str, float]] = []
    for name, history in trial.metrics.metrics.items():
        for observation in history.get_history():
            if observation.step != trial.best_step:
                continue
            for place, value in enumerate(observation.value):
                if place == len(executions):
                    executions.append({})
                executions[place][name] = value
    return executions
