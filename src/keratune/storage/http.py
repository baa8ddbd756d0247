"""A journal that another process keeps, the chief, asked for over HTTP.

Every request is a POST of JSON, and so is every answer; entries travel as `[sequence, time, kind,
body]`, the body being the event's JSON as a database holds it: numbers in full precision, no
pickles. What makes a write one round trip: a worker that has heard of the journal's end a moment
ago writes without reading first, and a refused write comes back with what it has missed.

A request that finds nobody is repeated, for minutes, so that a chief may be started late or
anew. Writing twice does no harm: a write that is refused, and finds its own events where it wanted
to put them, has been written by an attempt whose answer was lost.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, final

from keratune import _json
from keratune._runtime import logger, require, say
from keratune.errors import FatalRuntimeError, JournalConflictError, StudyMismatchError
from keratune.storage.base import Entry, Event, Storage

# Seconds for which a worker looks for a chief that does not answer: what a batch system takes to
# start a job on another machine.
PATIENCE = 300.0
HURRY = 5.0  # the same for a worker that was asked to end
SILENCE = 10.0  # seconds after which a worker that waits says so

# Seconds between two attempts: short at first, for a chief that is just being started.
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0

# Seconds for an answer. A chief that has taken a request and not answered is asked again.
CONNECT, ANSWER = 5.0, 60.0

# Seconds for which the end of the journal, as it was last heard, may be taken for its end. Who
# writes meanwhile loses nothing: the chief refuses, and says what is new.
FRESH = 0.5

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
            timeout=self._http.Timeout(ANSWER, connect=CONNECT),
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
            patience: Seconds for which a chief that does not answer is looked for; default:
                `PATIENCE`.
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
        while True:
            try:
                status, answer = self._post(path, text)
            except self._http.ReadTimeout:
                waiting.heard("it does not answer")
            except self._http.TransportError as error:
                limit = PATIENCE if patience is None else patience
                gone = waiting.silent(min(limit, HURRY) if self.hurried() else limit, error)
                if gone is not None:
                    self.lost = gone if patience is None else None
                    raise gone from error
            else:
                if status != NOT_YET:
                    return status, answer, waiting.attempts
                waiting.heard(answer.get("reason", ""))
            waiting.wait()

    def _post(self, path: str, text: bytes) -> tuple[int, dict[str, Any]]:
        """Ask once; return the status, and the answer of a chief that has understood."""
        headers = {"Content-Type": "application/json"}
        response = self._client.post(f"/{path}", content=text, headers=headers)
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

    def heard(self, why: str) -> None:
        """Take note of a chief that is there, and wants to be asked later."""
        self._why, self._last_heard = why, time.monotonic()

    def silent(self, patience: float, error: Exception) -> FatalRuntimeError | None:
        """Take note of a chief that is not there; return an error when that was for too long."""
        self._why = "it cannot be reached"
        if time.monotonic() - self._last_heard < patience:
            return None
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


@final
class HttpStorage(Storage):
    """The journal that the chief keeps.

    Args:
        connection: The way to the chief.
    """

    def __init__(self, connection: Connection) -> None:
        """Keep the connection."""
        self.connection = connection
        self._start()

    def _start(self) -> None:
        self._missed: list[Entry] = []  # what the last refused write has missed
        self._heard = 0, -FRESH  # the last entry of the journal, and when that was so
        self._block = threading.local()

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process needs."""
        return {"connection": self.connection}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Start having heard nothing."""
        self.connection = state["connection"]
        self._start()

    def append(self, events: Sequence[Event], seen: int) -> list[Entry]:
        """Write events behind the last one; see `Storage.append`."""
        if not events:
            return []
        packed = pack_events(events)
        status, answer, attempts = self.connection.ask("append", events=packed, seen=seen)
        if status == STARTED_ANEW:
            raise StudyMismatchError(answer["reason"])
        entries = unpack_entries(answer["entries"])
        self._heard = (entries[-1].sequence if entries else seen), time.monotonic()
        if status == OK:
            return entries
        mine = entries[: len(events)]
        self._missed = entries
        if attempts > 1 and pack_events(entry.event for entry in mine) == packed:
            return mine
        raise JournalConflictError(f"the journal has grown past {seen}")

    def read(self, since: int) -> list[Entry]:
        """Return all events after `since`; none once this worker has left."""
        if self.connection.left:
            return []
        if getattr(self._block, "depth", 0):
            missed = self._missed
            if missed and missed[0].sequence <= since + 1 <= missed[-1].sequence:
                return missed[since + 1 - missed[0].sequence :]
            last, at = self._heard
            if since == last and time.monotonic() - at < FRESH:
                return []
        return self._read(since)

    def _read(self, since: int) -> list[Entry]:
        entries: list[Entry] = []
        while True:
            _, answer, _ = self.connection.ask("read", since=since)
            entries += unpack_entries(answer["entries"])
            since = entries[-1].sequence if entries else since
            self._heard = since, time.monotonic()
            if not answer["more"]:
                return entries

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Have what was heard a moment ago count; the chief refuses who has missed something."""
        self._block.depth = getattr(self._block, "depth", 0) + 1
        try:
            yield
        finally:
            self._block.depth -= 1

    def beat(self, worker: str) -> None:
        """Give a sign of life; one that is not heard is followed by the next."""
        self.connection.ask("beat", 0.0, about=worker)

    def beats(self) -> Mapping[str, int]:
        """Return the signs that the chief has counted."""
        _, answer, _ = self.connection.ask("beats", 0.0)
        counts: dict[str, int] = answer["counts"]
        return counts

    def forget(self, worker: str) -> None:
        """Have the chief forget a worker; itself it takes leave of by `Connection.leave`."""
        if worker != self.connection.worker:
            self.connection.ask("forget", 0.0, about=worker)

    def close(self) -> None:
        """Give the connection back."""
        self.connection.close()
