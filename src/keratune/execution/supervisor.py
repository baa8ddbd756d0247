"""Seeing to workers that run elsewhere: start them, notice what happens to them, end them.

What the workers do is in the study. The supervisor reads it a few times per second, tells the
display what is new, and looks after the workers' processes, which a `Fleet` starts and ends:

==============================  ==================================================================
a worker                        the supervisor
==============================  ==================================================================
has nothing more to do          lets it go
has grown too large             starts a new one in its place, between two trials
dies                            gives its trial back to the study and starts a new one
uses more than `memory_limit`   kills it; its trial has run out of memory
is late with a trial            kills it when it has not ended the trial by itself
raises                          ends all the others and raises the same
==============================  ==================================================================
"""

from __future__ import annotations

import abc
import dataclasses
import enum
import time
from collections import deque
from collections.abc import Collection, Iterator, Sequence

from keratune._processes import process_of
from keratune._runtime import logger
from keratune.errors import FatalRuntimeError
from keratune.execution.base import Search, WorkerLimits
from keratune.halt import Urgency
from keratune.reporting.following import Following
from keratune.study import MOST_DEATHS
from keratune.training import failures

# Seconds between two looks. Each costs about a millisecond, and people see no faster.
TICK = 0.1
MEMORY_TICK = 0.5  # a worker that allocates a gigabyte per second is caught at half of one

# A trial ends by itself at the first batch behind `trial_timeout`. Its worker is killed when it has
# not done so after this part of the timeout more, and at least so many seconds.
GRACE, LEAST_GRACE = 0.1, 5.0

# Seconds in which workers that were asked to stop at once may end their batch and save.
PATIENCE = 60.0

# Deaths for each worker, without an epoch or a trial ended by any of them, that end the search: one
# more than make a study take a trial for the cause.
DEATHS = MOST_DEATHS + 1


class Way(enum.Enum):
    """How a worker has ended."""

    DONE = "done"  # it found nothing more to do, or was asked to end
    REPLACED = "replaced"  # it has left between two batches, and another one is to go on
    RAISED = "raised"  # what it raised ends the search
    DIED = "died"


@dataclasses.dataclass(frozen=True)
class Named:
    """The worker in a place has told its name in the study."""

    place: int
    worker: str


@dataclasses.dataclass(frozen=True)
class Failed:
    """A trial has raised."""

    trial_id: str
    kind: str
    excerpt: str


@dataclasses.dataclass(frozen=True)
class Ended:
    """The worker in a place has ended; `message` says what is known, `error` what it raised."""

    place: int
    way: Way
    message: str = ""
    error: BaseException | None = None


News = Named | Failed | Ended


class Fleet(abc.ABC):
    """Starts and ends workers, one in each of its places.

    Attributes:
        places: How many workers there are at most.
    """

    places: int

    @abc.abstractmethod
    def start(self, place: int) -> None:
        """Start a worker in a place that has none."""

    @abc.abstractmethod
    def poll(self, seconds: float) -> Sequence[News]:
        """Return what has happened, waiting at most so long for the first of it.

        What workers have printed is printed here, under the name of their trial.
        """

    @abc.abstractmethod
    def tell(self, place: int, urgency: Urgency, reason: str, *, pauses: bool) -> None:
        """Ask a worker to end; see `keratune.halt.Halt.request`."""

    @abc.abstractmethod
    def kill(self, place: int) -> None:
        """End a worker at once, whatever it does, with all processes that it has started.

        An `Ended` follows; a place without a worker stays as it is.
        """

    @abc.abstractmethod
    def at_work(self) -> Collection[int]:
        """Return the places of the workers that have not ended, or of which `poll` has to tell."""

    def memory(self, place: int) -> int | None:
        """Return the bytes of memory that a worker has for itself; None where that is not known."""
        return None


@dataclasses.dataclass
class _Worker:
    """What the supervisor knows of a worker: its name, and why it was killed, for which trial."""

    name: str | None = None
    kind: str = failures.LOST
    cause: str = ""
    trial: int | None = None


