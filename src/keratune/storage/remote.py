"""A journal that another process keeps and hands out itself, by whatever way the two can talk.

`RemoteStorage` asks, `answer` is what the other process does with what was asked. A worker that has
heard of the journal's end a moment ago writes without reading first, so that a write takes one
question; a refused one is answered with what it has missed, from which the worker decides again.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from keratune.errors import JournalConflictError
from keratune.storage.base import Entry, Event, Storage

# Seconds for which the end of the journal, as it was last heard, may be taken for its end. Who
# writes meanwhile loses nothing: the write is refused.
FRESH = 0.5

Ask = Callable[..., Any]


def answer(storage: Storage, question: str, *arguments: Any) -> Any:
    """Answer what a `RemoteStorage` has asked.

    Args:
        storage: The journal.
        question: "append", "read", "beat", "beats" or "forget".
        *arguments: The particulars.

    Returns:
        For "append" whether it was written, and the entries, or those that the writer has missed;
        for the others what the storage returns.

    Raises:
        ValueError: There is no such question.
        Exception: What the storage raises.
    """
    if question == "append":
        events, seen = arguments
        try:
            return True, storage.append(events, seen)
        except JournalConflictError:
            return False, storage.read(seen)
    if question not in ("read", "beat", "beats", "forget"):
        raise ValueError(f"A journal is asked to append or read. Received: {question!r}.")
    return getattr(storage, question)(*arguments)


class RemoteStorage(Storage):
    """The journal that another process keeps; safe for threads.

    Args:
        ask: Has the other process call `answer`, and returns or raises what that does.
    """

    def __init__(self, ask: Ask) -> None:
        """Start having heard nothing."""
        self._ask = ask
        self._missed: list[Entry] = []  # what the last refused write has missed
        self._heard = 0, -FRESH  # the last entry of the journal, and when that was so
        self._block = threading.local()

    def append(self, events: Sequence[Event], seen: int) -> list[Entry]:
        """Write events behind the last one; see `Storage.append`."""
        if not events:
            return []
        written, entries = self._ask("append", list(events), seen)
        self._hear(entries, seen)
        if written:
            return list(entries)
        self._missed = entries
        raise JournalConflictError(f"the journal has grown past {seen}")

    def read(self, since: int, limit: int | None = None) -> list[Entry]:
        """Return the events after `since`; inside `exclusive`, as was heard a moment ago."""
        if getattr(self._block, "depth", 0):
            missed = self._missed
            if missed and missed[0].sequence <= since + 1 <= missed[-1].sequence:
                return missed[since + 1 - missed[0].sequence :][:limit]
            last, at = self._heard
            if since == last and time.monotonic() - at < FRESH:
                return []
        entries = self._ask("read", since, limit)
        if limit is None or len(entries) < limit:
            self._hear(entries, since)
        return list(entries)

    def _hear(self, entries: Sequence[Entry], seen: int) -> None:
        self._heard = (entries[-1].sequence if entries else seen), time.monotonic()

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Have what was heard a moment ago count; who has missed something is refused."""
        self._block.depth = getattr(self._block, "depth", 0) + 1
        try:
            yield
        finally:
            self._block.depth -= 1

    def beat(self, worker: str) -> None:
        """Give a sign of life."""
        self._ask("beat", worker)

    def beats(self) -> Mapping[str, int]:
        """Return the signs that were counted."""
        return dict(self._ask("beats"))

    def forget(self, worker: str) -> None:
        """Drop a worker's count."""
        self._ask("forget", worker)
