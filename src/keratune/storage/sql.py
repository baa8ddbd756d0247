"""A journal in a database: one table, through SQLAlchemy Core.

SQLite in the study's folder by default (write-ahead log: a killed process leaves the last complete
transaction, and readers never wait for the writer), any other database by its URL. The primary key
(study, sequence) is what refuses a second writer: both insert the same number, one succeeds.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import sqlalchemy as sa

from keratune.errors import JournalConflictError, StudyMismatchError
from keratune.storage.base import STARTED_ANEW, Entry, Event, Storage

METADATA = sa.MetaData()
EVENTS = sa.Table(
    "keratune_events",
    METADATA,
    sa.Column("study", sa.String(255), primary_key=True),
    sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("time", sa.Float(53), nullable=False),
    sa.Column("kind", sa.String(64), nullable=False),
    sa.Column("body", sa.Text, nullable=False),
)

# Seconds that a writer waits for another one's transaction; transactions last milliseconds.
BUSY_TIMEOUT = 60


@final
class SqlStorage(Storage):
    """Keeps the journal of one study in a database table.

    Args:
        url: SQLAlchemy URL, for example `sqlite:///runs/pima/study.db`.
        study: Name of the study; a database may hold many.
    """

    def __init__(self, url: str | sa.URL, study: str = "study") -> None:
        """Connect, and create the table if it does not exist."""
        self._study = study
        self._engine = sa.create_engine(url)
        if self._engine.dialect.name == "sqlite":
            sa.event.listen(self._engine, "connect", _configure_sqlite)
        self._create_table()
        self._insert = sa.insert(EVENTS)
        self._select = (
            sa.select(EVENTS.c.sequence, EVENTS.c.time, EVENTS.c.kind, EVENTS.c.body)
            .where(EVENTS.c.study == study, EVENTS.c.sequence > sa.bindparam("since"))
            .order_by(EVENTS.c.sequence)
        )

        self._exists = sa.select(EVENTS.c.sequence).where(
            EVENTS.c.study == study, EVENTS.c.sequence == sa.bindparam("sequence")
        )

    @classmethod
    def at(cls, file: Path) -> SqlStorage:
        """Return the storage in a SQLite file, whatever characters its path has."""
        return cls(sa.URL.create("sqlite", database=str(file)))

    def _create_table(self) -> None:
        """Create the table where there is none; another worker may be doing the same."""
        try:
            METADATA.create_all(self._engine)
        except sa.exc.DBAPIError:
            if not sa.inspect(self._engine).has_table(EVENTS.name):
                raise

    def append(self, events: Sequence[Event], seen: int) -> list[Entry]:
        """Write events behind the last one; see `Storage.append`."""
        if not events:
            return []
        now = time.time()
        entries = [Entry(seen + place, now, event) for place, event in enumerate(events, start=1)]
        try:
            with self._engine.begin() as connection:
                connection.execute(self._insert, [self._row(entry) for entry in entries])
                if seen and connection.scalar(self._exists, {"sequence": seen}) is None:
                    raise StudyMismatchError(STARTED_ANEW)  # and the insertion is rolled back
        except sa.exc.IntegrityError as error:
            raise JournalConflictError(f"the journal has grown past {seen}") from error
        return entries

    def _row(self, entry: Entry) -> dict[str, Any]:
        return {
            "study": self._study,
            "sequence": entry.sequence,
            "time": entry.time,
            "kind": type(entry.event).__name__,
            "body": entry.event.to_json(),
        }

    def read(self, since: int) -> list[Entry]:
        """Return all events after `since`."""
        with self._engine.connect() as connection:
            rows = connection.execute(self._select, {"since": since}).all()
        return [Entry(row[0], row[1], Event.from_json(row[2], row[3])) for row in rows]

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


def _configure_sqlite(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT * 1000}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.close()
