"""A tuner's trials trained together: worker loops side by side, whose models share programs.

What a user sees of a search is the same; `keratune.execution.side_by_side` says how it runs, and
`keratune.vectorized` how models are trained together.
"""

from __future__ import annotations

import functools
import importlib.util
import math
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from keratune._runtime import logger
from keratune.errors import FatalTypeError, FatalValueError
from keratune.execution import worker
from keratune.execution.side_by_side import SideBySide
from keratune.history import Record
from keratune.job import TunersJob
from keratune.structure import Lessons
from keratune.study import Study

Vectorize = bool | int | str

# Trainings at a time where the user says nothing: one. On 2 CPU cores a small network's trial takes
# a thirtieth of the time of Keras's own once its program is there, by 64 at a time little less
# (docs/vectorized.md); and bits, callbacks, time limits and failures are those of one at a time.
ONE = 1

# And where the user wants several and says no number. An algorithm that learns from trials knows
# nothing of those that run beside: with 8 it needs about a quarter more (docs/benchmarks.md).
MANY, FEW = 64, 8

# Of them, those that share a program's structure where there are many structures. An algorithm that
# does not learn shares with the square root of all trials: as many structures as trials of each. On
# 10 problems of LCBench random search then came to a mean normalised regret of 0.29 instead of 0.27
# after 64 trials and of 0.20 instead of 0.20 after 256 (20 and 10 seeds), Bayesian optimisation, 8
# at a time by threes, to 0.17 instead of 0.19 after 24 and to 0.08 instead of 0.06 after 48 (3).
SHARED_BY_LEARNERS = 3


def checked(vectorize: Vectorize) -> Vectorize:
    """Return what a user has passed for `vectorize`.

    Raises:
        FatalTypeError: It is no such thing.
        FatalValueError: The number is not positive.
    """
    if isinstance(vectorize, bool) or vectorize == "auto":
        return vectorize
    if not isinstance(vectorize, int):
        raise FatalTypeError(
            '`vectorize` is "auto", True, False, or a number of trials that are trained at a time. '
            f"Received: vectorize={vectorize!r}."
        )
    if vectorize < 1:
        raise FatalValueError(
            f"`vectorize` must be 1 or more. Received: vectorize={vectorize}. Pass False to train "
            "every trial by itself."
        )
    return vectorize


def width_of(vectorize: Vectorize, learns: bool) -> int:
    """Return how many trials are trained at a time; 0: each by itself, as Keras does it.

    Args:
        vectorize: See `Tuner`.
        learns: Whether the algorithm's suggestions depend on how trials have gone.

    Raises:
        FatalValueError: Trials are to be trained together on another backend than JAX.
    """
    if vectorize is False:
        return 0
    import keras

    if vectorize == "auto":
        usable = keras.backend.backend() == "jax" and importlib.util.find_spec("greenlet")
        return ONE if usable else 0
    if keras.backend.backend() != "jax":
        raise FatalValueError(
            "`vectorize` needs the JAX backend: it runs many trainings in one compiled program. "
            f"The backend is {keras.backend.backend()}. Set KERAS_BACKEND=jax, or leave "
            "`vectorize` out."
        )
    return (FEW if learns else MANY) if vectorize is True else int(vectorize)


def batch_of(width: int, study: Study) -> int:
    """Return how many suggestions in a row should share a program.

    Args:
        width: How many trials are trained at a time.
        study: The study.
    """
    if study.planner.algorithm.in_order or not study.planner.algorithm.in_batches:
        return 1
    if study.planner.algorithm.learns:
        return min(width, SHARED_BY_LEARNERS)
    return min(width, math.isqrt(study.limits.max_trials or width * width))


def work(tuner: Any, fit_args: tuple[Any, ...], fit_kwargs: dict[str, Any], width: int) -> None:
    """Run a tuner's trials until nothing is left to be done, so many at a time.

    Args:
        tuner: The tuner; while it runs, its `together` trains the models.
        fit_args: For its `run_trial`.
        fit_kwargs: For its `run_trial`.
        width: How many.
    """
    trainings = _Trainings(tuner, width)
    tuner.together = SideBySide(
        trainings.train, trainings.member, trainings.context, trainings.switch, trainings.waited
    )

    def loop(lane: int) -> None:
        name = f"{tuner.tuner_id}-{lane}" if lane else tuner.tuner_id
        worker.work(TunersJob(tuner, fit_args, fit_kwargs, name), tuner.halt, tuner.together.sleep)

    if width > 1:
        tuner.progress.say(f"Up to {width} trials are trained at a time, in shared programs.")
    try:
        tuner.together.run([functools.partial(loop, lane) for lane in range(width)])
    finally:
        tuner.together = None
        logger.info("Programs were compiled %d times.", trainings.programs.compiled)


class _Trainings:
    """The trainings of a tuner's worker loops, and what is learnt from their programs.

    Args:
        tuner: The tuner.
        width: How many are trained at a time.
    """

    def __init__(self, tuner: Any, width: int) -> None:
        from keratune.vectorized.families import Programs

        self.programs = Programs()
        self._tuner, self._width = tuner, width
        self._study: Study = tuner.oracle.study
        self._study.planner.batch = batch_of(width, self._study)
        self._lessons = Lessons(self._study.history)
        self._records: weakref.WeakKeyDictionary[Any, Record] = weakref.WeakKeyDictionary()

    def member(self, *parts: Any) -> Any:
        """Return a member of the fleet; called in its loop."""
        from keratune.vectorized.members import Member

        made = Member(*parts)
        self._records[made] = self._tuner._run.record
        return made

    def train(self, source: Callable[[], Any]) -> Iterator[Any]:
        """Train members together; yield those that have ended, and learn from their programs."""
        from keratune.vectorized import fleet

        batch = self._study.planner.batch
        for member in fleet.train(source, self.programs, self._width):
            if batch > 1 and member.program is not None:
                record = self._records[member]
                learnt = self._lessons.of(member.program, record.number // batch, record.values)
                self._study.learn_structure(*learnt)
            yield member

    def context(self) -> tuple[Any, ...]:
        """Return what belongs to the loop that runs."""
        tuner = self._tuner
        return tuner._run, tuner._repeat, tuner.halt.trial_until

    def switch(self, to: tuple[Any, ...]) -> None:
        """Put back what `context` has returned."""
        tuner = self._tuner
        tuner._run, tuner._repeat, tuner.halt.trial_until = to

    def waited(self, seconds: float) -> None:
        """Do not count a time against a trial: its limit is for its own training."""
        if self._tuner.halt.trial_until is not None:
            self._tuner.halt.trial_until += seconds