class Supervisor:
    """Runs a search with a fleet.

    Args:
        search: The search.
        fleet: Its workers.
        limits: What each of them may take.
    """

    def __init__(self, search: Search, fleet: Fleet, limits: WorkerLimits) -> None:
        """Keep the parts; `run` starts the workers."""
        self._search = search
        self._fleet = fleet
        own = limits.trial_timeout
        self._timeout = search.trial_timeout if own is None else own
        self._memory_limit = limits.memory
        self._following = Following(search.study.history, search.progress)
        self._workers: dict[int, _Worker] = {}
        self._processes: set[str] = set()  # all that have been, of workers that have told a name
        self._unheeded: deque[News] = deque()  # what follows may raise, and the rest is not lost
        self._begun: dict[tuple[int, int], float] = {}  # (trial, lease) -> when it was first seen
        self._told, self._told_at = Urgency.NONE, 0.0
        self._deaths, self._got_on = 0, self._progress_made()
        self._memory_seen = 0.0

    def run(self) -> None:
        """Start the workers, and return when all have ended and nothing is left to do.

        Raises:
            FatalRuntimeError: Workers die again and again.
            BaseException: What a worker has raised that ends the search.
        """
        try:
            for place in range(self._fleet.places):
                self._start(place)
            while self._workers:
                self._round()
                if not self._workers and self._has_left_trials():
                    self._start(0)
        finally:
            self._end_all()
            self._look()

    def _start(self, place: int) -> None:
        self._fleet.start(place)
        self._workers[place] = _Worker()

    def _round(self) -> None:
        self._search.study.sync()
        self._unheeded += self._fleet.poll(TICK)
        while self._unheeded:
            self._heed(self._unheeded.popleft())
        self._following.update()
        self._pass_on_halt()
        self._watch_time()
        self._watch_memory()

    def _look(self) -> None:
        """Read the journal, and show what is new."""
        self._search.study.sync()
        self._following.update()

    def _heed(self, news: News) -> None:
        if isinstance(news, Named):
            self._workers[news.place].name = news.worker
            self._processes.add(process_of(news.worker))
        elif isinstance(news, Failed):
            self._look()  # the display has to know the trial
            number = self._search.study.history.number_of(news.trial_id)
            if number is not None:
                self._following.trial_failed(number, news.kind, news.excerpt)
        else:
            self._settle(news)

    def _settle(self, news: Ended) -> None:
        """Do what follows from the end of a worker."""
        worker = self._workers.pop(news.place)
        if news.way is Way.RAISED and news.error is not None:
            raise news.error
        self._search.study.sync()
        died = news.way is Way.DIED or self._has_trials(worker)
        if died:
            self._bury(worker, news)
        if (died or news.way is Way.REPLACED) and not self._search.halt.requested():
            self._start(news.place)

    def _has_trials(self, worker: _Worker) -> bool:
        history, process = self._search.study.history, process_of(worker.name or "")
        return process in {process_of(history[number].worker or "-") for number in history.running}

    def _bury(self, worker: _Worker, news: Ended) -> None:
        """Give back what a dead worker had, and refuse to go on when nothing else happens."""
        message = worker.cause or news.message
        logger.debug("a worker has ended: %s", message)
        if not self._lose(worker, message) and not worker.cause:
            self._search.progress.say(message)
        got_on = self._progress_made()
        self._deaths = 1 if got_on > self._got_on else self._deaths + 1
        self._got_on = got_on
        if self._deaths >= DEATHS * self._fleet.places:
            raise FatalRuntimeError(
                f"{self._deaths} worker processes in a row have died, and no trial has got on. The "
                f"last one: {message}\nRun the search with `executor=None` to see what is wrong."
            )

    def _lose(self, worker: _Worker, message: str) -> bool:
        """Settle what a dead worker had in hand; tell whether it had anything."""
        if worker.name is None:
            return False
        self._look()  # the display has to know the trials
        study = self._search.study
        left = study.lose(worker.name, worker.kind, message, worker.trial)
        for number in left:
            if worker.trial in (None, number):
                self._following.trial_failed(number, worker.kind, message)
            if number in study.history.queue:
                name = study.history[number].trial_id
                self._search.progress.say(f"Trial {name} goes on in another worker.")
        return bool(left)

    def _progress_made(self) -> int:
        history = self._search.study.history
        return history.epochs + len(history.ended)

    def _has_left_trials(self) -> bool:
        """Tell whether trials wait that came back to the queue when the last workers had gone."""
        study = self._search.study
        study.sync()
        spent = study.limits.spent(study.history) >= 1.0
        return bool(study.history.queue) and not spent and not self._search.halt.requested()

    # ------------------------------------------------------------------ ending workers

    def _pass_on_halt(self) -> None:
        """Tell the workers what the search's halt asks for; kill those that do not listen."""
        halt = self._search.halt
        if halt.requested() and halt.urgency > self._told:
            self._told, self._told_at = halt.urgency, time.monotonic()
            for place in self._workers:
                self._fleet.tell(place, halt.urgency, halt.reason, pauses=halt.pauses)
        late = time.monotonic() - self._told_at > PATIENCE
        if self._told is Urgency.BATCH and late:
            for place in self._workers:
                self._kill(place, failures.LOST, "it did not stop when it was asked to")

    def _watch_time(self) -> None:
        """Kill workers whose trial is late."""
        if self._timeout is None:
            return
        now, allowed = time.monotonic(), self._timeout + max(self._timeout * GRACE, LEAST_GRACE)
        running = {(n, lease): place for n, lease, place in self._running()}
        self._begun = {key: self._begun.get(key, now) for key in running}
        for key, place in running.items():
            if now - self._begun[key] > allowed:
                late = f"the trial took longer than {self._timeout:.10g} s"
                self._kill(place, failures.TIMED_OUT, late, key[0])

    def _running(self) -> Iterator[tuple[int, int, int]]:
        """Return the trials that workers have in hand: number, lease and place."""
        history = self._search.study.history
        places = {process_of(w.name or ""): place for place, w in self._workers.items()}
        for number in sorted(history.running):
            record = history[number]
            place = places.get(process_of(record.worker or ""))
            if place is not None:
                yield number, record.lease, place

    def _watch_memory(self) -> None:
        """Kill workers that use too much memory."""
        now = time.monotonic()
        if self._memory_limit is None or now - self._memory_seen < MEMORY_TICK:
            return
        self._memory_seen = now
        for place in self._workers:
            used = self._fleet.memory(place) or 0
            if used > self._memory_limit:
                trials = [number for number, _, where in self._running() if where == place]
                self._kill(
                    place,
                    failures.OUT_OF_MEMORY,
                    f"the worker used {used / 2**20:.0f} MiB of memory, more than `memory_limit` "
                    f"({self._memory_limit / 2**20:.0f} MiB)",
                    trials[0] if len(trials) == 1 else None,
                )

    def _kill(self, place: int, kind: str, cause: str, trial: int | None = None) -> None:
        """Kill a worker, unless that was done; `trial`: the one that is alone to blame."""
        worker = self._workers[place]
        if not worker.cause:
            worker.kind, worker.cause, worker.trial = kind, cause, trial
            self._fleet.kill(place)
            if worker.name is not None:  # before others notice that it is gone
                self._lose(worker, cause)

    def _end_all(self) -> None:
        """End the workers that are left; what they had in hand waits in the queue."""
        for place in list(self._fleet.at_work()):
            self._fleet.kill(place)
        while self._fleet.at_work():
            self._unheeded += self._fleet.poll(TICK)
        self._workers.clear()
        told = (news.worker for news in self._unheeded if isinstance(news, Named))
        gone = self._processes.union(map(process_of, told))
        if gone:
            self._search.study.recover(lambda name: process_of(name) not in gone, died=False)
