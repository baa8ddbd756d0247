"""A worker process: reads the search that its parent has packed, and works on it.

Started as `python -m keratune.execution.local_worker FILE NAME LIMITS [LIFELINE]`: the packed
search, the worker's name, the limits of `keratune.execution.working.join` as JSON, and the end of a
pipe that the parent holds open as long as it lives. Standard input tells it to end, in lines of
JSON; its end too means that the parent is gone. Then the process ends at once, and all that it has
started with it.

Nothing imports this module: Python warns of one that it runs when it was imported before.
"""

from __future__ import annotations

import gc
import importlib
import io
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from keratune.execution.lines import RAISED, REPLACED, error_file
from keratune.execution.packing import unpack
from keratune.execution.working import Orders, join, packed_error


def taken_input() -> int:
    """Return a descriptor of standard input; whoever reads from that finds it empty."""
    source = os.dup(0)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    return source


def hold(lifeline: int) -> None:
    """Have the kernel end the group when the parent is gone, even while nobody reads a line.

    A thread that holds the interpreter in a long call keeps all others from running.
    """
    fcntl: Any = importlib.import_module("fcntl")
    os.set_inheritable(lifeline, False)
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
    flags = fcntl.fcntl(lifeline, fcntl.F_GETFL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, flags | os.O_ASYNC)


def main(arguments: list[str]) -> int:
    """Run the worker; return its exit code."""
    file, name, limits, *lifeline = arguments
    if lifeline:
        hold(int(lifeline[0]))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="replace", line_buffering=True)
    orders = Orders()
    source = taken_input()
    threading.Thread(target=orders.listen, args=(source,), daemon=True).start()
    for number in (signal.SIGTERM, getattr(signal, "SIGUSR1", signal.SIGTERM)):
        signal.signal(number, lambda *received: orders.leave("asked to end by a signal"))
    try:
        join(unpack(Path(file)), name, json.loads(limits), orders)
    except BaseException as error:
        error_file(Path(file).parent, name).write_bytes(packed_error(error))
        return RAISED
    finally:
        gc.collect()
        sys.stdout.flush()
        sys.stderr.flush()
    return REPLACED if orders.replaced else 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    os._exit(code)  # threads of backends and of user code do not hold it up
