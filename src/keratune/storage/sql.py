"""A journal in a database: a table of events, through SQLAlchemy.

SQLite in the study's folder by default, PostgreSQL by its URL. Whoever writes has the study for
itself while it does; the primary key (study, sequence) would refuse a second writer of the same
number in any case. A database that goes away is waited for, and what was being written when the
connection was lost is looked up before it is written again: nothing is lost, nothing doubled.
"""

from __future__ import annotations

import contextlib
import dataclasses
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, final

import sqlalchemy as sa

from keratune._runtime import logger
from keratune.errors import JournalConflictError, StudyMismatchError
from keratune.storage.base import STARTED_ANEW, Entry, Event, Storage
from keratune.storage.database import Database, shown
from keratune.storage.postgres import Postgres
from keratune.storage.sqlite import Sqlite

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
WORKERS = sa.Table(
    "keratune_workers",
    METADATA,
    sa.Column("study", sa.String(255), primary_key=True),
    sa.Column("worker", sa.String(255), primary_key=True),
    sa.Column("beats", sa.BigInteger, nullable=False),
)

# `?` stands for a parameter, in PostgreSQL `%s`.
SELECT = (
    "SELECT sequence, time, kind, body FROM keratune_events "
    "WHERE study = ? AND sequence >= ? ORDER BY sequence"
)
LAST = "SELECT max(sequence) FROM keratune_events WHERE study = ?"
INSERT = "INSERT INTO keratune_events (study, sequence, time, kind, body) VALUES (?, ?, ?, ?, ?)"
BEAT = (
    "INSERT INTO keratune_workers (study, worker, beats) VALUES (?, ?, 1) "
    "ON CONFLICT (study, worker) DO UPDATE SET beats = keratune_workers.beats + 1"
)
BEATS = "SELECT worker, beats FROM keratune_workers WHERE study = ?"
FORGET = "DELETE FROM keratune_workers WHERE study = ? AND worker = ?"

# Seconds that a database which was there is waited for: a server's restart takes seconds, its move
# to another machine minutes. One that was never there is more likely misspelt.
PATIENCE = 300.0
OPENING_PATIENCE = 10.0

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 5.0  # seconds between two attempts; doubled each time

LOST = "the connection to the database was lost; what the block has decided was not written"

T = TypeVar("T")
Row = tuple[int, float, str, str]  # sequence, time, kind, body


@dataclasses.dataclass
class Block:
    """A transaction in which one thread has the study for itself.

    Attributes:
        connection: What it runs on.
        thread: The thread.
        rows: What was written in it.
        last: Sequence number of the journal's last event, where it is known.
        failed: Whether a statement has failed; the transaction is void then.
    """

    connection: sa.Connection
    thread: int
    begun: dataclasses.InitVar[float]
    rows: list[Row] = dataclasses.field(default_factory=list)
    last: int | None = None
    failed: bool = False

    def __post_init__(self, begun: float) -> None:
        """Set the block's clock by the database's, which said `begun` just now."""
        self._ahead = begun - time.monotonic()

    def now(self) -> float:
        """Return seconds since the epoch, as the database counts them."""
        return time.monotonic() + self._ahead


