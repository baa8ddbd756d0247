"""Workers on a Ray cluster: actors that run the worker loop, wherever there is room for them.

Ray finds the room, starts and ends the actors, tells of those that have died, and carries the data:
what the workers need is put into its object store once, and the workers of a node share one copy of
the arrays. All else is as with worker processes on this machine. The journal stays with this
process, which answers the workers' questions to it (see `keratune.execution.ray_worker`).

Example:
    ```python
    executor = keratune.executors.Ray(workers=64, resources_per_worker={"GPU": 0.5, "CPU": 4})
    tuner = keratune.RandomSearch(build_model, "val_loss", directory="/shared", executor=executor)
    tuner.search(x, y, epochs=10, validation_split=0.2)
    ```
"""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, final

from keratune._processes import is_not_dead, worker_name
from keratune._runtime import require
from keratune.errors import FatalRuntimeError, FatalValueError
from keratune.execution import ray_worker
from keratune.execution.base import Executor, Search, WorkerLimits
from keratune.execution.devices import Variables, variables_of_share
from keratune.execution.lines import Voice
from keratune.execution.memory import MEMORY_GROWTH
from keratune.execution.packing import parcel
from keratune.execution.processes import heard, importing, unpacked_error
from keratune.execution.ray_worker import Answer, Message, RayWorker
from keratune.execution.supervisor import Ended, Fleet, News, Supervisor, Way
from keratune.halt import Urgency
from keratune.storage import Storage
from keratune.storage.remote import answer

# Seconds after which a killed actor counts as gone: Ray tells the end of one on a living node
# within milliseconds, and that of one on a node that is out of reach after a minute.
AFTER_KILL = 5.0

# Seconds of waiting for room for the first worker after which the user is told.
SILENCE = 20.0

MARKER = ".seen-by-nodes."

WAYS = {ray_worker.DONE: Way.DONE, ray_worker.REPLACED: Way.REPLACED}


@final
class Ray(Executor):
    """Runs trials in actors of Ray Core, on this machine or on a cluster.

    Where Ray was initialised before, that cluster is used and left running; otherwise this joins or
    starts one for the time of the search. Workers begin as soon as there is room for them, and new
    ones take the place of those that die, with their nodes too: a trial goes on from its last
    epoch. The project's folder must be seen by all nodes under the same path.

    Args:
        workers: How many at most.
        resources_per_worker: What Ray is to keep for each worker: "CPU", "GPU", which may be a part
            such as 0.5, "memory" in bytes, or resources of your own. 1 CPU where none is given.
        address: The cluster: "auto" for one that runs on this machine, "host:port", "ray://host:port"
            for one that this machine is no part of, or "local" for one that is started on this
            machine and ended with the search. None: the one that RAY_ADDRESS names, else one that
            runs on this machine, else "local".
        memory_limit: Memory that a worker may have for itself, in bytes or as a text such as
            "8GB". One that uses more is killed, and its trial has run out of memory. Linux only.
        trial_timeout: How long a trial may take, in place of the tuner's `trial_timeout`. Workers
            whose trial has not ended by itself a tenth later, and 5 seconds at least, are killed.
        memory_growth: How much the memory of a worker may grow before a fresh one takes its place,
            between two trials. Linux only.
        runtime_env: What Ray's `runtime_env` is to give the workers beside: packages, files,
            variables.

    Raises:
        MissingPackageError: Ray is not installed.
        FatalValueError: A number is not positive.

    Example:
        ```python
        kt.RandomSearch(build_model, "val_loss", executor=kt.executors.Ray(workers=8))
        kt.executors.Ray(workers=64, resources_per_worker={"GPU": 0.5}, address="auto")
        ```
    """

    def __init__(
        self,
        workers: int,
        resources_per_worker: Mapping[str, float] | None = None,
        address: str | None = None,
        memory_limit: float | str | None = None,
        trial_timeout: float | str | datetime.timedelta | None = None,
        *,
        memory_growth: float | str = MEMORY_GROWTH,
        runtime_env: Mapping[str, Any] | None = None,
    ) -> None:
        """Check the arguments; Ray is started or joined when a search begins."""
        if not isinstance(workers, int) or workers < 1:
            raise FatalValueError(f"`workers` must be 1 or more. Received: workers={workers!r}.")
        self.resources = {"CPU": 1.0, **(resources_per_worker or {})}
        for name, amount in self.resources.items():
            if amount < 0 or (name == "GPU" and amount > 1 and amount != int(amount)):
                raise FatalValueError(
                    "`resources_per_worker` has amounts that are not negative, of GPUs a part of "
                    f"one or whole ones. Received: {name}={amount!r}."
                )
        self._ray: Any = require("ray", extra="ray")
        self.workers = workers
        self.address = address
        self.limits = WorkerLimits.of(memory_limit, trial_timeout, memory_growth)
        self.runtime_env = dict(runtime_env or {})

    def run(self, search: Search) -> None:
        packed = parcel(search.parts())
        with self._connected(), _marked(search.folder) as marker:
            limits = self.limits.within()
            options = self._options(os.environ)
            content = self._ray.put(packed)

            def start(place: int) -> Any:
                kind = self._ray.remote(RayWorker).options(**options)
                return kind.remote(content, f"worker{place}", limits, marker)

            say = search.progress.say
            fleet = Actors(self._ray, self.workers, start, search.study.storage, say)
            Supervisor(search, fleet, self.limits).run()

    @contextlib.contextmanager
    def _connected(self) -> Iterator[None]:
        """Have Ray while the block runs; what was running before goes on."""
        if self._ray.is_initialized():
            yield
            return
        named = self.address is None and "RAY_ADDRESS" in os.environ
        own = self.address in (None, "local") and not named
        with _own_signals():  # Ray puts a handler of its own in the place of the search's
            self._ray.init(self.address, **({"include_dashboard": False} if own else {}))
        try:
            yield
        finally:
            self._ray.shutdown()

    def _options(self, environment: Variables) -> dict[str, Any]:
        """Return what Ray is told about each actor."""
        amounts = dict(self.resources)
        options = {"num_cpus": amounts.pop("CPU"), "num_gpus": amounts.pop("GPU", 0)}
        if "memory" in amounts:
            options["memory"] = amounts.pop("memory")
        variables = {
            **variables_of_share(options["num_cpus"], options["num_gpus"], environment),
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # without a GPU, ours say that there is none
            **self.runtime_env.get("env_vars", {}),
        }
        if path := importing({}).get("PYTHONPATH"):
            variables = {"PYTHONPATH": f"{path}{os.pathsep}${{PYTHONPATH}}", **variables}
        return {
            **options,
            "resources": amounts,
            "max_concurrency": 2,  # an exchange waits while an order comes
            "max_restarts": 0,  # the supervisor starts a new one when the trial is given back
            "runtime_env": {**self.runtime_env, "env_vars": variables},
        }


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Leave the handling of SIGTERM as it was before the block."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)


