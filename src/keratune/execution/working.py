"""What worker processes have in common, wherever they run: their part of a search, and its end.

A worker is told when to end (`Orders`), tells its parent what it does (`Telling`) in marks between
the lines of its output (see `keratune.execution.lines`), and works on the search (`join`).
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import threading
import traceback
from collections.abc import Mapping
from typing import Any

import cloudpickle

from keratune._processes import worker_name
from keratune.errors import FatalRuntimeError
from keratune.execution.lines import write_mark
from keratune.execution.memory import private_bytes
from keratune.halt import Halt, Urgency
from keratune.history import History, Record
from keratune.limits import Limits
from keratune.reporting.progress import Progress


class Orders:
    """What the parent has asked for, and what this process asks of itself.

    Attributes:
        replaced: Whether another process is to take the place of this one.
    """

    def __init__(self) -> None:
        """Ask for nothing."""
        self.replaced = False
        self._halt: Halt | None = None
        self._waiting: list[dict[str, Any]] = []
        self._lock = threading.RLock()  # a signal may come while it is held

    def give_to(self, halt: Halt) -> None:
        """Pass on what was asked for, and what will be."""
        with self._lock:
            self._halt = halt
            for order in self._waiting:
                _request(halt, order)

    def leave(self, reason: str) -> None:
        """End this process before the next batch; another one takes its place."""
        self.replaced = True
        self.take({"urgency": Urgency.BATCH, "reason": reason, "pauses": False})

    def take(self, order: dict[str, Any]) -> None:
        """Do what is asked for as soon as there is a search that can be asked."""
        with self._lock:
            self._waiting.append(order)
            if self._halt is not None:
                _request(self._halt, order)

    def listen(self, source: int) -> None:
        """Read orders from a file descriptor until its end, then end the process."""
        with open(source, encoding="utf-8") as lines:
            for line in lines:
                self.take(json.loads(line))
        end_with_all()


def _request(halt: Halt, order: dict[str, Any]) -> None:
    halt.request(Urgency(order["urgency"]), order["reason"], pauses=order["pauses"])


class Telling(Progress):
    """Tells the parent which trial this process has, and what has failed.

    Args:
        history: See `Progress`.
        limits: See `Progress`.
        orders: Asked to end the process when its memory has grown.
        growth: Bytes that the memory may grow from the end of the first trial on.
    """

    def __init__(self, history: History, limits: Limits, orders: Orders, growth: float) -> None:
        """Keep what ends the process."""
        super().__init__(history, limits)
        self._orders = orders
        self._growth = growth
        self._at_first: int | None = None

    def trial_began(self, record: Record) -> None:
        _mark_both(began=record.trial_id)

    def trial_ended(self, record: Record) -> None:
        super().trial_ended(record)
        _mark_both(ended=record.trial_id)
        used = private_bytes(os.getpid())
        if used is None:
            return
        if self._at_first is None:
            self._at_first = used
        if used - self._at_first > self._growth:
            self._orders.leave("the memory of the worker process has grown")

    def trial_failed(self, record: Record, kind: str, excerpt: str) -> None:
        write_mark(sys.stdout, failed=record.trial_id, kind=kind, excerpt=excerpt)

    def say(self, text: str) -> None:
        sys.stdout.write(f"{text}\n")


def _mark_both(**told: Any) -> None:
    """Mark both streams: the parent reads each by itself."""
    for stream in (sys.stdout, sys.stderr):
        write_mark(stream, **told)


def end_with_all() -> None:
    """End this process and all that it has started, whatever they do."""
    if hasattr(os, "killpg"):
        os.killpg(0, signal.SIGKILL)  # the parent has made this process the head of its group
    os._exit(1)


def join(
    search: Mapping[str, Any], name: str, limits: Mapping[str, float | None], orders: Orders
) -> None:
    """Work on a search until nothing is left to be done.

    Args:
        search: What was packed.
        name: The worker's.
        limits: By name: `growth`, the bytes that the memory may grow from the end of the first
            trial on, and `trial_timeout`, the seconds that a trial may take; None: any number, and
            the tuner's own.
        orders: What to end for.
    """
    tuner = search["tuner"]
    tuner.tuner_id = name
    tuner.trial_timeout = limits["trial_timeout"] or tuner.trial_timeout

    def display() -> Progress:
        study = tuner.oracle.study
        orders.give_to(tuner.halt)
        return Telling(study.history, study.limits, orders, limits["growth"] or math.inf)

    tuner._display = display
    _mark_both(worker=worker_name(name))
    tuner.join(*search["fit_args"], **search["fit_kwargs"])


def packed_error(error: BaseException) -> bytes:
    """Return what ends the search, for the parent: the exception, and its traceback as text."""
    told = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    error.__traceback__ = error.__cause__ = error.__context__ = None
    try:
        content = cloudpickle.dumps((error, told))
        cloudpickle.loads(content)
    except Exception:  # an exception may refuse to be pickled, or to come back, in any way
        kind = type(error).__name__
        content = cloudpickle.dumps((FatalRuntimeError(f"{kind}: {error}"), told))
    return content
