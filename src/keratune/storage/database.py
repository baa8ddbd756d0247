"""What databases differ in: how one writer has a study for itself, and what their errors mean."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Iterator

import sqlalchemy as sa


class Database(abc.ABC):
    """A database that journals are kept in.

    The driver is in autocommit mode, so that reading takes one round trip; transactions are begun
    and ended by statements.

    Args:
        url: Where it is.
        engine: Connects to it.

    Attributes:
        engine: Connects to it.
        place: How to call it in messages.
        mark: What stands for a parameter in a statement.
    """

    mark: str

    def __init__(self, url: sa.URL, engine: sa.Engine) -> None:
        """Keep the engine; nothing is connected yet."""
        self.engine = engine
        self.place = url.render_as_string(hide_password=True)

    @abc.abstractmethod
    def begin(self, connection: sa.Connection, study: str) -> None:
        """Begin a transaction in which nobody else writes to a study."""

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for this process's turn to write, where the database has no good queue itself."""
        yield

    @abc.abstractmethod
    def is_away(self, error: sa.exc.DBAPIError) -> bool:
        """Tell whether an error may pass: the database is not there, or others have it."""

    def explained(self, error: sa.exc.DBAPIError) -> Exception:
        """Return an error that tells the user what to do, where there is more to say."""
        return error