@contextlib.contextmanager
def _marked(folder: Path) -> Iterator[str]:
    """Have a file in a folder, whose name nobody has looked for before, while the block runs.

    Those that killed processes have left are deleted.
    """
    for left in folder.glob(f"{MARKER}*"):
        with contextlib.suppress(OSError):
            if not is_not_dead(left.read_text(encoding="utf-8")):
                left.unlink()
    marker = folder / f"{MARKER}{uuid.uuid4().hex}"
    marker.write_text(worker_name("driver"), encoding="utf-8")
    try:
        yield marker.name
    finally:
        marker.unlink(missing_ok=True)


class Actor:
    """A worker's actor, as the driver knows it.

    Args:
        place: Its place, from 0.
        handle: Ray's handle of it.

    Attributes:
        call: The call of `exchange` that runs.
        memory: The bytes of memory that it had for itself at the last exchange.
        where: Its node and process; None while there was no room for it.
        voice: What it writes.
        killed: When it was killed.
    """

    def __init__(self, place: int, handle: Any) -> None:
        """Call for what it has to say."""
        self.place = place
        self.handle = handle
        self.memory: int | None = None
        self.where: str | None = None
        self.killed: float | None = None
        self.voice = Voice(f"Worker {place}")
        self.call = handle.exchange.remote([])


