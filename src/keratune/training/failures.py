"""What kind of failure was that?

==================  ===================================================  ==================
kind                cause                                                tried again
==================  ===================================================  ==================
rejected            the user's code gave the configuration up            no
oversized           the built model is larger than allowed               no
out_of_memory       the device's or the machine's memory ran out         as the limit allows
not_finite          the objective is NaN or infinite                     as the limit allows
error               the user's code raised                               as the limit allows
timed_out           the trial took longer than `trial_timeout`           no
lost                its worker died, or its node was lost                from its last epoch
==================  ===================================================  ==================

Whoever ran the trial knows the exception only; the backends' own classes are told by name, so
that none of them need be imported.
"""

from __future__ import annotations

import re
import sysconfig
import traceback
from pathlib import Path

from keratune.errors import FailedTrialError, OversizedModelError

REJECTED = "rejected"
OVERSIZED = "oversized"
OUT_OF_MEMORY = "out_of_memory"
NOT_FINITE = "not_finite"
ERROR = "error"
TIMED_OUT = "timed_out"
LOST = "lost"

# What backends call running out of memory: TensorFlow's class, PyTorch's class, XLA's status text.
_MEMORY_CLASSES = {"ResourceExhaustedError", "OutOfMemoryError", "MemoryError"}
_MEMORY_TEXTS = ("RESOURCE_EXHAUSTED", "out of memory", "Out of memory", "CUDA_ERROR_OUT_OF_MEMORY")

MOST_FRAMES, MOST_LINES = 3, 12  # what a person reads at once

# Colours that backends print, and the notes that JAX and Keras add behind the message.
_COLOURS = re.compile("\x1b\\[[0-9;]*m")
_NOTES = ("-" * 20, "For simplicity, JAX has removed")

_PACKAGE = str(Path(__file__).resolve().parent.parent)
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib")})


def kind_of(error: BaseException) -> str:
    """Return what kind of failure an exception is."""
    if isinstance(error, OversizedModelError):
        return OVERSIZED
    if isinstance(error, FailedTrialError):
        return REJECTED
    names = {cls.__name__ for cls in type(error).__mro__}
    if names & _MEMORY_CLASSES or any(text in str(error) for text in _MEMORY_TEXTS):
        return OUT_OF_MEMORY
    return ERROR


def may_pass(kind: str) -> bool:
    """Tell whether another attempt may go better."""
    return kind not in (REJECTED, OVERSIZED)


def message_of(error: BaseException) -> str:
    """Return the whole traceback, as Python prints it."""
    return "".join(traceback.format_exception(type(error), error, error.__traceback__))


def is_users(filename: str) -> bool:
    """Tell whether a frame's file is the user's, not a library's."""
    return not filename.startswith((_PACKAGE, *_LIBRARIES))


def excerpt(error: BaseException) -> str:
    """Return the last frames that are the user's own, and the message's first lines."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if is_users(frame.filename)]
    shown = "".join(traceback.format_list(own[-MOST_FRAMES:]))
    text = "".join(traceback.format_exception_only(type(error), error))
    lines = [line for line in _COLOURS.sub("", text).splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(_NOTES)]
    return shown + "\n".join(told[:MOST_LINES])
