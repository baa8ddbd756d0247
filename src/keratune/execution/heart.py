"""Signs of life: how workers that nobody supervises are told from dead ones.

Each process with workers raises a count beside the journal every few seconds. Whoever sees a count
stand still for longer than a lease takes its workers for gone, and their trials go back to the
queue. No two clocks are compared: an observer measures with its own, and only the time in which it
has looked, so that neither a clock that jumps nor a night in a laptop bag makes anybody look dead.
A worker that comes back finds its trial in other hands, and asks for the next one.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from keratune._processes import Presence, presence_of, process_of
from keratune._runtime import logger
from keratune.storage.base import Storage

BEAT = 3.0  # seconds between two signs of life

# Seconds without a sign after which a worker counts as gone: six signs missed, so that a requeued
# trial runs again within half a minute. A process that is seen to exist gets longer: it may be
# stopped, or hold the interpreter in a long call.
LEASE, LONG_LEASE = 20.0, 120.0


class Vigil:
    """Watches the counts of other workers.

    Args:
        clock: Returns seconds that never run backwards.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start having seen nobody."""
        self._clock = clock
        self._last_look = clock()
        self._seen: dict[str, tuple[int | None, float]] = {}

    def gone(self, beats: dict[str, int]) -> list[str]:
        """Return the workers that are gone.

        Args:
            beats: The counts as they are now; workers that never gave a sign have 0.
        """
        now = self._clock()
        looked = min(now - self._last_look, 2 * BEAT)  # whoever slept has not looked meanwhile
        self._last_look = now
        missing = []
        for worker, count in beats.items():
            before, still = self._seen.get(worker, (None, 0.0))
            still = still + looked if before == count else 0.0
            self._seen[worker] = count, still
            presence = presence_of(worker)
            lease = LONG_LEASE if presence is Presence.HERE else LEASE
            late = still >= lease and presence is not Presence.OWN
            if presence is Presence.DEAD or late:
                missing.append(worker)
        return missing

    def forget(self, worker: str) -> None:
        """Take note that a worker's count was dropped: if it comes back, it counts from 1 again."""
        self._seen.pop(worker, None)


@contextlib.contextmanager
def beating(
    storage: Storage,
    worker: str,
    others: Callable[[], set[str]],
    bury: Callable[[str], object],
) -> Iterator[None]:
    """Give signs of life while the block runs, and notice workers that give none.

    Args:
        storage: Where the counts are.
        worker: The name of a worker of this process.
        others: Returns the processes that are known to have trials in hand.
        bury: Settles what the workers of a process have left; called from a thread of its own.
    """
    own, ended = process_of(worker), threading.Event()
    vigil = Vigil()

    def look() -> None:
        known = dict.fromkeys(others(), 0) | dict(storage.beats())
        known.pop(own, None)
        for name in vigil.gone(known):
            logger.debug("the worker %s is gone", name)
            bury(name)
            storage.forget(name)
            vigil.forget(name)

    def live() -> None:
        while not ended.wait(BEAT):
            attempt(lambda: storage.beat(own))
            attempt(look)

    def attempt(act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:  # what is wrong with the storage, the training meets itself
            logger.debug("no sign of life could be given: %s", error)

    attempt(lambda: storage.beat(own))
    thread = threading.Thread(target=live, name="keratune-heart", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        with contextlib.suppress(Exception):
            storage.forget(own)
