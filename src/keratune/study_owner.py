"""What an oracle stands on: its study, its trials as users see them, and its files.

The journal is the truth. This half of the oracle opens it when it is needed, shows it, and writes
the copies for people and for KerasTuner; the other half, `keratune.oracle`, gives trials out and
takes them back.
"""

from __future__ import annotations

import contextlib
import functools
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from keratune import algorithms
from keratune._processes import is_other_live_process, worker_name
from keratune._runtime import logger
from keratune.algorithms.base import Algorithm
from keratune.errors import FatalTypeError, StudyMismatchError
from keratune.history import Record, Result
from keratune.mirror import TrialMirror
from keratune.objectives import ObjectiveLike, create_objective
from keratune.parameters import HyperParameter
from keratune.space import HyperParameters
from keratune.stop import Stop
from keratune.storage import MemoryStorage, Storage, open_storage
from keratune.storage.project_folder import (
    ProjectFolder,
    curve_of,
    executions_of,
    oracle_state,
)
from keratune.study import Limits, NonFiniteScoreError, Study
from keratune.trial import Trial, TrialStatus

Method = TypeVar("Method", bound=Callable[..., Any])

# `oracle.json` costs O(trials) to write. It is written at the end of a search, and meanwhile when
# this many times the last writing's duration has passed: at most 2 % of the time goes into it.
ORACLE_FILE_SHARE = 50

# Settings that say nothing of what the search does: a seed stays, and some tuners are only names.
UNCOMPARED = {"seed", "tuner"}


def synchronized(method: Method) -> Method:
    """Let one thread at a time into the decorated methods of an oracle.

    The lock belongs to the oracle, is re-entrant, and is given back whatever happens. A method
    named `end_trial` is called with the trial, also where old code gives its id and a status.
    """

    @functools.wraps(method)
    def locked(oracle: Any, *args: Any, **kwargs: Any) -> Any:
        with oracle._lock:
            if method.__name__ == "end_trial":
                return method(oracle, trial_to_end(oracle, *args, **kwargs))
            return method(oracle, *args, **kwargs)

    return locked  # type: ignore[return-value]


def trial_to_end(
    oracle: StudyOwner,
    trial: Trial | str | None = None,
    status: str = TrialStatus.COMPLETED,
    trial_id: str | None = None,
) -> Trial:
    """Return the trial that a call of `end_trial` means."""
    if isinstance(trial, Trial):
        return trial
    stored = oracle.trial_of(str(trial_id if trial is None else trial))
    stored.status = status
    return stored


@contextlib.contextmanager
def _optional() -> Iterator[None]:
    """Write a copy of what the journal holds; a search goes on without it."""
    try:
        yield
    except OSError as error:
        logger.warning("A copy of what the study holds could not be written: %s", error)


