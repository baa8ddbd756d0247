"""Telling workers apart, and the living from the dead.

A worker's name is `place|process id|start of that process|label`. A process id alone is used again
by the system; together with the start it is not.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import os
import socket
from pathlib import Path


def _start_of(process_id: int) -> str:
    """Return when a process started, in the kernel's ticks; "" where the system does not tell.

    A process that has ended, and that its parent has not taken note of yet, has no start either.
    """
    try:
        fields = Path(f"/proc/{process_id}/stat").read_text(encoding="utf-8").rpartition(")")[2]
    except OSError:
        return ""
    state, *rest = fields.split()
    return "" if state == "Z" else rest[18]  # field 22; the first two stand before the parenthesis


# What tells machines apart that were given one name: the number of the installation, which outlives
# a restart, else that of the kernel's present run, as where a container has no number of its own.
IDENTITIES = Path("/etc/machine-id"), Path("/proc/sys/kernel/random/boot_id")


@functools.cache
def _machine(identities: tuple[Path, ...]) -> str:
    """Return a short mark of this machine; "" where the system has none.

    machine-id(5) asks not to show the number itself, but a hash of it made for one purpose.
    """
    for path in identities:
        try:
            text = path.read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            continue
        if text not in ("", "uninitialized"):
            return hashlib.sha256(f"keratune {text}".encode()).hexdigest()[:12]
    return ""


def _place() -> str:
    """Return where process ids mean something: this machine, this container of it."""
    try:
        space = f":{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        space = ""
    machine = _machine(IDENTITIES)
    return socket.gethostname() + space + (f":{machine}" if machine else "")


def worker_name(label: str) -> str:
    """Return the name of a worker in this process."""
    process_id = os.getpid()
    return f"{_place()}|{process_id}|{_start_of(process_id)}|{label}"


def process_of(worker: str) -> str:
    """Return what the workers of one process have in common in their names; "" for no name."""
    return "|".join(worker.split("|")[:3])


class Presence(enum.Enum):
    """What can be said of the process of a worker."""

    OWN = "own"  # it is this process
    HERE = "here"  # it runs beside this one
    DEAD = "dead"  # it ran beside this one
    ELSEWHERE = "elsewhere"  # it is, or was, out of sight


def presence_of(worker: str) -> Presence:
    """Return what can be said of a worker's process, by its name or the process's."""
    parts = worker.split("|")
    if len(parts) < 3 or parts[0] != _place() or not parts[1].isdigit():
        return Presence.ELSEWHERE
    process_id = int(parts[1])
    if not _exists(process_id) or _start_of(process_id) != parts[2]:
        return Presence.DEAD
    return Presence.OWN if process_id == os.getpid() else Presence.HERE


def is_not_dead(worker: str) -> bool:
    """Tell whether a worker may still run: it is out of sight, or its process is there."""
    return presence_of(worker) is not Presence.DEAD


def is_other_live_process(worker: str) -> bool:
    """Tell whether a worker of another process may still run.

    A worker of this process counts as gone: whoever asks is about to take its trials up again.
    """
    return presence_of(worker) in (Presence.HERE, Presence.ELSEWHERE)


def _exists(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
