"""A journal that another process keeps, the chief, asked for over HTTP.

Every request is a POST of JSON, and so is every answer; entries travel as `[sequence, time, kind,
body]`, the body being the event's JSON as a database holds it: numbers in full precision, no
pickles. What is asked, and when, is said in `keratune.storage.remote`.

A request that finds nobody is repeated, for minutes, so that a chief may be started late or
anew; one that is taken and not answered for longer, as the chief's oracle may be at work. A worker
that is to end waits for neither. Writing twice does no harm: a write that is refused, and finds its
own events where it wanted to put them, has been written by an attempt whose answer was lost.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, final

from keratune import _json
from keratune._runtime import logger, require, say
from keratune.errors import FatalRuntimeError, StudyMismatchError
from keratune.storage.base import Entry, Event
from keratune.storage.remote import RemoteStorage

# Seconds for which a worker looks for a chief that is not there: what a batch system takes to
# start a job on another machine.
PATIENCE = 300.0
HURRY = 5.0  # the same for a worker that was asked to end, and for an answer to it

# Seconds for which a chief that takes requests and answers none is asked again: more than an oracle
# takes over a trial. Nothing tells one at work from one that was stopped.
HANGING = 1800.0
SILENCE = 10.0  # seconds after which a worker that waits says so

# Seconds between two attempts: short at first, for a chief that is just being started.
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0

# Seconds for an answer. A chief that has taken a request and not answered is asked again.
CONNECT, ANSWER = 5.0, 60.0

UNREACHABLE = "it cannot be reached"

# Entries in one answer: a few megabytes.
PAGE = 10_000

OK, NO_TOKEN, CONFLICT, STARTED_ANEW, NOT_YET = 200, 401, 409, 410, 425


@dataclasses.dataclass(frozen=True)
class Over:
    """Why a search has ended before its time, for everybody.

    Attributes:
        message: What has ended it.
        fatal: Whether it was a mistake that every trial would repeat.
    """

    message: str
    fatal: bool = False

    def error(self) -> RuntimeError:
        """Return what every process raises."""
        return FatalRuntimeError(self.message) if self.fatal else RuntimeError(self.message)


def pack_events(events: Iterable[Event]) -> list[list[str]]:
    """Return events as JSON."""
    return [[type(event).__name__, event.to_json()] for event in events]


def pack_entries(entries: Iterable[Entry]) -> list[list[Any]]:
    """Return entries as JSON."""
    return [[e.sequence, e.time, type(e.event).__name__, e.event.to_json()] for e in entries]


def unpack_entries(packed: Iterable[Sequence[Any]]) -> list[Entry]:
    """Return the entries that `pack_entries` packed."""
    return [Entry(place, at, Event.from_json(kind, body)) for place, at, kind, body in packed]


@final
class Connection:
    """A worker's way to the chief. It may be used by several threads, and pickled.

    Args:
        url: Where the chief is.
        token: The shared secret; None where there is none.
        study: The name of the project.
        worker: The name of this worker in the journal.

    Attributes:
        over: Why the search has ended for everybody; None while it goes on.
        left: Whether this worker has taken its leave, and asks nothing any more.
        lost: Why the chief is looked for no longer; None while it is.
        hurried: Tells whether this worker is to end soon.
        ended: Called with the reason when the search has ended for everybody.
    """

    def __init__(self, url: str, token: str | None, study: str, worker: str) -> None:
        """Keep the arguments; the first request connects."""
        self.url, self.study, self.worker = url, study, worker
        self._prepare(token)

    def _prepare(self, token: str | None) -> None:
        self.over: Over | None = None
        self.left = False
        self.lost: FatalRuntimeError | None = None
        self.hurried: Callable[[], bool] = lambda: False
        self.ended: Callable[[Over], None] = lambda over: None
        self._http: Any = require("httpx", extra="chief")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._client = self._new_client()

    def _new_client(self) -> Any:
        return self._http.Client(
            base_url=self.url,
            headers=self._headers,
            trust_env=False,  # the chief is not behind the proxies of the web
        )

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process of this worker needs; the token is in its environment."""
        return {"url": self.url, "study": self.study, "worker": self.worker}

    def __setstate__(self, state: Mapping[str, str]) -> None:
        """Take over what another process of this worker has sent."""
        vars(self).update(state)
        self._prepare(os.environ.get("KERATUNE_TOKEN") or None)

    def ask(
        self, path: str, patience: float | None = None, **body: Any
    ) -> tuple[int, dict[str, Any], int]:
        """Ask the chief, again while it cannot be reached.

        Args:
            path: What is wanted.
            patience: Seconds for which a chief that is not there, or has no time, is asked again;
                default: `PATIENCE`, `HANGING` where it does not answer, and for ever where it says
                that it will.
            **body: The particulars, plain JSON.

        Returns:
            The status, the answer, and how many attempts it has taken.

        Raises:
            FatalRuntimeError: There is no chief, or it has refused.
        """
        if self.left:
            raise FatalRuntimeError(
                f"The search that the chief at {self.url} has led is over; nothing can be written "
                "any more. Call `search()` to take part in the next one."
            )
        if self.lost is not None:
            raise self.lost
        text = _json.dumps({**body, "study": self.study, "worker": self.worker}).encode()
        waiting = _Waiting(self.url)
        error: Exception | None
        while True:
            seconds = self._hurrying(min(patience or ANSWER, ANSWER))
            try:
                status, answer = self._post(path, text, seconds)
            except self._http.ReadTimeout as silence:
                error, why, limit = silence, "it does not answer", HANGING
            except self._http.TransportError as absence:
                error, why, limit = absence, UNREACHABLE, PATIENCE
            else:
                if status != NOT_YET:
                    return status, answer, waiting.attempts
                error, why, limit = None, answer.get("reason", ""), math.inf
            limit = self._hurrying(limit if patience is None else patience)
            given_up = waiting.given_up(why, limit, error)
            if given_up is not None:
                self.lost = given_up if patience is None else None
                raise given_up from error
            waiting.wait()

    def _hurrying(self, seconds: float) -> float:
        """Return for how many of these seconds this worker can wait, as things are now."""
        return min(seconds, HURRY) if self.hurried() else seconds

    def _post(self, path: str, text: bytes, seconds: float) -> tuple[int, dict[str, Any]]:
        """Ask once; return the status, and the answer of a chief that has understood."""
        headers = {"Content-Type": "application/json"}
        timeout = self._http.Timeout(seconds, connect=min(seconds, CONNECT))
        response = self._client.post(f"/{path}", content=text, headers=headers, timeout=timeout)
        status = response.status_code
        if status not in (OK, CONFLICT, STARTED_ANEW, NOT_YET):
            raise FatalRuntimeError(_refusal(self.url, status, response.text))
        answer: dict[str, Any] = response.json()
        if answer.get("over") and self.over is None:
            self.over = Over(**answer["over"])
            self.ended(self.over)
        return status, answer

    def join(self) -> None:
        """Take part in the chief's search, once it leads one that this worker has not left."""
        self.left, self.over, self.lost = False, None, None
        self.ask("join")

    def leave(self, how: str, message: str = "", fatal: bool = False) -> None:
        """Take leave: there is nothing more to do, or this worker can do no more.

        Args:
            how: "done", "spent" where a budget was used up, "halted" or "raised".
            message: What was raised.
            fatal: Whether every other worker would raise it.
        """
        try:
            self.ask("leave", HURRY, how=how, message=message, fatal=fatal)
        except Exception as error:  # it takes the worker for dead before long
            logger.debug("the chief could not be told of the end: %s", error)
        self.left = True
        self.close()

    def close(self) -> None:
        """Give the connection back; a later request connects again."""
        client, self._client = self._client, self._new_client()
        client.close()


