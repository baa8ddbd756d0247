"""SQLite: journals in a file, for the processes of one machine.

Write-ahead log (a killed process leaves the last complete transaction, and readers never wait for
the writer) with `synchronous = NORMAL` (a killed process loses nothing; a power failure may lose
the last transactions, never the journal). SQLite's own wait for other writers sleeps up to 100 ms
between attempts and serves whoever happens to be awake. So writers first queue for a lock on a file
beside the database, which the kernel hands over in order and takes back from the dead.

The write-ahead log lives in memory that processes share, which a network file system cannot give
(https://www.sqlite.org/wal.html): there, SQLite's rollback journal is used instead.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, final

import sqlalchemy as sa

from keratune import _clock
from keratune._runtime import logger
from keratune.errors import StudyMismatchError
from keratune.storage.database import Database

if sys.platform == "win32":
    fcntl = None
else:
    import fcntl

# Seconds that SQLite waits for writers that do not queue, such as another program.
BUSY_TIMEOUT = 10.0

# File systems that several machines may share; `fuse.` stands for sshfs and its like.
NETWORK = ("nfs", "cifs", "smb", "fuse.", "9p", "lustre", "gpfs", "beegfs", "ceph", "glusterfs")

DAMAGED = ("not a database", "malformed", "file is encrypted")
FULL = ("disk is full", "disk i/o error")


@final
class Sqlite(Database):
    """A SQLite file."""

    mark = "?"

    def __init__(self, url: sa.URL) -> None:
        """Prepare; the file is made by the first connection."""
        super().__init__(url, sa.create_engine(url, isolation_level="AUTOCOMMIT"))
        name = url.database
        self._file = None if name in (None, "", ":memory:") else Path(str(name)).absolute()
        self.place = str(self._file or "a database in memory")
        self._mode = "WAL"
        if self._file is not None and (kind := network_of(self._file)):
            self._mode = "DELETE"
            logger.warning(
                "%s is on a network file system (%s), where SQLite is slow and depends on the "
                "server's file locks. For several machines use PostgreSQL.",
                self._file,
                kind,
            )
        sa.event.listen(self.engine, "connect", self._configure)

    def _configure(self, connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT * 1000)}")
        cursor.execute(f"PRAGMA journal_mode = {self._mode}")
        cursor.execute(f"PRAGMA synchronous = {'NORMAL' if self._mode == 'WAL' else 'FULL'}")
        cursor.close()

    def begin(self, connection: sa.Connection, study: str) -> float:
        """Begin a transaction as the only writer of the file; the clock is this machine's."""
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        return _clock.now()

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Queue for the lock beside the file; it is opened anew each time, as forks share it."""
        if self._file is None or fcntl is None:
            yield
            return
        with contextlib.ExitStack() as stack:
            try:
                lock = os.open(f"{self._file}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
                stack.callback(os.close, lock)
                fcntl.flock(lock, fcntl.LOCK_EX)
            except OSError:  # a file system without locks, or a folder that may not be written to
                pass
            yield

    def is_away(self, error: sa.exc.DBAPIError) -> bool:
        """Tell whether other programs have the file locked."""
        return "is locked" in str(error.orig)

    def explained(self, error: sa.exc.DBAPIError) -> Exception:
        """Return what a full disk or a damaged file means to the user."""
        said = str(error.orig).lower()
        if any(part in said for part in FULL):
            return OSError(
                errno.ENOSPC if "full" in said else errno.EIO,
                f"The study could not be read or written ({error.orig}); of the last step, nothing "
                "was written. Make room on the disk, or raise the limit on file sizes, and run "
                "this again: it goes on where it stopped",
                self.place,
            )
        return self.damaged(str(error.orig)) if any(part in said for part in DAMAGED) else error

    def damaged(self, why: str) -> StudyMismatchError:
        """Return the error that says what to do about a damaged file."""
        return StudyMismatchError(
            f"{self.place} is damaged, or no SQLite database ({why}). Restore it from a backup, "
            f"save what is readable with `sqlite3 {self.place} .recover`, or move it away; "
            "`overwrite=True` and another `project_name` start anew."
        )

    def refuse_emptied(self) -> None:
        """Raise where a study has been, and its file is empty now; call it within `turn`.

        Raises:
            StudyMismatchError: It is.
        """
        file = self._file
        if file is not None and file.exists() and not file.stat().st_size:
            raise self.damaged("it is empty, and files of a study lie beside it")


def network_of(path: Path, mounts: Path = Path("/proc/mounts")) -> str | None:
    """Return the kind of network file system that a path is on, None where it is on none.

    Args:
        path: An absolute path; it need not exist.
        mounts: What is mounted, one line each: device, folder, kind, options; Linux only.
    """
    try:
        lines = mounts.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    fields = [line.split(" ") for line in lines]
    found = {_unescaped(field[1]): field[2] for field in fields if len(field) > 2}
    resolved = path.resolve()
    folder = next((f for f in [resolved, *resolved.parents] if str(f) in found), None)
    kind = found.get(str(folder), "")
    return kind if kind.startswith(NETWORK) else None


def _unescaped(folder: str) -> str:
    """Return a folder of /proc/mounts, in which blanks are written as octal numbers."""
    return folder.replace(r"\040", " ").replace(r"\011", "\t").replace(r"\134", "\\")
