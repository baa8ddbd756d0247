"""The chief: one process keeps the study, and workers anywhere ask it over HTTP.

The chief tries nothing itself. It hands the journal out and takes events in (see
`keratune.storage.http`), so that a worker decides as a worker beside a database does. An oracle
that a user has written may keep state; its `create_trial`, `update_trial` and `end_trial`
run here, for all workers.

==============================  ==================================================================
a worker                        the chief
==============================  ==================================================================
asks for the first time         counts it among those to wait for
gives no sign of life           puts its trial back into the queue, see `keratune.execution.heart`
finds nothing more to do        lets it go, and ends when the last one has gone
raises what all would raise     tells all the others, and raises it too
fails once too often            the same
==============================  ==================================================================

Without a token only this machine may ask, by a loopback address, and under the name that the chief
was given or a loopback one: a page in a browser cannot, whatever its own name is made to lead to.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from keratune import _json
from keratune._processes import worker_name
from keratune._runtime import logger, require, say
from keratune.errors import (
    FatalRuntimeError,
    JournalConflictError,
    StudyMismatchError,
    TrialLostError,
)
from keratune.execution.heart import Vigil
from keratune.execution.roles import Role, current_role, says_loopback
from keratune.limits import is_broken
from keratune.oracle import Oracle
from keratune.storage.base import Event, TrialFailed
from keratune.storage.http import (
    CONFLICT,
    NO_TOKEN,
    NOT_YET,
    OK,
    PAGE,
    STARTED_ANEW,
    Over,
    pack_entries,
)
from keratune.storage.project_folder import strict_json
from keratune.trial import TrialStatus

TICK = 0.1  # seconds between two looks at the journal and the workers

# Seconds for which a chief that has nothing left to do still listens. Workers of one script start
# seconds apart, and one that finds no chief waits for minutes.
LINGER = 3.0
# The same for one that was started when everything had been done: imports take workers longer.
LONG_LINGER = 60.0

WORKERLESS = 300.0  # seconds without a worker, the last one having raised, that end the search
SILENCE = 10.0  # seconds without a worker after which the chief says so

# Seconds for which a writer that was refused goes before all others: some round trips. Requests
# that wait for their turn hold a thread each; the server has 40.
TURN, MOST_WAITING = 0.1, 32

LARGEST = 64 * 2**20  # bytes of a request; events are kilobytes
MALFORMED, FORBIDDEN, TOO_LARGE, WRONG_TYPE = 400, 403, 413, 415

Answer = tuple[int, dict[str, Any]]


class _Turns:
    """Lets a writer that was refused write next: many writers would refuse each other for ever."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._next, self._until = "", 0.0
        self._waiting = 0

    @contextlib.contextmanager
    def of(self, worker: str) -> Iterator[None]:
        """Wait for a worker's turn; a block that ends in a refusal gives it the next one."""
        with self._changed:
            self._wait(worker)
            try:
                yield
            except JournalConflictError:
                if not self._is_for_other(worker):
                    self._next, self._until = worker, time.monotonic() + TURN
                raise
            if self._next == worker:
                self._next = ""
                self._changed.notify_all()

    def _wait(self, worker: str) -> None:
        if self._waiting >= MOST_WAITING:
            return
        self._waiting += 1
        while self._is_for_other(worker):
            self._changed.wait(max(self._until - time.monotonic(), 0.0))
        self._waiting -= 1

    def _is_for_other(self, worker: str) -> bool:
        return self._next not in ("", worker) and time.monotonic() < self._until


