"""A tuner's trials trained together: worker loops side by side, whose models share programs.

What a user sees of a search is the same; `keratune.execution.side_by_side` says how it runs, and
`keratune.vectorized` how models are trained together.
"""

from __future__ import annotations

from typing import Any

from keratune._runtime import logger
from keratune.errors import FatalTypeError, FatalValueError
from keratune.execution import worker
from keratune.execution.side_by_side import SideBySide
from keratune.job import TunersJob

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


def work(tuner: Any, fit_args: tuple[Any, ...], fit_kwargs: dict[str, Any], width: int) -> None:
    """Run a tuner's trials until nothing is left to be done, so many at a time.

    Args:
        tuner: The tuner; while it runs, its `together` trains the models.
        fit_args: For its `run_trial`.
        fit_kwargs: For its `run_trial`.
        width: How many.
    """
    from keratune.vectorized import fleet
    from keratune.vectorized.families import Programs
    from keratune.vectorized.members import Member

    programs = Programs()

    def context() -> tuple[Any, ...]:
        return tuner._run, tuner._repeat, tuner.halt.trial_until

    def switch(to: tuple[Any, ...]) -> None:
        tuner._run, tuner._repeat, tuner.halt.trial_until = to

    def waited(seconds: float) -> None:
        if tuner.halt.trial_until is not None:  # a trial's time is that of its own training
            tuner.halt.trial_until += seconds

    tuner.together = SideBySide(
        lambda source: fleet.train(source, programs, width), Member, context, switch, waited
    )

    def loop(lane: int) -> None:
        name = tuner.tuner_id if width == 1 else f"{tuner.tuner_id}-{lane}"
        job = TunersJob(tuner, fit_args, fit_kwargs, name)
        worker.work(job, tuner.halt, tuner.together.sleep)

    if width > 1:
        logger.info("Up to %d trials at a time are trained in one program.", width)
    try:
        tuner.together.run([lambda lane=lane: loop(lane) for lane in range(width)])
    finally:
        tuner.together = None
        logger.info("Programs were compiled %d times.", programs.compiled)
