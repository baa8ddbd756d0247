"""Random streams derived from names, never from a shared generator.

Each use of chance in a study has a stream of its own, derived from the study's seed, the trial's
number and the purpose. Streams are independent (Philox-quality seeding by
`numpy.random.SeedSequence` over a BLAKE2b digest of the names), so two studies with different
seeds share nothing, and a resumed study draws what the uninterrupted one would have drawn.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator

import numpy as np


def _digest(seed: int, names: tuple[int | str, ...]) -> bytes:
    text = "\x1f".join(f"{type(name).__name__}:{name}" for name in (seed, *names))
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def stream(seed: int, *names: int | str) -> np.random.Generator:
    """Return the generator that belongs to `names` in a study with this seed.

    Args:
        seed: The study's seed; 0 is a seed like any other.
        *names: What the numbers are for, for example `(trial, "suggest", attempt)`.

    Returns:
        A fresh generator; equal arguments give equal generators.

    Example:
        ```python
        rng = stream(0, 17, "suggest")
        ```
    """
    return np.random.default_rng(int.from_bytes(_digest(seed, names), "big"))


def derived_seed(seed: int, *names: int | str) -> int:
    """Return a 32-bit seed for libraries that take one, derived like `stream`."""
    return int.from_bytes(_digest(seed, names)[:4], "big")


@contextlib.contextmanager
def numpy_seeded(seed: int) -> Iterator[None]:
    """Seed NumPy's global state, which foreign code without a random state of its own draws from.

    Afterwards it is what it was before.
    """
    before = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(before)
