"""Signals while a search runs: end well, so that nothing is lost and the next run goes on.

==================  ====================================  =========================================
signal              the search                            behind it
==================  ====================================  =========================================
SIGINT (Ctrl-C)     finishes the running epoch            KeyboardInterrupt
SIGINT again        stops at once                         KeyboardInterrupt
SIGTERM, SIGUSR1    ends before the next batch: the       the process exits with `PREEMPTED` (75),
                    machine is wanted for something else  which asks a batch system to requeue it
==================  ====================================  =========================================

75 is EX_TEMPFAIL of sysexits.h: a temporary failure, try again. Signals that the user's own program
handles are left to it. Threads other than the main one get no signals, and change nothing.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from keratune.halt import Halt, Urgency

PREEMPTED = 75
ONCE = "Interrupted: the running epoch is finished first. Press Ctrl-C again to stop at once."


@contextlib.contextmanager
def interruptible(halt: Halt, say: Callable[[str], None]) -> Iterator[None]:
    """Have signals end the block well.

    Args:
        halt: What the block looks at.
        say: Tells the user a line.

    Raises:
        KeyboardInterrupt: The user has interrupted the block.
        SystemExit: The process was asked to end; its code is `PREEMPTED`.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        if number in received:
            signal.default_int_handler(number, frame)
        received.append(number)
        halt.request(Urgency.EPOCH, "interrupted")
        with contextlib.suppress(RuntimeError):  # a line is just being written
            say(ONCE)

    def preempt(number: int, frame: FrameType | None) -> None:
        received.append(number)
        halt.request(Urgency.BATCH, f"preempted by {signal.Signals(number).name}")

    with contextlib.ExitStack() as stack:
        _handle(stack, signal.SIGINT, signal.default_int_handler, interrupt)
        _handle(stack, signal.SIGTERM, signal.SIG_DFL, preempt)
        if hasattr(signal, "SIGUSR1"):
            _handle(stack, signal.SIGUSR1, signal.SIG_DFL, preempt)
        yield
    if signal.SIGINT in received:
        raise KeyboardInterrupt
    if received:
        raise SystemExit(PREEMPTED)


def _handle(stack: contextlib.ExitStack, number: int, default: Any, handler: Any) -> None:
    """Handle a signal until the stack closes, unless the user's program does."""
    if signal.getsignal(number) is default:
        signal.signal(number, handler)
        stack.callback(signal.signal, number, default)
