"""PostgreSQL: journals that many machines share.

A writer has a study for itself by an advisory lock that its transaction holds. PostgreSQL hands it
over in order and frees it when the transaction ends or the connection is lost. A writer that has
been stopped in the middle would hold it for ever: the server ends a session that leaves its
transaction idle for `IDLE`, and the writer, when it wakes up, decides again.

The clocks of machines differ. What a study's events tell of time is the server's clock, which the
round trip that takes the lock brings along.
"""

from __future__ import annotations

import hashlib
from typing import Any, final

import sqlalchemy as sa

from keratune import _runtime
from keratune.storage.database import Database

# Seconds after which a writer that does nothing in the middle of a transaction is cut off;
# transactions last milliseconds.
IDLE = 30

# SQLSTATE of errors that pass: 08 connection exceptions, 57P the server shuts down or starts, 53300
# too many connections, 25P03 see IDLE, 40 the server asks for another attempt, 55P03 and 57014 a
# time limit of the server's on waiting.
PASSING = ("08", "57P", "53300", "25P03", "40", "55P03", "57014")


@final
class Postgres(Database):
    """A PostgreSQL database.

    Args:
        url: For example `postgresql+psycopg://user:password@host/database`.

    Raises:
        MissingPackageError: psycopg is not installed.
    """

    mark = "%s"

    def __init__(self, url: sa.URL) -> None:
        """Prepare; nothing is connected yet."""
        _runtime.require("psycopg", extra="postgres")
        url = url.set(drivername="postgresql+psycopg")
        super().__init__(url, sa.create_engine(url, isolation_level="AUTOCOMMIT"))
        sa.event.listen(self.engine, "after_cursor_execute", _go_to_the_last_result)

    def begin(self, connection: sa.Connection, study: str) -> float:
        """Begin a transaction that holds the lock of the study; all in one round trip.

        What is read next must be what is committed by then: read committed, whatever the server's
        default is. The time is the server's, once the lock is held.
        """
        result = connection.exec_driver_sql(
            "BEGIN ISOLATION LEVEL READ COMMITTED; "
            f"SET LOCAL idle_in_transaction_session_timeout = '{IDLE}s'; "
            f"SELECT pg_advisory_xact_lock({lock_number(study)}); "
            "SELECT extract(epoch FROM clock_timestamp())::float8"
        )
        return float(result.scalar_one())

    def is_away(self, error: sa.exc.DBAPIError) -> bool:
        """Tell whether the connection is lost, or the server is not ready."""
        state = getattr(error.orig, "sqlstate", None)
        if state is not None:
            return str(state).startswith(PASSING)
        return error.connection_invalidated or _is_refused(str(error.orig))


def _go_to_the_last_result(_connection: Any, cursor: Any, *_: Any) -> None:
    """Have SQLAlchemy see the result of the last of several statements; it looks at the first."""
    while cursor.nextset():
        pass


def _is_refused(said: str) -> bool:
    """Tell whether connecting failed for a reason that may pass; a wrong password does not."""
    return any(
        part in said
        for part in (
            "refused",
            "No such file",  # the socket of a server that is not running
            "timeout",
            "timed out",
            "unreachable",
            "reset by peer",
            "server closed",
            "the database system is",  # starting up, shutting down, in recovery mode
            "too many clients",
            "connection is closed",
            "connection is lost",
        )
    )


def lock_number(study: str) -> int:
    """Return the number of a study's lock: 64 bits of its name, the same on every machine."""
    digest = hashlib.sha256(f"keratune {study}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