@final
class SqlStorage(Storage):
    """Keeps the journal of one study in a database table; safe for threads.

    Args:
        url: SQLAlchemy URL: `sqlite:///runs/pima/study.db`, or
            `postgresql+psycopg://user:password@host/database`.
        study: Name of the study; a database may hold many.
        patience: Seconds that a database which has gone away is waited for.
        begun: See `at`.

    Raises:
        ValueError: The URL is of another kind of database.
        StudyMismatchError: The file is damaged, or no SQLite database.
        TimeoutError: The database cannot be reached.
    """

    keeps_others_out = True

    def __init__(
        self,
        url: str | sa.URL,
        study: str = "study",
        *,
        patience: float = PATIENCE,
        begun: bool = False,
    ) -> None:
        """Connect, and create the tables if they do not exist."""
        self._study = study
        self._patience = patience
        self._database = database_of(sa.make_url(url))
        self._mutex = threading.RLock()
        self._block: Block | None = None
        self._begun = begun
        self._patiently(self._create_tables, min(OPENING_PATIENCE, patience))

    @classmethod
    def at(cls, file: Path, *, begun: bool = False) -> SqlStorage:
        """Return the storage in a SQLite file, whatever characters its path has.

        Args:
            file: The file; it is made where there is none.
            begun: Whether a study has begun beside it, so that an empty file is a damaged one.
        """
        return cls(sa.URL.create("sqlite", database=str(file)), begun=begun)

    def _create_tables(self) -> None:
        """Create the tables where there are none; another worker may be doing the same."""
        engine = self._database.engine
        with self._database.turn():
            if self._begun and isinstance(self._database, Sqlite):
                self._database.refuse_emptied()
            try:
                METADATA.create_all(engine)
            except sa.exc.DBAPIError as error:
                if self._database.is_away(error):
                    raise
                try:
                    METADATA.create_all(engine)
                except sa.exc.DBAPIError:
                    if not sa.inspect(engine).has_table(EVENTS.name):
                        raise error from None  # it may be read, if not written to

    # ------------------------------------------------------------------ the journal

    def append(self, events: Sequence[Event], seen: int) -> list[Entry]:
        """Write events behind the last one; see `Storage.append`."""
        if not events:
            return []
        packed = [(type(event).__name__, event.to_json()) for event in events]
        with self._alone() as block:
            now = block.now()
            rows = [(seen + place, now, *each) for place, each in enumerate(packed, start=1)]
            self._insert(block, rows, seen)
        return [Entry(row[0], now, event) for row, event in zip(rows, events, strict=True)]

    def _insert(self, block: Block, rows: Sequence[Row], seen: int) -> None:
        """Write rows behind `seen`."""
        last = block.last
        if last is None:
            last = self._within(block, LAST).scalar() or 0
        if last != seen:
            if last < seen:
                raise StudyMismatchError(STARTED_ANEW)
            raise JournalConflictError(f"the journal has grown past {seen}: {last}")
        self._within(block, INSERT, [(self._study, *row) for row in rows])
        block.rows += rows
        block.last = rows[-1][0]

    def read(self, since: int, limit: int | None = None) -> list[Entry]:
        """Return the events after `since`, at most `limit`."""
        rows = self._rows(since, limit)
        if rows and rows[-1][0] != since + len(rows):
            gap = f"of the events {since + 1} to {rows[-1][0]} there are {len(rows)}"
            raise StudyMismatchError(
                f"The journal in {self._database.place} is damaged: {gap}. Restore it from a "
                "backup; `overwrite=True` and another `project_name` start anew."
            )
        return [Entry(row[0], row[1], Event.from_json(row[2], row[3])) for row in rows]

    def _rows(self, since: int, limit: int | None = None) -> Sequence[Any]:
        """Return the rows of events after `since`; a block learns what the last one is."""
        block = self._mine()
        if block is None:
            statement, values = self._select(since + 1, limit)
            return self._patiently(lambda: self._run(statement, values))
        if limit is not None:  # which may leave out the last one
            return self._within(block, *self._select(since + 1, limit)).all()
        rows = self._within(block, *self._select(since)).all()
        if not since:
            block.last = rows[-1][0] if rows else 0
            return rows
        if rows and rows[0][0] == since:  # else the journal was started anew
            block.last = rows[-1][0]
            return rows[1:]
        return rows

    def _select(self, first: int, limit: int | None = None) -> tuple[str, tuple[Any, ...]]:
        """Return the statement that reads on from `first`, and its parameters."""
        if limit is None:
            return SELECT, (self._study, first)
        return f"{SELECT} LIMIT ?", (self._study, first, limit)

    # ------------------------------------------------------------------ having it for oneself

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep all others from appending; see `Storage.exclusive`."""
        with self._alone():
            yield

    @contextlib.contextmanager
    def _alone(self) -> Iterator[Block]:
        """Keep all others from appending, and give the block that does."""
        with self._mutex:
            if self._block is not None:
                yield self._block
                return
            with contextlib.ExitStack() as afterwards, self._database.turn():
                self._block = block = self._patiently(self._begin)
                try:
                    yield block
                    if block.failed and block.rows:
                        raise JournalConflictError(LOST)
                finally:
                    self._block = None
                    if not self._end(block):
                        afterwards.callback(self._make_sure, block.rows)

    def _begin(self) -> Block:
        connection = self._database.engine.connect()
        try:
            begun = self._database.begin(connection, self._study)
        except BaseException:
            connection.close()
            raise
        return Block(connection, threading.get_ident(), begun)

    def _end(self, block: Block) -> bool:
        """Commit or roll back; False where nobody knows whether what was written was kept."""
        with block.connection as connection:
            if block.failed:
                with contextlib.suppress(sa.exc.SQLAlchemyError):
                    connection.exec_driver_sql("ROLLBACK")
                return True
            try:
                connection.exec_driver_sql("COMMIT")
            except sa.exc.DBAPIError as error:
                with contextlib.suppress(sa.exc.SQLAlchemyError):
                    connection.exec_driver_sql("ROLLBACK")
                if not self._database.is_away(error):
                    raise self._database.explained(error) from error.orig
                return not block.rows
        return True

    def _make_sure(self, rows: Sequence[Row]) -> None:
        """Write rows that a lost connection may or may not have left in the journal."""
        seen = rows[0][0] - 1
        with self._alone() as block:  # which waits for the end of the lost transaction
            found = [tuple(row) for row in self._rows(seen)]
            if found[: len(rows)] == list(rows):
                return
            self._insert(block, rows, seen)

    def _mine(self) -> Block | None:
        """Return the present block if this thread is inside it."""
        block = self._block
        return block if block is not None and block.thread == threading.get_ident() else None

    def _within(self, block: Block, statement: str, values: Any = None) -> sa.CursorResult[Any]:
        """Run a statement in a block; nothing can be repeated here but the whole block."""
        if block.failed:
            raise JournalConflictError(LOST)
        values = (self._study,) if values is None else values
        try:
            return block.connection.exec_driver_sql(self._marked(statement), values)
        except sa.exc.DBAPIError as error:
            block.failed = True
            if self._database.is_away(error):
                raise JournalConflictError(LOST) from error
            if isinstance(error, sa.exc.IntegrityError):  # a writer that knows no blocks
                raise JournalConflictError("the journal has grown meanwhile") from error
            raise self._database.explained(error) from error.orig

    # ------------------------------------------------------------------ signs of life

    def beat(self, worker: str) -> None:
        """Count one more sign of life."""
        self._change(BEAT, worker)

    def beats(self) -> Mapping[str, int]:
        """Return the counts."""
        rows = self._patiently(lambda: self._run(BEATS, (self._study,)))
        return {worker: count for worker, count in rows}

    def forget(self, worker: str) -> None:
        """Drop a worker's count."""
        self._change(FORGET, worker)

    def _change(self, statement: str, worker: str) -> None:
        values, block = (self._study, worker), self._mine()
        if block is not None:
            self._within(block, statement, values)
            return
        with self._database.turn():
            self._patiently(lambda: self._run(statement, values))

    # ------------------------------------------------------------------ the database

    def _run(self, statement: str, values: tuple[Any, ...]) -> Sequence[Any]:
        """Run one statement outside a block, and return its rows."""
        with self._database.engine.connect() as connection:
            result = connection.exec_driver_sql(self._marked(statement), values)
            return result.all() if result.returns_rows else []

    def _marked(self, statement: str) -> str:
        return statement.replace("?", self._database.mark)

    def _patiently(self, work: Callable[[], T], patience: float | None = None) -> T:
        """Do what may be done again, and again while the database is away."""
        patience = self._patience if patience is None else patience
        begun, pause, warned = time.monotonic(), FIRST_PAUSE, False
        while True:
            try:
                return work()
            except sa.exc.DBAPIError as error:
                if not self._database.is_away(error):
                    raise self._database.explained(error) from error.orig
                waited = time.monotonic() - begun
                said = f"{self._database.place}: {str(error.orig).splitlines()[0]}"
                if waited >= patience:
                    raise TimeoutError(
                        f"{said}. It was waited for {waited:.0f} seconds. When the database can be "
                        "used, run this again: it goes on where it stopped."
                    ) from error
                if not warned and pause > 1.0:
                    logger.warning("%s. Waiting for it.", said)
                    warned = True
            # At random, or all workers would come at once.
            time.sleep(min(pause * random.uniform(0.5, 1.0), max(patience - waited, 0.0)))
            pause = min(2 * pause, LONGEST_PAUSE)

    def close(self) -> None:
        """Close all connections."""
        self._database.engine.dispose()


def database_of(url: sa.URL) -> Database:
    """Return the database of a URL.

    Raises:
        ValueError: It is of a kind that journals are not kept in.
    """
    kind = url.get_backend_name()
    if kind == "sqlite":
        return Sqlite(url)
    if kind == "postgresql":
        return Postgres(url)
    raise ValueError(
        "`storage` must be the URL of a SQLite or PostgreSQL database, for example "
        "'sqlite:///study.db' or 'postgresql+psycopg://user:password@host/database'. "
        f"Received: {shown(url)!r}."
    )