class _Waiting:
    """Attempts at one request, and what the user is told of them."""

    def __init__(self, url: str) -> None:
        self.attempts = 1
        self._url = url
        self._begun = self._last_heard = time.monotonic()
        self._pause = FIRST_PAUSE
        self._why, self._said = "", False

    def given_up(
        self, why: str, patience: float, error: Exception | None
    ) -> FatalRuntimeError | None:
        """Take note of an attempt that has failed; return an error when it was the last one.

        Args:
            why: What the chief does, or has said.
            patience: Seconds for which it may do so.
            error: What went wrong; None where the chief wants to be asked later.
        """
        self._why, silent = why, time.monotonic() - self._last_heard
        if silent < patience:
            if error is None:
                self._last_heard = time.monotonic()
            return None
        if why != UNREACHABLE:
            return FatalRuntimeError(
                f"The chief at {self._url} has taken no request of this worker's for "
                f"{silent:.0f} s: {why}. See what it is doing; if it hangs, end it and start it "
                "again, with `overwrite=False`."
            )
        return FatalRuntimeError(
            f"No chief could be reached at {self._url} for {patience:.0f} s ({error}). It has "
            "ended, or was not started. Start the script with a KERASTUNER_TUNER_ID that "
            "contains 'chief', and the same KERASTUNER_ORACLE_IP and KERASTUNER_ORACLE_PORT."
        )

    def wait(self) -> None:
        """Wait for the next attempt."""
        if time.monotonic() - self._begun >= SILENCE and not self._said:
            say(f"Waiting for the chief at {self._url}: {self._why}.")
            self._said = True
        time.sleep(self._pause)
        self._pause = min(self._pause * 2, LONGEST_PAUSE)
        self.attempts += 1


