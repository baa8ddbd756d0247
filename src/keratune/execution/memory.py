"""How much memory a process has for itself, which mapped files are no part of."""

from __future__ import annotations

from pathlib import Path


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
