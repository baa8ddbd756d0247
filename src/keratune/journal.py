"""A study's journal as one process sees it: what it has read, and how it writes.

Several processes may write the same journal. Each writes behind the last event that it has read;
when others were faster, it reads on and decides again on the newer history.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from keratune.errors import JournalConflictError
from keratune.history import History
from keratune.storage import base as events
from keratune.storage.base import Event, Storage


class Journal:
    """The journal in a storage, and the history that it tells.

    Args:
        storage: Where the events are.

    Attributes:
        history: The fold of all events read so far.
        settings: The study's settings, as the journal holds them.
        lock: Held while the history is read to decide, or changes; re-entrant.
    """

    def __init__(self, storage: Storage) -> None:
        """Keep the storage; nothing is read yet."""
        self.history: History
        self.settings: dict[str, Any] = {}
        self.lock = threading.RLock()
        self._storage = storage
        self._sequence = 0

    def start(self, opened: events.StudyOpened) -> None:
        """Read the journal; begin it where nobody has."""
        if self.sync():
            return
        try:
            self._storage.append([opened], seen=0)
        except JournalConflictError:
            pass  # another worker has just begun it
        self.sync()

    def sync(self) -> bool:
        """Read what others have written; tell whether the journal holds anything."""
        with self.lock:
            for entry in self._storage.read(self._sequence):
                self._fold(entry)
            return self._sequence > 0

    def write(self, decide: Callable[[], Sequence[Event]]) -> None:
        """Write what `decide` returns, asking it again whenever others were faster.

        Args:
            decide: Returns the events that follow from the history as it stands; none is an answer.
        """
        with self.lock:
            while True:
                try:
                    self.write_at_once(*decide())
                    return
                except JournalConflictError:
                    self.sync()

    def write_at_once(self, *decided: Event) -> None:
        """Write events that follow from the history as it stands.

        Raises:
            JournalConflictError: It stands no longer.
        """
        if decided:
            for entry in self._storage.append(decided, self._sequence):
                self._fold(entry)

    def _fold(self, entry: events.Entry) -> None:
        if entry.sequence == 1:
            self.history = events.start_history(entry)
        else:
            events.fold(self.history, entry)
        event = entry.event
        if isinstance(event, (events.StudyOpened, events.SettingsChanged)):
            self.settings = dict(event.settings)
        self._sequence = entry.sequence

    def close(self) -> None:
        """Give back files and connections."""
        self._storage.close()
