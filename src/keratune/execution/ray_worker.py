"""A worker in a Ray actor: it works in a thread of its own, and its driver calls for what it says.

::

    driver  (the user's process)            actor  (any node)
    exchange(answers) ------------------->  waits until there is something to be said
    serves the questions, shows the lines   <------  lines, questions to the journal, the end
    exchange(answers) ------------------->  the questions' askers go on
    order(...)        ------------------->  ends the epoch, or the batch

So the driver alone opens the journal, the only stored truth: it lies where the user's process runs,
and is lost with no node. Nothing here imports Ray; an actor is an object whose methods are called.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import queue
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keratune.errors import FatalRuntimeError
from keratune.execution.memory import private_bytes
from keratune.execution.packing import Parcel, unpack_parcel
from keratune.execution.working import Orders, join, packed_error
from keratune.storage.remote import RemoteStorage

# Seconds after which a call returns that has nothing to tell: the driver sees the memory so often.
PATIENCE = 0.5

# What a worker says, each behind the name of its kind.
HERE, LINE, QUESTION, RAISED, REPLACED, DONE = "here line question raised replaced done".split()

Message = tuple[Any, ...]
Answer = tuple[int, Any, BaseException | None]  # the question's number; what it has come to


class Exchange:
    """What a worker says, until its driver calls for it; and the answers to what it asks."""

    def __init__(self) -> None:
        """Have nothing to say."""
        self._said: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._askers: dict[int, queue.SimpleQueue[Answer]] = {}
        self._numbers = itertools.count()

    def say(self, kind: str, *content: Any) -> None:
        """Say something to the driver."""
        self._said.put((kind, *content))

    def ask(self, question: str, *arguments: Any) -> Any:
        """Ask the driver something and wait for the answer; see `keratune.storage.remote.answer`.

        Raises:
            Exception: What answering has raised.
        """
        number, answers = next(self._numbers), queue.SimpleQueue[Answer]()
        self._askers[number] = answers
        self.say(QUESTION, number, question, arguments)
        _, value, error = answers.get()
        if error is not None:
            raise error
        return value

    def call(self, answers: Sequence[Answer]) -> list[Message]:
        """Pass on answers, and return what was said; wait for the first of it, but not for long."""
        for answer in answers:
            self._askers.pop(answer[0]).put(answer)
        said: list[Message] = []
        with contextlib.suppress(queue.Empty):
            said.append(self._said.get(timeout=PATIENCE))
            while True:
                said.append(self._said.get_nowait())
        return said


class Stream(io.TextIOBase):
    """Stands for a standard stream of the actor: what is printed goes to the driver.

    Args:
        name: "stdout" or "stderr".
        exchange: Takes the lines.
    """

    encoding, errors = "utf-8", "replace"

    def __init__(self, name: str, exchange: Exchange) -> None:
        """Start a line."""
        self._name = name
        self._exchange = exchange
        self._begun = threading.local()  # lines of two threads do not mix

    def write(self, text: str) -> int:
        """Take some text; whole lines are said at once."""
        *lines, rest = (getattr(self._begun, "text", "") + text).split("\n")
        for line in lines:
            self._exchange.say(LINE, self._name, line.encode("utf-8", "replace"))
        self._begun.text = rest
        return len(text)

    def writable(self) -> bool:
        """Return True."""
        return True


class RayWorker:
    """The actor.

    Args:
        parcel: The search, as `keratune.execution.packing.parcel` has packed it.
        name: The worker's name.
        limits: See `keratune.execution.working.join`.
        marker: The name of a file that the driver has put into the project's folder.
    """

    def __init__(
        self, parcel: Parcel, name: str, limits: Mapping[str, float | None], marker: str
    ) -> None:
        """Begin to work."""
        self._exchange, self._orders = Exchange(), Orders()
        self._exchange.say(HERE, socket.gethostname(), os.getpid())
        arguments = parcel, name, limits, marker
        threading.Thread(target=self._work, args=arguments, daemon=True).start()

    def exchange(self, answers: Sequence[Answer]) -> tuple[list[Message], int | None]:
        """Return what the worker has to say, and the bytes of memory that it has for itself."""
        return self._exchange.call(answers), private_bytes(os.getpid())

    def order(self, order: dict[str, Any]) -> None:
        """Have the work end; see `keratune.halt.Halt.request`."""
        self._orders.take(order)

    def _work(
        self, parcel: Parcel, name: str, limits: Mapping[str, float | None], marker: str
    ) -> None:
        sys.stdout, sys.stderr = (Stream(n, self._exchange) for n in ("stdout", "stderr"))
        sys.stdin = Path(os.devnull).open(encoding="utf-8")  # Ray's own would wait for ever
        try:
            search = unpack_parcel(parcel)
            tuner = search["tuner"]
            _look_for(marker, Path(tuner.directory) / tuner.project_name)
            tuner.oracle.storage = RemoteStorage(self._exchange.ask)
            join(search, name, limits, self._orders)
        except BaseException as error:
            self._exchange.say(RAISED, packed_error(error))
        else:
            self._exchange.say(REPLACED if self._orders.replaced else DONE)


def _look_for(marker: str, folder: Path) -> None:
    """Refuse to work where the project's folder is not the driver's.

    Raises:
        FatalRuntimeError: The marker is not there.
    """
    if not (folder / marker).exists():
        raise FatalRuntimeError(
            "All nodes must see the project's folder: a trial's checkpoints lie in it, and any "
            f"node may go on with the trial. The node {socket.gethostname()} does not see "
            f"{Path.cwd() / folder}. Pass a `directory` on a file system that all nodes share, as "
            "an absolute path, or choose the nodes that do by `resources_per_worker`."
        )
