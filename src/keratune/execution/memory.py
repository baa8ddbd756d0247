"""How much memory a process has for itself, which mapped files are no part of; and limits to it."""

from __future__ import annotations

from pathlib import Path

from keratune.errors import FatalValueError
from keratune.model_limits import ModelLimits

# Bytes by which the memory of a worker may grow, from the end of its first trial on, before a fresh
# one takes its place: what the programs of hundreds of small models take, and a small part of what
# machines have. A fresh process costs some seconds.
MEMORY_GROWTH = "1GiB"


def private_bytes(process_id: int) -> int | None:
    """Return the bytes that a process has for itself; None where the system does not tell.

    Args:
        process_id: The process. One that has ended has none to tell.
    """
    try:
        status = Path(f"/proc/{process_id}/status").read_text(encoding="utf-8")
    except OSError:
        return None
    for line in status.splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return None


def bytes_of(name: str, value: float | str) -> float:
    """Return the bytes that a user has written for an argument.

    Raises:
        FatalValueError: It is no amount of memory.
    """
    try:
        return ModelLimits({"memory": value}).bounds["memory"]
    except ValueError as error:
        raise FatalValueError(
            f"`{name}` is a positive number of bytes, or a text such as '8GB'. Received: "
            f"{name}={value!r}."
        ) from error
