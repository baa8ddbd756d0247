"""JAX's persistent compilation cache in the project's folder.

A trial whose program was compiled before, in this process, in another worker or before a restart,
reads it from disk: a small network's build and first epoch take 0.09 s instead of 0.5 s
(`benchmarks/memory.py` shows the effect over a search). Whoever has set a cache of their own
keeps it.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

CACHE_FOLDER = "jax_cache"

# Compiled programs of small networks take 10 to 100 kB; this holds thousands of them.
LARGEST_CACHE = 256 * 2**20  # bytes

# With JAX 0.4.38 and 0.5.3 on CPU, programs read back from the cache gave other numbers, and
# crashed the process when they were freed. From 0.6.2 on the test suite holds bit for bit.
OLDEST_JAX = (0, 6, 2)

_SETTINGS = {
    "jax_persistent_cache_min_compile_time_secs": 0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}


@contextlib.contextmanager
def compilation_cache(project: Path) -> Iterator[None]:
    """Keep compiled programs in the project's folder while the block runs.

    Does nothing on other backends, with a JAX that is too old, or where the user has set
    `jax_compilation_cache_dir`.

    Args:
        project: The project's folder.
    """
    if "jax" not in sys.modules:
        yield
        return
    import jax
    from jax.experimental.compilation_cache import compilation_cache as cache

    if jax.config.jax_compilation_cache_dir is not None or jax.__version_info__ < OLDEST_JAX:
        yield
        return
    folder = project / CACHE_FOLDER
    wanted = {**_SETTINGS, "jax_compilation_cache_dir": str(folder)}
    before = {name: getattr(jax.config, name) for name in wanted}
    for name, value in wanted.items():
        jax.config.update(name, value)
    cache.reset_cache()  # JAX decides once whether there is a cache, at its first compilation
    try:
        yield
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
        cache.reset_cache()
        drop_oldest(folder, LARGEST_CACHE)


def drop_oldest(folder: Path, largest: int) -> None:
    """Delete the oldest files of a folder until it holds at most `largest` bytes."""
    with contextlib.suppress(OSError):  # another worker may be tidying up as well
        found = [(file, file.stat()) for file in folder.iterdir() if file.is_file()]
        excess = sum(stat.st_size for _, stat in found) - largest
        for file, stat in sorted(found, key=lambda entry: entry[1].st_mtime):
            if excess <= 0:
                return
            file.unlink(missing_ok=True)
            excess -= stat.st_size
