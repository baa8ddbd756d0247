"""What a worker process and its parent tell each other over the worker's output.

A worker's standard output and error belong to the user's code. Between its lines the worker writes
marks, lines of JSON behind a character that texts do not hold: which trial begins and ends, so that
the parent can put the trial's name before every line, and what has failed. Its exit code tells how
it has ended, and an exception that ends the search lies in a file.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

RECORD_SEPARATOR = "\x1e"  # ASCII's own for this
MARK = f"{RECORD_SEPARATOR}keratune "

# Lines of a dead worker's standard error that its parent shows: a traceback's end.
LAST_LINES = 20

# Exit codes beside 0, done: another process is to take the worker's place; it has left an exception
# in its error file. 64 to 78 belong to sysexits.h, those from 126 on to shells and signals.
REPLACED, RAISED = 90, 91


def error_file(folder: Path, worker: str) -> Path:
    """Return where a worker leaves what it has raised."""
    return folder / f"error-{worker}.pickle"


def write_mark(stream: TextIO, **told: Any) -> None:
    """Write a mark, at once."""
    stream.write(f"{MARK}{json.dumps(told)}\n")
    stream.flush()


class Voice:
    """What a worker writes, as its parent reads it.

    Args:
        worker: What a user calls it; stands before lines that belong to no trial.
    """

    def __init__(self, worker: str) -> None:
        """Have heard nothing."""
        self._worker = worker
        self._marks: list[dict[str, Any]] = []
        self._streams = {
            "stdout": Lines(worker, self._marks.append),
            "stderr": Lines(worker, lambda mark: None),  # the same again, for the trial's name
        }

    def read(self, stream: str, line: bytes) -> tuple[str, list[dict[str, Any]]]:
        """Return what is to be shown of a line, "" for nothing, and the marks in it.

        Args:
            stream: "stdout" or "stderr".
            line: The line.
        """
        shown = self._streams[stream].read(line)
        marks = self._marks.copy()
        self._marks.clear()
        return shown, marks

    def obituary(self, where: str, cause: str) -> str:
        """Return what is known about the worker's death, for the user."""
        last = "\n".join(self._streams["stderr"].last)
        said = f" The last that it wrote to standard error:\n{last}" if last else ""
        return f"{self._worker} ({where}) has died: {cause}{said}"


class Lines:
    """One stream of a worker, as its parent reads it.

    Args:
        worker: What stands before lines that belong to no trial.
        heed: Called with each mark.
    """

    def __init__(self, worker: str, heed: Callable[[dict[str, Any]], None]) -> None:
        """Start outside of any trial."""
        self._worker = self._prefix = worker
        self._heed = heed
        self.last: deque[str] = deque(maxlen=LAST_LINES)

    def read(self, line: bytes) -> str:
        """Return what is to be shown of a line, "" for nothing; marks are heeded."""
        text, mark, told = line.decode(errors="replace").rstrip("\r\n").partition(MARK)
        shown = self._shown(text) if text or not mark else ""
        if mark:
            self._follow(told)
        return shown

    def _shown(self, text: str) -> str:
        """Return a line behind its trial's name, as a terminal would show it in the end."""
        seen = text.rpartition("\r")[2]
        self.last.append(seen)
        return f"{self._prefix} | {seen}\n"

    def _follow(self, told: str) -> None:
        try:
            mark = json.loads(told)
        except ValueError:  # cut short: the worker was killed while it wrote
            return
        if "began" in mark:
            self._prefix = f"Trial {mark['began']}"
        elif "ended" in mark:
            self._prefix = self._worker
        self._heed(mark)