class OracleServicer:
    """Answers workers, and knows who is there. It may be used by several threads.

    Args:
        oracle: Its study is handed out.

    Attributes:
        over: Why the search has ended for everybody; None while it goes on.
        present: How often each worker has asked, of those that are to be waited for.
        finished: Whether a worker has found that there is nothing more to do.
        raised: What the last worker that has gone has raised; "" where it has raised nothing.
    """

    def __init__(self, oracle: Oracle) -> None:
        """Start with nobody there."""
        self.over: Over | None = None
        self.present: dict[str, int] = {}
        self.finished = False
        self.raised = ""
        self._oracle = oracle
        self._ended_before = len(oracle.study.history.ended)
        self._left: set[str] = set()
        self._beaten: dict[str, int] = {}  # signs of life that were given as such
        self._spent = False
        self._vigil = Vigil()
        self._answers: dict[str, tuple[str, dict[str, Any]]] = {}
        self._lock = threading.Lock()
        self._turns = _Turns()

    # ------------------------------------------------------------------ answering

    def answer(self, path: str, body: Mapping[str, Any]) -> Answer:
        """Answer a request.

        Args:
            path: What is wanted.
            body: The particulars; `study` and `worker` among them.

        Returns:
            The status and the answer.

        Raises:
            KeyError, TypeError, ValueError: The request is malformed.
        """
        worker, study = str(body["worker"]), str(body["study"])
        if study != str(self._oracle.project_name):
            return NOT_YET, {"reason": f"it leads {self._oracle.project_name!r}, not {study!r}"}
        with self._lock:
            if worker in self._left:
                return NOT_YET, {"reason": "its last search is not over everywhere"}
            if path != "leave":
                self.present[worker] = self.present.get(worker, 0) + 1
        status, answer = getattr(self, f"_{path}")(worker, body)
        return status, {**answer, "over": vars(self.over) if self.over else None}

    def _join(self, worker: str, body: Mapping[str, Any]) -> Answer:
        return OK, {}

    def _read(self, worker: str, body: Mapping[str, Any]) -> Answer:
        limit = PAGE if body.get("limit") is None else min(int(body["limit"]), PAGE)
        entries = self._oracle.study.storage.read(int(body["since"]), limit + 1)
        return OK, {"entries": pack_entries(entries[:limit]), "more": len(entries) > limit}

    def _append(self, worker: str, body: Mapping[str, Any]) -> Answer:
        storage, seen = self._oracle.study.storage, int(body["seen"])
        events = [Event.from_json(kind, text) for kind, text in body["events"]]
        try:
            with self._turns.of(worker):
                written = storage.append(events, seen)
            if any(isinstance(event, TrialFailed) for event in events):
                self.judge()  # before anybody begins another trial
            return OK, {"entries": pack_entries(written)}
        except JournalConflictError:
            return CONFLICT, {"entries": pack_entries(storage.read(seen, PAGE))}
        except StudyMismatchError as error:
            return STARTED_ANEW, {"reason": str(error)}

    def _beat(self, worker: str, body: Mapping[str, Any]) -> Answer:
        about = str(body["about"])
        with self._lock:
            self._beaten[about] = self._beaten.get(about, 0) + 1
            if about != worker:  # a process that the worker has started
                self.present[about] = self._beaten[about]
        return OK, {}

    def _beats(self, worker: str, body: Mapping[str, Any]) -> Answer:
        with self._lock:
            return OK, {"counts": dict(self._beaten)}

    def _forget(self, worker: str, body: Mapping[str, Any]) -> Answer:
        self._forgotten(str(body["about"]))
        return OK, {}

    def _forgotten(self, worker: str) -> None:
        with self._lock:
            self.present.pop(worker, None)
            self._beaten.pop(worker, None)

    def _leave(self, worker: str, body: Mapping[str, Any]) -> Answer:
        how, message = str(body["how"]), str(body["message"])
        if body["fatal"]:
            self._end(Over(message, fatal=True))
        self._bury(worker)
        self._forgotten(worker)
        with self._lock:
            self._left.add(worker)
            self.finished |= how in ("done", "spent")
            self._spent |= how == "spent"
            self.raised = message if how == "raised" else ""
        return OK, {}

    def _call(self, worker: str, body: Mapping[str, Any]) -> Answer:
        """Run a method of the oracle; what was lost on the way back is not run again."""
        with self._oracle._lock:
            known, answer = self._answers.get(worker, ("", {}))
            if known != body["id"]:
                answer = self._run(worker, str(body["method"]), body["arguments"])
                self.judge()
                self._answers[worker] = str(body["id"]), answer
        return OK, answer

    def _run(self, worker: str, method: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        calls: dict[str, Callable[..., dict[str, Any]]] = {
            "create_trial": self._create_trial,
            "update_trial": self._update_trial,
            "end_trial": self._end_trial,
        }
        try:
            self._oracle.study.sync()
            return calls[method](worker, **arguments)
        except Exception as error:  # the user's code; the worker raises the same
            logger.debug("the oracle has raised", exc_info=True)
            return {"raised": [type(error).__name__, str(error)]}

    # ------------------------------------------------------------------ an oracle with state

    def _create_trial(self, worker: str, tuner_id: str) -> dict[str, Any]:
        oracle, history = self._oracle, self._oracle.study.history
        held = [n for n in sorted(history.running) if history[n].worker == worker]
        known = oracle.ongoing_trials.get(tuner_id)
        if known is None or history.number_of(known.trial_id) not in held:
            oracle.ongoing_trials.pop(tuner_id, None)
            for number in held:  # a chief that has died could not tell the worker of it
                oracle.study.requeue(number, "its worker asks for a trial")
        oracle.worker_of = lambda tuner_id: worker
        try:
            trial = oracle.create_trial(tuner_id)
        finally:
            oracle.worker_of = worker_name
        return {"trial_id": trial.trial_id, "status": trial.status}

    def _refuse_lost(self, worker: str, trial_id: str) -> None:
        history = self._oracle.study.history
        number = history.number_of(trial_id)
        if number in history.running and history[number].worker != worker:
            raise TrialLostError(f"trial {number} is in other hands")

    def _update_trial(
        self, worker: str, trial_id: str, metrics: dict[str, Any], step: int
    ) -> dict[str, Any]:
        self._refuse_lost(worker, trial_id)
        trial = self._oracle.update_trial(trial_id, _json.read_metrics(metrics), step=step)
        return {"trial": strict_json((trial or self._oracle.get_trial(trial_id)).get_state())}

    def _end_trial(
        self,
        worker: str,
        trial_id: str,
        status: str,
        message: str | None,
        values: dict[str, Any],
        kind: str | None,
        estimate: float | None,
    ) -> dict[str, Any]:
        self._refuse_lost(worker, trial_id)
        oracle = self._oracle
        trial = oracle.trial_of(trial_id)
        decoded = {name: _json.decode(value) for name, value in values.items()}
        trial.hyperparameters.begin(oracle.study.history.space.live(decoded), None)
        trial.status, trial.message = status, message
        if kind is not None:
            oracle.mark_failure(trial, kind)
        if estimate is not None:
            oracle.mark_estimate(trial, estimate)
        oracle.end_trial(trial)
        return {"trial": strict_json(trial.get_state())}

    # ------------------------------------------------------------------ watching

    def watch(self) -> None:
        """Read the journal, settle what dead workers have left, and see whether to go on."""
        with self._oracle._lock:
            study = self._oracle.study
            self.judge()
            with self._lock:
                known = dict.fromkeys(study.processes(), 0) | self.present
            for worker in self._vigil.gone(known):
                logger.debug("the worker %s is gone", worker)
                self._bury(worker)
                self._forgotten(worker)

    def _bury(self, worker: str) -> None:
        self._oracle.study.bury(worker)

    def judge(self) -> None:
        """End the search for everybody when the last failures mean that the script is broken."""
        with self._oracle._lock:
            study = self._oracle.study
            study.sync()
            history, limit = study.history, study.limits.max_consecutive_failures
            if len(history.ended) <= self._ended_before or not is_broken(history.streak, limit):
                return
            failed = [n for n in history.ended if history[n].status == TrialStatus.FAILED]
            try:
                study.refuse_broken(history[failed[-1]].message)
            except RuntimeError as error:
                self._end(Over(str(error)))

    def _end(self, over: Over) -> None:
        self.over = self.over or over

    @property
    def is_done(self) -> bool:
        """Whether there is nothing more to do, for all that the chief can tell."""
        study = self._oracle.study
        history, limits = study.history, study.limits
        if self._spent or limits.spent(history) >= 1.0:
            return True
        left = bool(history.queue or history.running)
        return not left and (self.finished or (study.planner.is_full and not history.paused))


# ---------------------------------------------------------------------- HTTP

PATHS = {"append", "beat", "beats", "call", "forget", "join", "leave", "read"}


def application(servicer: OracleServicer, role: Role) -> Any:
    """Return the ASGI application that answers workers.

    Args:
        servicer: What answers.
        role: The token that a request must bring; without one, the name that it must come to.
    """
    applications = require("starlette.applications", extra="chief")
    concurrency = require("starlette.concurrency", extra="chief")
    responses = require("starlette.responses", extra="chief")
    routing = require("starlette.routing", extra="chief")

    async def respond(request: Any) -> Any:
        refused = _refusal(request.headers, role)
        if refused:
            return responses.PlainTextResponse(refused[1], refused[0])
        path, body = request.path_params["path"], b""
        async for part in request.stream():
            body += part
            if len(body) > LARGEST:
                return responses.PlainTextResponse("The request is too large.", TOO_LARGE)
        try:
            status, answer = await concurrency.run_in_threadpool(_answer, servicer, path, body)
        except (KeyError, TypeError, ValueError) as error:
            text = f"The request is malformed: {type(error).__name__}: {error}"
            return responses.PlainTextResponse(text, MALFORMED)
        return responses.Response(_json.dumps(answer), status, media_type="application/json")

    return applications.Starlette(routes=[routing.Route("/{path}", respond, methods=["POST"])])


def _answer(servicer: OracleServicer, path: str, body: bytes) -> Answer:
    if path not in PATHS:
        raise ValueError(f"{path!r} is none of {sorted(PATHS)}")
    return servicer.answer(path, json.loads(body))


def _refusal(headers: Mapping[str, str], role: Role) -> tuple[int, str] | None:
    """Return why a request may not be answered; None where it may."""
    if headers.get("content-type", "").partition(";")[0] != "application/json":
        return WRONG_TYPE, "A request is application/json."  # no form of a web page's is
    if role.token is None:
        host = _name_in(headers.get("host", ""))
        if says_loopback(host) or host == role.host.lower():
            return None
        return FORBIDDEN, "Ask under a loopback name."
    given = headers.get("authorization", "").encode()
    if hmac.compare_digest(given, f"Bearer {role.token}".encode()):
        return None
    return NO_TOKEN, "The token is missing or wrong."


def _name_in(host: str) -> str:
    """Return the name or address of a Host header, which may bring a port; "" for none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


@contextlib.contextmanager
def serving(servicer: OracleServicer, role: Role) -> Iterator[None]:
    """Answer workers while the block runs.

    Args:
        servicer: What answers.
        role: Where to listen, and the token.

    Raises:
        FatalRuntimeError: The address cannot be listened to, or the server has not started.
    """
    uvicorn = require("uvicorn", extra="chief")
    listening = _listen(role)
    config = uvicorn.Config(
        application(servicer, role),
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=2,
        timeout_keep_alive=60,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(
        target=server.run, kwargs={"sockets": [listening]}, name="keratune-chief", daemon=True
    )
    thread.start()
    try:
        while not server.started:
            if not thread.is_alive():
                raise FatalRuntimeError(f"The chief's server at {role.place} has not started.")
            time.sleep(0.01)
        yield
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


def _listen(role: Role) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            role.host, role.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(address)
        except OSError:
            listening.close()
            raise
    except OSError as error:
        raise FatalRuntimeError(
            f"The chief cannot listen at {role.place}: {error}. KERASTUNER_ORACLE_IP must be an "
            "address of this machine, and KERASTUNER_ORACLE_PORT a port that nobody uses."
        ) from error
    return listening


# ---------------------------------------------------------------------- the search


def lead(
    oracle: Oracle,
    role: Role,
    show: Callable[[], None] = lambda: None,
    halted: Callable[[], bool] = lambda: False,
    tell: Callable[[str], None] = say,
) -> None:
    """Serve a study until its workers have found nothing more to do, and have gone.

    Args:
        oracle: The oracle; it is used by several threads meanwhile.
        role: Where to listen, and the token.
        show: Called after the journal has been read on.
        halted: Tells whether to end before.
        tell: Tells the user a line.

    Raises:
        RuntimeError: Too many trials have failed in a row, a worker has raised what every other
            would raise, or all have raised.
    """
    servicer = OracleServicer(oracle)
    watch = _Watch(servicer, tell)
    with serving(servicer, role):
        while not halted():
            servicer.watch()
            with oracle._lock:
                show()
            if watch.is_over():
                break
            time.sleep(TICK)
    if servicer.over is not None:
        raise servicer.over.error()


class _Watch:
    """When a chief ends, and what it says while nobody works."""

    def __init__(self, servicer: OracleServicer, tell: Callable[[str], None]) -> None:
        self._servicer = servicer
        self._tell = tell
        self._alone_since = time.monotonic()
        self._said = False

    def is_over(self) -> bool:
        """Tell whether the search has ended, and all that are there know it.

        Raises:
            FatalRuntimeError: The last workers have raised, and no other has come.
        """
        servicer = self._servicer
        if servicer.present:
            self._alone_since, self._said = time.monotonic(), False
            return False
        alone = time.monotonic() - self._alone_since
        if servicer.over is not None or servicer.is_done:
            known = servicer.finished or servicer.over is not None
            return alone >= (LINGER if known else LONG_LINGER)
        if alone >= SILENCE and not self._said:
            self._tell("No worker is at work; the chief waits for one.")
            self._said = True
        if servicer.raised and alone >= WORKERLESS:
            raise FatalRuntimeError(
                f"The last worker has ended with an error, and no other has come for "
                f"{WORKERLESS:.0f} s.\n{servicer.raised}"
            )
        return False


def start_server(oracle: Oracle) -> None:
    """Serve an oracle as the environment says, until its workers have nothing more to do.

    Raises:
        RuntimeError: The environment names no chief; or as `lead`.
    """
    role = current_role()
    if role is None:
        raise FatalRuntimeError("KERASTUNER_ORACLE_IP must be set in the environment of a chief.")
    lead(oracle, role)


def exit_chief(oracle: Oracle) -> bool:
    """Tell whether no trial of an oracle runs, and no worker is known to it."""
    return not oracle.ongoing_trials and not oracle.tuner_ids
