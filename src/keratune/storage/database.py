"""What databases differ in: how one writer has a study for itself, and what their errors mean."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Iterator
from urllib.parse import quote_plus

import sqlalchemy as sa

HIDDEN = "***"


def shown(url: str | sa.URL) -> str:
    """Return a database's URL as it may be shown: without the passwords in it.

    Drivers take them before the host, and among the options, as libpq's `password` and
    `sslpassword`.

    Example:
        ```python
        shown("postgresql://me:secret@host/db")  # 'postgresql://me:***@host/db'
        shown("postgresql:///db?password=secret")  # 'postgresql:///db?password=***'
        ```
    """
    try:
        url = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):  # nobody can tell where its password is
        return f"{str(url).partition('://')[0]}://{HIDDEN}"
    secret = [name for name in url.query if "password" in name.lower()]
    hidden = url.update_query_dict(dict.fromkeys(secret, HIDDEN))
    return hidden.render_as_string(hide_password=True).replace(quote_plus(HIDDEN), HIDDEN)


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
        self.place = shown(url)

    @abc.abstractmethod
    def begin(self, connection: sa.Connection, study: str) -> float:
        """Begin a transaction in which nobody else writes to a study.

        Returns:
            Seconds since the epoch, by the one clock that all who write to the study have in
            common.
        """

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
