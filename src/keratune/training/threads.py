"""How many threads a training step runs on: one or all, whichever is measured to be quicker.

PyTorch splits an operation over all cores and has its threads wait for each other by spinning. On
cores that other processes use as well, a thread that waits for one that is not running burns its
whole time slice, at every operation. Measured on PyTorch 2.13 with 2 threads, 15 steps of a
multi-layer perceptron and its validation, as seconds per epoch:

=========================  ==============  ==============  ==============
layers x units             one thread      two, idle       two, 1 core
=========================  ==============  ==============  ==============
2 x 32                     0.03            0.03            2.3
5 x 64                     0.04            0.04            6.7
10 x 128                   0.07            0.07            17.8
=========================  ==============  ==============  ==============

("1 core": both threads share one, as in a container that is given less than it sees.) A large
network on an idle machine gains from all cores, so neither number is right for everybody, and what
is right changes when another process starts. Hence a bandit with two arms:

    m_a: mean of log(seconds) over the steps with a threads, the last ones weighing most
    S:   seconds since the last step on the arm that is not chosen

A size of model that is new is measured first, one and all in turn. Then the quicker arm is kept,
and the other one, b, gets a step whenever exp(m_b) <= S * SHARE. So looking out costs that share,
a slow step is followed by a long stretch without any, and the only quick way out of steps that have
become slow is taken at once. A step on all cores must be quicker by `MARGIN` to be chosen, since it
takes cores from others, and one thread gives the same sums every time.
"""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path
from typing import Any

# Steps of each arm by which a new size is decided, behind one that warms up. With steps that vary
# by a tenth, three chose an arm that is a tenth slower once in 20 searches, five never.
SAMPLES = 5

# An arm that is so many times slower than the other after one step each is not tried again at once:
# far more than steps vary by, far less than the table's 50 and more.
HOPELESS = 3.0

# Share of the training's time that goes to steps of the arm that is not chosen.
SHARE = 0.005

# All cores are chosen if their steps take less than this share of those of one thread.
MARGIN = 0.9

# Weight of the last step: the chosen arm has steps in plenty, the other is seen rarely.
KEEPING, LOOKING = 0.125, 0.3

# Sizes that differ by less than this factor are measured together.
SIZE_FACTOR = 4.0

# Whoever has set one of these has decided; a process that keratune starts has it set.
VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_THREAD_LIMIT", "GOMP_CPU_AFFINITY")


class _Size:
    """What is known of the steps of one size of model.

    Args:
        near: The nearest size that is known; a new one is like it until it is measured.

    Attributes:
        means: Mean logarithm of the seconds of a step, by whether it ran on all threads.
        on_all: The arm that is chosen.
        pending: Steps that are to be measured before it is known, the next one last.
    """

    def __init__(self, near: _Size | None) -> None:
        self.means: dict[bool, float] = {}
        self.on_all: bool = near is not None and near.on_all
        self._handicap = 0.0 if near is None else near.handicap
        self.pending: list[bool] = []
        if self._handicap <= math.log(HOPELESS):
            self.pending = [True, False] * SAMPLES

    @property
    def handicap(self) -> float:
        """By how much slower the arm is that is not chosen, as the logarithm of a factor."""
        if len(self.means) < 2:
            return self._handicap
        return self.means[not self.on_all] - self.means[self.on_all]

    def took(self, on_all: bool, seconds: float) -> None:
        """Take a step into the arm's mean; choose anew where the other arm was looked at."""
        is_look = bool(self.pending) or on_all != self.on_all
        value = math.log(max(seconds, 1e-9))
        mean = self.means.get(on_all, value)
        self.means[on_all] = mean + (LOOKING if is_look else KEEPING) * (value - mean)
        if self.pending and self.pending[-1] == on_all:
            self.pending.pop()
        if is_look and len(self.means) == 2:
            self.on_all = self.means[True] - self.means[False] < math.log(MARGIN)
            if self.handicap > math.log(HOPELESS):
                self.pending = []


class ThreadChoice:
    """Chooses between one thread and all, step by step.

    Example:
        ```python
        choice = ThreadChoice()
        choice.enter(size=70_000)
        on_all = choice.next()
        choice.took(on_all, seconds=0.002)
        ```
    """

    def __init__(self) -> None:
        """Start with nothing measured."""
        self._sizes: dict[int, _Size] = {}
        self._size = _Size(None)
        self._since_look = 0.0
        self._is_warm = False

    def enter(self, size: float) -> None:
        """Begin a training; its first step warms up and is not measured.

        Args:
            size: What a step's work grows with, such as parameters times batch size; positive.
        """
        key = round(math.log(max(size, 1.0), SIZE_FACTOR))
        if key not in self._sizes:
            nearest = min(self._sizes, key=lambda other: abs(other - key), default=None)
            self._sizes[key] = _Size(None if nearest is None else self._sizes[nearest])
        self._size = self._sizes[key]
        self._is_warm = False

    def next(self) -> bool:
        """Tell whether the next step is to run on all threads."""
        size = self._size
        if not self._is_warm or size.on_all not in size.means:
            return size.on_all
        if size.pending:
            return size.pending[-1]
        looking = math.exp(size.means[size.on_all] + size.handicap)
        return size.on_all != (looking <= SHARE * self._since_look)

    def took(self, on_all: bool, seconds: float) -> None:
        """Take note of a step.

        Args:
            on_all: What `next` has returned.
            seconds: What the step took.
        """
        if not self._is_warm:
            self._is_warm = True
            return
        is_look = on_all != self._size.on_all
        self._since_look = 0.0 if is_look else self._since_look + seconds
        self._size.took(on_all, seconds)

    @property
    def on_all(self) -> bool:
        """Whether the steps that are not for looking run on all threads."""
        return self._size.on_all


def torch_on_cpu() -> Any:
    """Return PyTorch if its threads are keratune's to choose, else None.

    They are not where the user has set them, by a variable of `VARIABLES` or to a number that is
    not the machine's; and not where there is only one.
    """
    torch: Any = sys.modules.get("torch")
    if not hasattr(torch, "set_num_threads") or any(os.environ.get(name) for name in VARIABLES):
        return None
    threads = torch.get_num_threads()
    return torch if threads > 1 and threads in _usual_numbers() else None


def _usual_numbers() -> set[int]:
    """The numbers of threads that a library takes by itself: all processors, or all cores."""
    try:
        processors = os.sched_getaffinity(0)
    except AttributeError:  # only Linux has it
        return {os.cpu_count() or 1}
    siblings = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
    try:
        cores = {Path(siblings.format(number)).read_text() for number in processors}
    except OSError:
        cores = set()
    return {os.cpu_count() or 1, len(processors), len(cores)}
