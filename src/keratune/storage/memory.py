"""A journal in this process's memory, for studies that need not outlive it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import final

from keratune import _clock
from keratune.errors import JournalConflictError, StudyMismatchError
from keratune.storage.base import STARTED_ANEW, Entry, Event, Storage


@final
class MemoryStorage(Storage):
    """Keeps the journal in a list; safe for threads."""

    keeps_others_out = True

    def __init__(self) -> None:
        """Start with an empty journal."""
        self._entries: list[Entry] = []
        self._beats: dict[str, int] = {}
        self._lock = threading.RLock()

    def append(self, events: Sequence[Event], seen: int) -> list[Entry]:
        """Write events behind the last one; see `Storage.append`."""
        with self._lock:
            if len(self._entries) < seen:
                raise StudyMismatchError(STARTED_ANEW)
            if len(self._entries) > seen:
                raise JournalConflictError(f"seen {seen}, last {len(self._entries)}")
            now = _clock.now()
            written = [
                Entry(seen + place, now, event) for place, event in enumerate(events, start=1)
            ]
            self._entries += written
            return written

    def read(self, since: int, limit: int | None = None) -> list[Entry]:
        """Return the events after `since`, at most `limit`."""
        return self._entries[since : None if limit is None else since + limit]

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep other threads from writing; see `Storage.exclusive`."""
        with self._lock:
            yield

    def beat(self, worker: str) -> None:
        """Count one more sign of life."""
        with self._lock:
            self._beats[worker] = self._beats.get(worker, 0) + 1

    def beats(self) -> Mapping[str, int]:
        """Return the counts."""
        with self._lock:
            return dict(self._beats)

    def forget(self, worker: str) -> None:
        """Drop a worker's count."""
        with self._lock:
            self._beats.pop(worker, None)
