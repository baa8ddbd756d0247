"""The time of day, as this process counts it.

The system's clock may jump: somebody sets it, or a machine wakes up. Within a process time goes on
evenly from what the clock said at first, so that durations between two of its events are right.
"""

from __future__ import annotations

import time

_START, _MONOTONIC = time.time(), time.monotonic()


def now() -> float:
    """Return seconds since the epoch, never less than before in this process."""
    return _START + (time.monotonic() - _MONOTONIC)
