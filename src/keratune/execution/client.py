"""A worker of a chief: it opens the chief's study, works on it, and takes its leave.

A built-in oracle decides from the history, and so each worker decides by itself, on the journal
that the chief keeps (`keratune.storage.http`). An oracle that a user has written may hold state:
of it there is one, the chief's, and `OracleClient` asks that one.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from keratune import _json, errors
from keratune._processes import worker_name
from keratune.errors import FatalRuntimeError
from keratune.execution.roles import Role, current_role
from keratune.halt import Halt, Urgency
from keratune.metrics import MetricsTracker
from keratune.oracle import Oracle
from keratune.parameters import HyperParameter
from keratune.space import HyperParameters
from keratune.storage.http import PATIENCE, Connection, HttpStorage, Over
from keratune.storage.project_folder import from_strict_json
from keratune.study import Study
from keratune.trial import Trial, TrialStatus

TIMEOUT = PATIENCE  # a name of KerasTuner's, which nothing but `keratune.compat` uses

# Seconds between two looks for trials that other workers have left behind.
PAUSE = 0.25

# What a chief may say that the user's oracle has raised, beside the errors of this library.
BUILTIN = {e.__name__: e for e in (KeyError, TypeError, ValueError, RuntimeError, AttributeError)}


def follow(oracle: Oracle, role: Role) -> None:
    """Have an oracle use the study that a chief keeps.

    Args:
        oracle: The oracle; its study has not been opened.
        role: Where the chief is, and the name of this worker.
    """
    study, worker = str(oracle.project_name), worker_name(role.name)
    oracle.storage = HttpStorage(Connection(role.url, role.token, study, worker))


def is_own(oracle: Oracle) -> bool:
    """Tell whether an oracle is one of this library's, which hold no state."""
    return type(oracle).__module__.split(".")[0] == "keratune"


def connection_of(oracle: Any) -> Connection:
    """Return the way to the chief of an oracle that follows one."""
    storage = oracle.storage
    if not isinstance(storage, HttpStorage):
        raise FatalRuntimeError(f"The oracle follows no chief. Received: storage={storage!r}.")
    return storage.connection


def join(oracle: Any) -> None:
    """Join the search that the chief leads, or the next one where this worker has left that one.

    Raises:
        StudyMismatchError: The chief has begun its study with another oracle.
    """
    connection_of(oracle).join()
    oracle.study.sync()
    oracle._compare_settings(oracle.study.settings)


def take_part(oracle: Any, halt: Halt, run: Callable[[], None]) -> None:
    """Work on a chief's search until nobody works on it any more.

    Args:
        oracle: The oracle of this worker.
        halt: Asked to end what runs when the search has ended for everybody.
        run: Runs trials until none is left for this worker.

    Raises:
        RuntimeError: The search has ended by failures; or what `run` raises.
    """
    connection = connection_of(oracle)

    def end(over: Over) -> None:
        halt.request(Urgency.BATCH, over.message.strip().splitlines()[0])

    connection.hurried, connection.ended = halt.requested, end
    if connection.over is not None:
        end(connection.over)
    how, error = "raised", ""
    fatal = False
    try:
        run()
        _stand_by(oracle.study, halt, run)
        spent = halt.pauses or oracle.study.limits.spent(oracle.study.history) >= 1.0
        how = "spent" if spent else "halted" if halt.requested() else "done"
    except BaseException as raised:
        error = f"{type(raised).__name__}: {raised}"
        fatal = isinstance(raised, errors.FatalError)
        raise
    finally:
        connection.leave(how, error, fatal)
    if connection.over is not None:
        raise connection.over.error()


def _stand_by(study: Study, halt: Halt, run: Callable[[], None]) -> None:
    """Take up what other workers leave behind, until none of them has a trial in hand.

    They leave trials of the dead, numbers of what need not be trained, and a space that has grown.
    """
    trials, names = len(study.history), len(study.history.space)
    while not halt.requested():
        study.sync()
        history = study.history
        if study.limits.spent(history) >= 1.0:
            return
        if history.queue or len(history) < trials or len(history.space) > names:
            run()
            trials, names = len(study.history), len(study.history.space)
        elif not history.running:
            return
        else:
            time.sleep(PAUSE)


def _raised(name: str, message: str) -> BaseException:
    """Return what the chief's oracle has raised."""
    kind: Any = {**BUILTIN, **vars(errors)}.get(name)
    if isinstance(kind, type) and issubclass(kind, BaseException):
        return kind(message)
    return RuntimeError(f"{name}: {message}")