def _refusal(url: str, status: int, text: str) -> str:
    if status == NO_TOKEN:
        return (
            f"The chief at {url} does not take this worker's KERATUNE_TOKEN. Set it to the secret "
            "that the chief was started with."
        )
    return f"The chief at {url} has refused ({status}): {text[:2000]}"


def put(connection: Connection, question: str, *arguments: Any) -> Any:
    """Put a question of `RemoteStorage` to the chief, and return the answer.

    Args:
        connection: The way to the chief.
        question: See `keratune.storage.remote.answer`, which would return the same.
        *arguments: The particulars.

    Raises:
        StudyMismatchError: The journal was started anew.
        FatalRuntimeError: There is no chief, or it has refused.
    """
    if question == "append":
        return _append(connection, *arguments)
    if question == "read":
        return _read(connection, *arguments)
    _, answer, _ = connection.ask(question, 0.0, **dict(zip(("about",), arguments, strict=False)))
    return answer.get("counts")


def _append(connection: Connection, events: Sequence[Event], seen: int) -> tuple[bool, list[Entry]]:
    packed = pack_events(events)
    status, answer, attempts = connection.ask("append", events=packed, seen=seen)
    if status == STARTED_ANEW:
        raise StudyMismatchError(answer["reason"])
    entries = unpack_entries(answer["entries"])
    mine = entries[: len(events)]
    if status == CONFLICT and attempts > 1 and pack_events(e.event for e in mine) == packed:
        return True, mine
    return status == OK, entries


def _read(connection: Connection, since: int, limit: int | None = None) -> list[Entry]:
    entries: list[Entry] = []
    while True:
        wanted = None if limit is None else limit - len(entries)
        _, answer, _ = connection.ask("read", since=since, limit=wanted)
        entries += unpack_entries(answer["entries"])
        if not answer["more"] or len(entries) == limit:
            return entries
        since = entries[-1].sequence


@final
class HttpStorage(RemoteStorage):
    """The journal that the chief keeps.

    Args:
        connection: The way to the chief.
    """

    def __init__(self, connection: Connection) -> None:
        """Keep the connection."""
        super().__init__(functools.partial(put, connection))
        self.connection = connection

    def __reduce__(self) -> tuple[type[HttpStorage], tuple[Connection]]:
        """Have another process start having heard nothing."""
        return HttpStorage, (self.connection,)

    def read(self, since: int, limit: int | None = None) -> list[Entry]:
        """Return the events after `since`, at most `limit`; none once this worker has left."""
        return [] if self.connection.left else super().read(since, limit)

    def forget(self, worker: str) -> None:
        """Have the chief forget a worker; itself it takes leave of by `Connection.leave`."""
        if worker != self.connection.worker:
            super().forget(worker)

    def close(self) -> None:
        """Give the connection back."""
        self.connection.close()
