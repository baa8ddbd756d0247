"""Worker processes on this machine: starting them, reading what they write, ending them.

Each process heads a session and a group of its own, so that Ctrl-C reaches the parent only, and so
that what a worker has started ends with it. Three threads wait for each: for the lines of its two
streams and for its end.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import queue
import signal
import site
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from keratune.errors import FatalRuntimeError
from keratune.execution.devices import Variables
from keratune.execution.lines import RAISED, REPLACED, Voice, error_file
from keratune.execution.memory import private_bytes
from keratune.execution.packing import Packed
from keratune.execution.supervisor import Ended, Failed, Fleet, Named, News, Way
from keratune.halt import Urgency

# The folder that has this package, which the processes are to import too.
_HOME = str(Path(__file__).resolve().parents[2])

WORKER = "keratune.execution.local_worker"  # run, and imported nowhere

# Seconds that the end of a process waits for what it has written last, which a pipe holds back for
# milliseconds; a process of the user's that left its group may hold the pipe open for ever.
LAST_WORDS = 2.0

Happening = tuple["Process", str, Any]  # a stream's name and a line of it, or "ended" and the code


class WorkerTraceback(Exception):
    """Where a worker process has raised what its parent raises; shown as its cause."""

    def __str__(self) -> str:
        """Return the worker's traceback, on lines of its own."""
        return f"\n{self.args[0]}"


def heard(place: int, voice: Voice, stream: str, line: bytes) -> list[News]:
    """Print a line of a worker, and return what the marks in it tell the supervisor."""
    shown, marks = voice.read(stream, line)
    if shown:
        _write(stream, shown)
    news: list[News] = []
    for mark in marks:
        if "worker" in mark:
            news.append(Named(place, mark["worker"]))
        elif "failed" in mark:
            news.append(Failed(mark["failed"], mark["kind"], mark["excerpt"]))
    return news


def unpacked_error(content: bytes) -> BaseException:
    """Return what a worker has raised, with its traceback as the cause."""
    error: BaseException
    error, told = pickle.loads(content)
    error.__cause__ = WorkerTraceback(told)
    return error