class OracleClient:
    """A worker's oracle whose trials the chief's creates and ends; all else it does itself.

    Args:
        oracle: An oracle like the chief's.

    Raises:
        RuntimeError: The environment names no chief.
    """

    def __init__(self, oracle: Oracle) -> None:
        """Follow the chief that the environment names, unless the oracle does."""
        if not isinstance(oracle.storage, HttpStorage):
            role = current_role()
            if role is None:
                raise FatalRuntimeError(
                    "KERASTUNER_ORACLE_IP must be set in the environment of a worker."
                )
            follow(oracle, role)
        vars(self)["_oracle"] = oracle

    def __getattr__(self, name: str) -> Any:
        """Return what the oracle has under a name."""
        if name == "_oracle":
            raise AttributeError(name)
        return getattr(self._oracle, name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set it in the oracle."""
        setattr(self._oracle, name, value)

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process needs."""
        return dict(vars(self))

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Take over what another process has sent."""
        vars(self).update(state)

    def _call(self, method: str, **arguments: Any) -> dict[str, Any]:
        """Have the chief's oracle do something; each call is done once."""
        connection = connection_of(self._oracle)
        _, answer, _ = connection.ask(
            "call", method=method, arguments=arguments, id=uuid.uuid4().hex
        )
        self._oracle.study.sync()
        if "raised" in answer:
            raise _raised(*answer["raised"])
        return answer

    def get_space(self) -> HyperParameters:
        """Return a copy of the space."""
        self._oracle.study.sync()
        return self._oracle.get_space()

    def update_space(self, hyperparameters: HyperParameters | Sequence[HyperParameter]) -> None:
        """Add hyperparameters that a build has declared; see `Oracle.update_space`."""
        self._oracle.update_space(hyperparameters)

    def get_trial(self, trial_id: str) -> Trial:
        """Return a trial by its id; KeyError where there is none."""
        self._oracle.study.sync()
        return self._oracle.get_trial(trial_id)

    def get_best_trials(self, num_trials: int = 1) -> list[Trial]:
        """Return the trials with the best scores, the best first."""
        self._oracle.study.sync()
        return self._oracle.get_best_trials(num_trials)

    def create_trial(self, tuner_id: str) -> Trial:
        """Give this worker a trial; see `Oracle.create_trial`."""
        oracle = self._oracle
        oracle._apply_limits()
        answer = self._call("create_trial", tuner_id=tuner_id)
        study, status = oracle.study, answer["status"]
        number = study.history.number_of(answer["trial_id"])
        if status != TrialStatus.RUNNING or number is None:
            return Trial(oracle.get_space(), answer["trial_id"], status)
        record = study.history[number]
        study.hold(number)
        trial: Trial = oracle._begun(record)
        return trial

    def update_trial(self, trial_id: str, metrics: Mapping[str, float], step: int = 0) -> Trial:
        """Report a trial's metrics; see `Oracle.update_trial`."""
        told = _json.finite_metrics(metrics)
        answer = self._call("update_trial", trial_id=trial_id, metrics=told, step=int(step))
        trial: Trial = self._oracle.trial_of(trial_id)
        state = from_strict_json(answer["trial"])
        trial.metrics = MetricsTracker.from_config(state["metrics"])
        return trial

    def end_trial(self, trial: Trial) -> None:
        """End a trial by its status; see `Oracle.end_trial`."""
        oracle, name = self._oracle, trial.trial_id
        values = oracle.final_values(trial)
        oracle.study.update_space(trial.hyperparameters.declared, late=True)
        answer = self._call(
            "end_trial",
            trial_id=name,
            status=trial.status,
            message=trial.message,
            values={key: _json.encode(value) for key, value in values.items()},
            kind=oracle._kinds.pop(name, None),
            estimate=oracle._estimates.pop(name, None),
        )
        state = from_strict_json(answer["trial"])
        for ended in (trial, oracle.trial_of(name)):
            ended.metrics = MetricsTracker.from_config(state["metrics"])
            ended.status, ended.message = state["status"], state["message"]
            ended.score, ended.best_step = state["score"], state["best_step"]

    def release(self, trial: Trial, reason: str) -> None:
        """Put a trial that this worker has in hand back to the queue."""
        self._oracle.study.requeue(self._oracle.record(trial).number, reason)

    def save(self) -> None:
        """Do nothing: the chief writes what its oracle holds."""


def asking_the_chief(oracle: Oracle) -> Oracle:
    """Return an `OracleClient` as what it stands for."""
    return cast(Oracle, OracleClient(oracle))