def cause_of(error: Exception) -> str:
    """Return the part of Ray's message on an actor's death that says why."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    telling = [line.strip() for line in lines if " because " in line]
    cause = " ".join(telling or lines[-1:])
    return re.split(" Worker exit type| Node Id", cause)[0]


class Actors(Fleet):
    """Workers in actors of Ray.

    Args:
        ray: The package.
        places: How many there are at most.
        start: Makes the actor of a place.
        storage: The journal, for the workers' questions.
        say: Tells the user a line.
    """

    def __init__(
        self,
        ray: Any,
        places: int,
        start: Callable[[int], Any],
        storage: Storage,
        say: Callable[[str], None],
    ) -> None:
        """Start none yet."""
        self.places = places
        self._ray = ray
        self._make = start
        self._storage = storage
        self._say = say
        self._actors: dict[int, Actor] = {}
        self._news: list[News] = []
        self._silent_since: float | None = time.monotonic()

    def start(self, place: int) -> None:
        self._actors[place] = Actor(place, self._make(place))

    def poll(self, seconds: float) -> Sequence[News]:
        until = time.monotonic() + seconds
        while not self._news and (left := until - time.monotonic()) > 0:
            calls = {actor.call: actor for actor in self._actors.values()}
            if not calls:
                break
            ready, _ = self._ray.wait(list(calls), timeout=left)
            if ready:
                ready, _ = self._ray.wait(list(calls), num_returns=len(calls), timeout=0)
            for actor in map(calls.__getitem__, ready):
                if self._actors.get(actor.place) is actor:  # else the end of another was its own
                    self._hear(actor)
        self._give_up_on_the_killed()
        self._tell_of_waiting()
        sys.stdout.flush()
        sys.stderr.flush()
        news, self._news = self._news, []
        return news

    def _hear(self, actor: Actor) -> None:
        """Take what an actor has said, answer its questions, and call for more."""
        try:
            messages, actor.memory = self._ray.get(actor.call)
        except self._ray.exceptions.RayError as error:
            self._end(actor, self._death(actor, error))
            return
        answers: list[Answer] = []
        for kind, *content in messages:
            if kind == ray_worker.HERE:
                actor.where = "node {}, process {}".format(*content)
                self._silent_since = None
            elif kind == ray_worker.LINE:
                self._news += heard(actor.place, actor.voice, *content)
            elif kind == ray_worker.QUESTION:
                answers.append(self._answer(*content))
            else:
                self._end(actor, _end_of(actor.place, (kind, *content)))
                return
        actor.call = actor.handle.exchange.remote(answers)

    def _death(self, actor: Actor, error: Exception) -> Ended:
        """Return the end of an actor whose call Ray could not bring back."""
        unfit = isinstance(error, self._ray.exceptions.RuntimeEnvSetupError)
        if unfit or getattr(error, "actor_init_failed", False):
            told = FatalRuntimeError(f"Worker {actor.place} could not be started: {error}")
            return Ended(actor.place, Way.RAISED, error=told)
        away = isinstance(error, self._ray.exceptions.ActorUnavailableError)
        cause = "its node cannot be reached." if away else cause_of(error)
        return Ended(actor.place, Way.DIED, actor.voice.obituary(str(actor.where), cause))

    def _end(self, actor: Actor, ended: Ended) -> None:
        """Note the end of an actor; with nothing more to do, it is the end of those that wait."""
        del self._actors[actor.place]
        self._ray.kill(actor.handle)
        self._news.append(ended)
        while ended.way is Way.DONE and (waiting := self._waiting()) is not None:
            self._end(waiting, Ended(waiting.place, Way.DONE))

    def _waiting(self) -> Actor | None:
        """Return an actor for which there was no room yet."""
        return next((a for a in self._actors.values() if a.where is None), None)

    def _answer(self, number: int, question: str, arguments: Sequence[Any]) -> Answer:
        """Answer a question to the journal; what that raises is for the worker."""
        try:
            return number, answer(self._storage, question, *arguments), None
        except Exception as error:
            return number, None, error

    def _give_up_on_the_killed(self) -> None:
        now = time.monotonic()
        for actor in list(self._actors.values()):
            if actor.killed is not None and now - actor.killed > AFTER_KILL:
                message = f"Worker {actor.place} ({actor.where}) was ended."
                self._end(actor, Ended(actor.place, Way.DIED, message))

    def _tell_of_waiting(self) -> None:
        """Tell the user, once, that there is no room for a single worker."""
        since = self._silent_since
        if since is not None and time.monotonic() - since > SILENCE:
            self._silent_since = None
            self._say(
                "No worker has begun yet: Ray waits for room. The cluster has "
                f"{_listed(self._ray.cluster_resources())}, of which are free "
                f"{_listed(self._ray.available_resources())}. Ask for less by "
                "`resources_per_worker`, or let other work end."
            )

    def tell(self, place: int, urgency: Urgency, reason: str, *, pauses: bool) -> None:
        actor = self._actors.get(place)
        if actor is None:
            return
        if actor.where is None:
            self._end(actor, Ended(place, Way.DONE))
        else:
            order = {"urgency": int(urgency), "reason": reason, "pauses": pauses}
            actor.handle.order.remote(order)

    def kill(self, place: int) -> None:
        actor = self._actors.get(place)
        if actor is not None and actor.killed is None:
            actor.killed = time.monotonic()
            self._ray.kill(actor.handle)

    def at_work(self) -> Collection[int]:
        return list(self._actors)

    def memory(self, place: int) -> int | None:
        return self._actors[place].memory if place in self._actors else None


def _end_of(place: int, message: Message) -> Ended:
    kind, *content = message
    if kind == ray_worker.RAISED:
        return Ended(place, Way.RAISED, error=unpacked_error(*content))
    return Ended(place, WAYS[kind])


def _listed(resources: Mapping[str, float]) -> str:
    """Return the amounts that a user asks by: no names of nodes."""
    named = sorted(name for name in resources if ":" not in name)
    shown = [f"{n}={round(resources[n], 2):.15g}" for n in named if n != "object_store_memory"]
    return ", ".join(shown) or "nothing"
