"""Telling workers apart, and the living from the dead.

A worker's name is `host|process id|start of that process|label`. A process id alone is used again
by the system; together with the start it is not.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path


def _start_of(process_id: int) -> str:
    """Return when a process started, in the kernel's ticks; "" where the system does not tell."""
    try:
        fields = Path(f"/proc/{process_id}/stat").read_text(encoding="utf-8").rpartition(")")[2]
    except OSError:
        return ""
    return fields.split()[19]  # field 22, starttime; the first two stand before the parenthesis


def worker_name(label: str) -> str:
    """Return the name of a worker in this process."""
    process_id = os.getpid()
    return f"{socket.gethostname()}|{process_id}|{_start_of(process_id)}|{label}"


def is_other_live_process(worker: str) -> bool:
    """Tell whether a worker belongs to another process of this machine that still runs.

    A worker of this process counts as gone: whoever asks is about to take its trials up again. So
    does one of another machine: a folder that was moved must go on.
    """
    parts = worker.split("|")
    if len(parts) != 4 or parts[0] != socket.gethostname() or not parts[1].isdigit():
        return False
    process_id = int(parts[1])
    if process_id == os.getpid() or not _exists(process_id):
        return False
    return _start_of(process_id) == parts[2]


def is_not_dead(worker: str) -> bool:
    """Tell whether a worker may still run: it is of another machine, or its process is there."""
    parts = worker.split("|")
    if len(parts) != 4 or parts[0] != socket.gethostname() or not parts[1].isdigit():
        return True
    return _exists(int(parts[1])) and _start_of(int(parts[1])) == parts[2]


def _exists(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
