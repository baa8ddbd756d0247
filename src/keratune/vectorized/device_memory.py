"""Free memory of the device that programs run on."""

from __future__ import annotations

import math
from pathlib import Path

import jax

# Share of the free memory that may be planned with: allocators lose some to fragments.
USABLE = 0.9


def free_bytes() -> float:
    """Return the bytes that a program may take on the default device; infinite where unknown."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return USABLE * (stats["bytes_limit"] - stats.get("bytes_in_use", 0))
    if jax.default_backend() == "cpu":
        return USABLE * _available_on_host()
    return math.inf


def _available_on_host() -> float:
    """Return what Linux says it could give without swapping; infinite elsewhere."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return math.inf
    found = [line.split() for line in lines if line.startswith("MemAvailable:")]
    return float(found[0][1]) * 1024 if found else math.inf