class Process:
    """A worker process.

    Args:
        place: Its place, from 0.
        packed: What it works on.
        environment: What it starts with.
        limits: See `keratune.execution.working.join`.
        happenings: Where its lines and its end go.

    Attributes:
        over: Whether its end is among the happenings.
        voice: What it writes.
    """

    def __init__(
        self,
        place: int,
        packed: Packed,
        environment: Variables,
        limits: Mapping[str, float | None],
        happenings: queue.SimpleQueue[Happening],
    ) -> None:
        """Start it."""
        self.place = place
        self.voice = Voice(f"Worker {place}")
        self._happenings = happenings
        self.over = False
        name = f"worker{place}"
        self._error_file = error_file(packed.folder, name)
        self._lifeline: int | None = None
        self._popen = self._started([str(packed.file), name, json.dumps(limits)], environment)
        self._readers = {
            name: _thread(self._read, name, getattr(self._popen, name))
            for name in ("stdout", "stderr")
        }
        _thread(self._wait)

    def _started(self, arguments: Sequence[str], environment: Variables) -> subprocess.Popen[bytes]:
        command = [sys.executable, *(f"-W{option}" for option in sys.warnoptions)]
        command += ["-P"] if sys.version_info >= (3, 11) else []  # files beside are no modules
        command += ["-m", WORKER, *arguments]
        inherited: list[int] = []
        if sys.platform == "linux":
            end, self._lifeline = os.pipe()
            inherited, command = [end], [*command, str(end)]
        try:
            return subprocess.Popen(
                command,
                env=importing(environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                pass_fds=inherited,
            )
        finally:
            for end in inherited:
                os.close(end)

    def _read(self, name: str, source: IO[bytes]) -> None:
        for line in source:  # to its end: nobody who writes is to be held up
            if not self.over:
                self._happenings.put((self, name, line))

    def _wait(self) -> None:
        code = self._popen.wait()
        self.kill()  # what it has started and left behind
        until = time.monotonic() + LAST_WORDS
        for reader in self._readers.values():
            reader.join(max(0.0, until - time.monotonic()))
        self._happenings.put((self, "ended", code))
        self.over = True

    def tell(self, **order: Any) -> None:
        """Write an order to its standard input; one that has ended hears nothing."""
        source = self._popen.stdin
        with contextlib.suppress(OSError):
            if source is not None:
                source.write(f"{json.dumps(order)}\n".encode())
                source.flush()

    def kill(self) -> None:
        """End it and all that it has started."""
        with contextlib.suppress(OSError):
            if hasattr(os, "killpg"):
                os.killpg(self._popen.pid, signal.SIGKILL)
            else:
                self._popen.kill()

    def memory(self) -> int | None:
        """Return the bytes of memory that it has for itself."""
        return private_bytes(self._popen.pid)

    def end(self, code: int) -> Ended:
        """Give back what it has held, and return how it has ended."""
        read = [
            getattr(self._popen, n) for n, reader in self._readers.items() if not reader.is_alive()
        ]
        for stream in (self._popen.stdin, *read):  # closing one that is read would wait for a line
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        if self._lifeline is not None:
            os.close(self._lifeline)
        if code == RAISED:
            return Ended(self.place, Way.RAISED, error=self._error())
        ways = {0: Way.DONE, REPLACED: Way.REPLACED}
        return Ended(self.place, ways.get(code, Way.DIED), self._obituary(code))

    def _error(self) -> BaseException:
        """Return what it has raised, with its traceback as the cause."""
        try:
            return unpacked_error(self._error_file.read_bytes())
        except OSError as missing:
            return FatalRuntimeError(
                f"Worker {self.place} has raised, but not said what: {missing}"
            )

    def _obituary(self, code: int) -> str:
        """Return what is known about its end, for the user."""
        how = f"it exited with code {code}"
        if code < 0:
            how = f"it was ended by {_signal_name(-code)}"
            if -code == signal.SIGKILL:
                how += ", as the system does when memory runs out"
        return self.voice.obituary(f"process {self._popen.pid}", f"{how}.")


def _signal_name(number: int) -> str:
    """Return a signal's name; those of the real-time ones have none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def importing(environment: Variables) -> Variables:
    """Return an environment in which a fresh interpreter finds the package of this one."""
    installed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    if _HOME in installed | {site.getusersitepackages()}:
        return environment
    path = [_HOME, *filter(None, [environment.get("PYTHONPATH")])]
    return {**environment, "PYTHONPATH": os.pathsep.join(path)}


def _write(name: str, text: str) -> None:
    """Write to a standard stream; characters that it does not know become question marks."""
    stream = getattr(sys, name)
    try:
        stream.write(text)
    except UnicodeEncodeError as error:
        stream.write(text.encode(error.encoding, "replace").decode(error.encoding))


def _thread(target: Any, *arguments: Any) -> threading.Thread:
    thread = threading.Thread(target=target, args=arguments, daemon=True)
    thread.start()
    return thread


class Processes(Fleet):
    """Worker processes on this machine.

    Args:
        packed: What they work on.
        environments: What the process in each place starts with.
        limits: See `keratune.execution.working.join`.
    """

    def __init__(
        self,
        packed: Packed,
        environments: Sequence[Variables],
        limits: Mapping[str, float | None],
    ) -> None:
        """Keep what they start with."""
        self.places = len(environments)
        self._packed = packed
        self._environments = environments
        self._limits = limits
        self._processes: dict[int, Process] = {}
        self._happenings: queue.SimpleQueue[Happening] = queue.SimpleQueue()

    def start(self, place: int) -> None:
        self._processes[place] = Process(
            place, self._packed, self._environments[place], self._limits, self._happenings
        )

    def poll(self, seconds: float) -> Sequence[News]:
        news: list[News] = []
        until = time.monotonic() + seconds  # workers may write faster than this can be shown
        with contextlib.suppress(queue.Empty):
            happening = self._happenings.get(timeout=seconds)
            while True:
                news += self._told(*happening)
                if time.monotonic() >= until:
                    break
                happening = self._happenings.get_nowait()
        sys.stdout.flush()
        sys.stderr.flush()
        return news

    def _told(self, process: Process, what: str, content: Any) -> list[News]:
        """Print a line, or note an end; return the news in it."""
        if what == "ended":
            if self._processes.get(process.place) is process:
                del self._processes[process.place]
            return [process.end(content)]
        return heard(process.place, process.voice, what, content)

    def tell(self, place: int, urgency: Urgency, reason: str, *, pauses: bool) -> None:
        if place in self._processes:
            self._processes[place].tell(urgency=int(urgency), reason=reason, pauses=pauses)

    def kill(self, place: int) -> None:
        if place in self._processes:
            self._processes[place].kill()

    def at_work(self) -> Collection[int]:
        return [
            place
            for place, process in self._processes.items()
            if not (process.over and self._happenings.empty())
        ]

    def memory(self, place: int) -> int | None:
        return self._processes[place].memory() if place in self._processes else None