class StudyOwner:
    """Owns a study. For its arguments see `keratune.Oracle`, the one subclass."""

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
        for name, number in (
            ("max_trials", max_trials),
            ("max_retries_per_trial", max_retries_per_trial),
            ("max_consecutive_failed_trials", max_consecutive_failed_trials),
        ):
            if number is not None and number < 0:
                raise ValueError(f"`{name}` must not be negative. Received: {name}={number}.")
        self.objective = create_objective(objective)
        self.max_trials = max_trials
        self.allow_new_entries = allow_new_entries
        self.tune_new_entries = tune_new_entries
        self.max_retries_per_trial = max_retries_per_trial
        self.max_consecutive_failed_trials = max_consecutive_failed_trials
        self.seed = random.randint(1, 10_000) if seed is None else seed
        self.stops: tuple[Stop, ...] = ()
        self.defaults_first = True
        self.builtin_priors = False
        self.constraint: Callable[[Any], Any] | None = None
        self.directory: Any = None
        self.project_name: str | None = None
        self.storage: str | Storage | None = None
        self.multi_worker = False
        self.should_report = True
        self.tuner_ids: set[str] = set()
        self.ongoing_trials: dict[str, Trial] = {}
        self.worker_of: Callable[[str], str] = worker_name  # a tuner's name in the journal
        self.settings: dict[str, Any] = {}  # the tuner's arguments that a resumed search compares
        self._given_seed = seed
        self._given_space = hyperparameters
        self._lock = threading.RLock()
        self._opened: Study | None = None
        self._known: Sequence[HyperParameter] = ()  # what the parent of this process knows live
        self._mirrored: TrialMirror
        self._kinds: dict[str, str] = {}
        self._estimates: dict[str, float] = {}
        self._draws: dict[tuple[int, int], int] = {}
        self._max_collisions = 20
        self._seed_state = self.seed
        self._verbose: Any = 1
        self._next_write = 0.0
        self.differences: list[str] = []

    def __getstate__(self) -> dict[str, Any]:
        """Return what a worker process needs of an oracle; it opens the study by itself.

        Raises:
            FatalTypeError: What it holds is of use in this process only.
        """
        if isinstance(self.storage, MemoryStorage):
            raise FatalTypeError(
                "Worker processes open the study by themselves. Received: storage="
                f"{self.storage!r}. Pass the URL of a database, leave `storage` out for a file in "
                "the project's folder, or search in this process with `executor=None`."
            )
        if type(self).get_state is not StudyOwner.get_state:
            raise FatalTypeError(
                f"`{type(self).__name__}` keeps a state of its own (`get_state`), which only one "
                "process can have. Search with `executor=None`."
            )
        state = {**vars(self), "_lock": None, "_opened": None, "ongoing_trials": {}}
        state.pop("_mirrored", None)
        if self._opened is not None:
            state["_known"] = list(self._opened.history.space.space)
        return state

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Take over what another process has sent."""
        vars(self).update(state)
        self._lock = threading.RLock()

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
        self._mirrored = TrialMirror(study.history, self.objective)
        study.history.space.builtin_priors = self.builtin_priors
        study.planner.beside = self._beside
        if self._given_space is not None:
            study.declare(self._given_space.space, override=True)
        study.history.space.merge(self._known)
        if self.constraint is not None:
            study.constrain(self.constraint)
        self._apply_limits()

    def _apply_limits(self) -> None:
        """Hand the arguments, which may be assigned at any time, to the study."""
        study = self.study
        study.limits = Limits(
            self.max_trials,
            self.max_retries_per_trial,
            self.max_consecutive_failed_trials,
            self.stops,
        )
        study.allow_new, study.planner.tune_new = self.allow_new_entries, self.tune_new_entries
        study.planner.defaults_first = self.defaults_first

    def _beside(self) -> Mapping[str, Any] | None:
        """Return what a schedule puts beside the values of an enqueued configuration.

        None where no new configuration is to be started.
        """
        return {}

    def _algorithm(self) -> Algorithm:
        """Return what fills in values that `populate_space` leaves open."""
        return algorithms.create("random")

    def _settings(self) -> dict[str, Any]:
        """Return the arguments that a resumed search compares."""
        return {
            "oracle": type(self).__name__,
            "objective": str(self.objective),
            "outcomes": [str(outcome) for outcome in self.objective.outcomes],
            "max_trials": self.max_trials,
            "stop": [repr(stop) for stop in self.stops],
            "max_retries_per_trial": self.max_retries_per_trial,
            "max_consecutive_failed_trials": self.max_consecutive_failed_trials,
            "allow_new_entries": self.allow_new_entries,
            "tune_new_entries": self.tune_new_entries,
            "defaults_first": self.defaults_first,
            "builtin_priors": self.builtin_priors,
            "constraint": getattr(self.constraint, "__qualname__", self.constraint and "given"),
            **({} if self._given_seed is None else {"seed": self._given_seed}),
            **self.settings,
        }

    # ------------------------------------------------------------------ trials

    @property
    def trials(self) -> dict[str, Trial]:
        """All trials by id, in order of creation; more may be put in by hand."""
        return self._mirror().trials

    @trials.setter
    def trials(self, trials: Mapping[str, Trial]) -> None:
        self._mirror().replace(trials)

    @property
    def start_order(self) -> list[str]:
        """Ids in the order in which the trials were created."""
        return [record.trial_id for record in self.study.history.trials]

    @property
    def end_order(self) -> list[str]:
        """Ids in the order in which the trials ended."""
        history = self.study.history
        return [history[number].trial_id for number in history.ended]

    @property
    def verbose(self) -> Any:
        """What is shown of a search: 0 nothing, 1 the search, 2 Keras's lines too."""
        return self._verbose

    @verbose.setter
    def verbose(self, verbose: Any) -> None:
        self._verbose = 1 if verbose == "auto" else verbose

    def get_trial(self, trial_id: str) -> Trial:
        """Return a trial by its id; KeyError where there is none."""
        return self.trials[trial_id]

    def trial_of(self, trial_id: str) -> Trial:
        """Return the trial with this id.

        Raises:
            KeyError: There is none.
        """
        self._number(trial_id)
        return self._mirror().trials[trial_id]

    def record(self, trial: Trial) -> Record:
        """Return what the journal tells about a trial."""
        return self.study.history[self._number(trial.trial_id)]

    def _number(self, trial_id: str) -> int:
        mirror = self._mirror()
        if trial_id not in mirror.numbers and trial_id in mirror.trials:
            self._take_up(mirror, mirror.trials[trial_id])
        if trial_id not in mirror.numbers or trial_id not in mirror.trials:
            known = list(mirror.trials)[-10:]
            raise KeyError(f"There is no trial {trial_id!r}. Known: {known} (the last 10).")
        return mirror.numbers[trial_id]

    def _mirror(self) -> TrialMirror:
        """Return the trials as users see them, up to date; the study learns of those put in."""
        _ = self.study  # opens it, and the mirror with it
        mirror = self._mirrored
        mirror.update()
        for trial in mirror.unknown():
            if trial.status in (TrialStatus.COMPLETED, TrialStatus.FAILED):
                self._take_up(mirror, trial)
        return mirror

    def _take_up(self, mirror: TrialMirror, trial: Trial) -> None:
        """Tell the study of a trial from elsewhere: from KerasTuner's files, or put in by hand."""
        if self.allow_new_entries:
            self.study.update_space(trial.hyperparameters.space)
        values, best_step = dict(trial.hyperparameters.values), trial.best_step or 0
        number = self.study.import_trial(trial.trial_id, values, curve_of(trial)).number
        mirror.numbers[trial.trial_id] = number
        if trial.status == TrialStatus.FAILED:
            self.study.fail(number, "error", trial.message)
        if trial.status != TrialStatus.COMPLETED:
            return
        for execution, metrics in enumerate(executions_of(trial)):
            self.study.complete_execution(number, execution, Result(best_step + 1, metrics))
        try:
            score = float("nan") if trial.score is None else trial.score
            self.study.tell_score(number, score, best_step, values)
        except NonFiniteScoreError as error:
            trial.status, trial.score = TrialStatus.FAILED, None
            self.study.fail(number, "not_finite", str(error))

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
            self._close()
        self.directory, self.project_name = directory, project_name

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
            with _optional():
                self._folder.write_trial(trial)

    def _write_oracle(self, *, now: bool = False) -> None:
        """Write the study's copy when it is due; always where a subclass keeps state in it."""
        if self._folder is None:
            return
        stateful = type(self).get_state is not StudyOwner.get_state
        if now or stateful or time.monotonic() >= self._next_write:
            began = time.monotonic()
            with contextlib.nullcontext() if stateful else _optional():
                self._folder.write_oracle(self.get_state())
            ended = time.monotonic()
            self._next_write = ended + ORACLE_FILE_SHARE * (ended - began)

    def get_state(self) -> dict[str, Any]:
        """Return the state as `oracle.json` holds it; subclasses add theirs."""
        return {**oracle_state(self.study.history), **self._peer_state()}

    def _peer_state(self) -> dict[str, Any]:
        """Return what KerasTuner's oracle of the same name reads beside; keratune reads none."""
        return {}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take back what a subclass has added in `get_state`; the journal holds the rest."""

    def save(self) -> None:
        """Write `oracle.json`, and the copies that killed processes have not written.

        Everything else is written when it happens.
        """
        self._write_oracle(now=True)
        if self._folder is not None:
            trials = self._mirror().trials
            ended = [record.trial_id for record in self.study.history.trials if record.finished]
            with _optional():
                self._folder.mend(trials[trial_id] for trial_id in ended if trial_id in trials)

    def write_file(self, name: str, text: str) -> None:
        """Write a file of the project's folder."""
        if self._folder is not None:
            self._folder.write_text(name, text)

    def read_file(self, name: str) -> str | None:
        """Return what a file of the project's folder holds, None where there is none."""
        return self._folder.read_text(name) if self._folder is not None else None

    def _close(self) -> None:
        if self._opened is not None:
            self._opened.close()
        self._opened = None

    def exists(self) -> bool:
        """Tell whether the project's folder holds a study, of keratune or of KerasTuner."""
        if isinstance(self.storage, Storage):
            return bool(self.storage.read(0, limit=1))
        if self.storage is not None:
            with contextlib.closing(
                open_storage(self.storage, None, str(self.project_name))
            ) as storage:
                return bool(storage.read(0, limit=1))
        return bool(self._folder and self._folder.holds_a_study())

    # ------------------------------------------------------------------ going on

    def reload(self) -> None:
        """Continue the study of the project's folder; its interrupted trials are tried first.

        Raises:
            RuntimeError: The folder's files are damaged, or of another objective or oracle.
        """
        with self._lock:
            self._close()
            study = self.study
            self.differences = self._compare_settings(study.settings)
            # What only a search knows, such as its folds, stays as it was.
            study.change_settings({**study.settings, **self._settings()})
            if self._folder is not None and not len(study.history):
                self._import(self._folder)
            study.recover(is_other_live_process)
            self.ongoing_trials = {}
            stateful = type(self).set_state is not StudyOwner.set_state
            state = self._folder.read_oracle() if self._folder and stateful else None
            if state is not None:
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
            if name not in UNCOMPARED and name in stored and stored[name] != value
        ]
        if self._given_seed is not None and self._given_seed != self.seed:
            lines.append(
                f"`seed` stays {self.seed}, from which the study was begun; "
                f"{self._given_seed} is not used."
            )
        return lines

    def _import(self, folder: ProjectFolder) -> None:
        """Take up what KerasTuner has left in a folder that has no journal."""
        oracle = folder.read_oracle("hyperparameters", "start_order")
        if oracle is None:
            return
        trials = folder.read_trials()  # all or none: a damaged one must not lose the others
        self.study.declare(HyperParameters.from_config(oracle["hyperparameters"]).space)
        for trial in trials:
            self._take_up(self._mirror(), trial)
            number = self._number(trial.trial_id)
            if number in self.study.history.running:
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
