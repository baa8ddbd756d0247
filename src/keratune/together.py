"""A tuner's trials trained together: worker loops side by side, whose models share programs.

What a user sees of a search is the same; `keratune.execution.side_by_side` says how it runs, and
`keratune.vectorized` how models are trained together.
"""

from __future__ import annotations

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

# Trainings at a time where the user wants several and says no number. On 2 CPU cores 64 small
# networks trained at a time take a fortieth of the time of each alone, and further lanes gain
# little until there are hundreds of trials. An algorithm that learns from trials knows nothing of
# those that run beside: with 8 it needs about a quarter more trials (docs/benchmarks.md).
MANY, FEW = 64, 8


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

    if keras.backend.backend() != "jax":
        if vectorize == "auto":
            return 0
        raise FatalValueError(
            "`vectorize` needs the JAX backend: it runs many trainings in one compiled program. "
            f"The backend is {keras.backend.backend()}. Set KERAS_BACKEND=jax, or leave "
            "`vectorize` out."
        )
    if vectorize == "auto":
        return 1
    return (FEW if learns else MANY) if vectorize is True else int(vectorize)


def batch_of(width: int, study: Study) -> int:
    """Return how many suggestions in a row should share a program.

    As many as there are batches: programs are few, and each is searched as widely as they are.

    Args:
        width: How many trials are trained at a time.
        study: The study.
    """
    if study.algorithm.in_order:
        return 1
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

    def loop(lane: int) -> None:
        name = tuner.tuner_id if width == 1 else f"{tuner.tuner_id}-{lane}"
        job = TunersJob(tuner, fit_args, fit_kwargs, name)
        worker.work(job, tuner.halt, tuner.together.sleep)

    if width > 1:
        logger.info("Up to %d trials at a time are trained in one program.", width)
    tuner.together = SideBySide(
        trainings.train, trainings.member, trainings.context, trainings.switch, trainings.waited
    )
    try:
        tuner.together.run([lambda lane=lane: loop(lane) for lane in range(width)])
    finally:
        tuner.together = None
        logger.info("Programs were compiled %d times.", trainings.programs.compiled)


class _Trainings:
    """The trainings of a tuner's worker loops, and what is learnt from their programs."""

    def __init__(self, tuner: Any, width: int) -> None:
        from keratune.vectorized.families import Programs

        self.programs = Programs()
        self._tuner, self._width = tuner, width
        self._study: Study = tuner.oracle.study
        self._study.batch = batch_of(width, self._study)
        self._lessons = Lessons(self._study.history.structure)
        self._records: weakref.WeakKeyDictionary[Any, Record] = weakref.WeakKeyDictionary()

    def member(self, *parts: Any) -> Any:
        """Return a member of the fleet; called in its loop."""
        from keratune.vectorized.members import Member

        made = Member(*parts)
        self._records[made] = self._tuner._run.record
        return made

    def train(self, source: Callable[[], Any]) -> Iterator[Any]:
        """Train members together; yield those that have ended."""
        from keratune.vectorized import fleet

        for member in fleet.train(source, self.programs, self._width):
            if member.program is not None:
                record = self._records[member]
                batch = record.number // self._study.batch
                learnt = self._lessons.of(member.program, batch, record.values)
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
