"""The tuners: signatures over `Tuner` and an oracle.

All keyword arguments of `Tuner` and `BaseTuner` are accepted by every tuner.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from keratune import algorithms
from keratune import rounds as schedule
from keratune._runtime import logger
from keratune.algorithms import Algorithm
from keratune.configurations import CONTINUES, searched
from keratune.history import History, Record
from keratune.objectives import ObjectiveLike
from keratune.oracles import (
    BayesianOptimizationOracle,
    GridSearchOracle,
    HyperbandOracle,
    PopulationOracle,
    RandomSearchOracle,
    SearchOracle,
)
from keratune.schedulers import Scheduler
from keratune.space import HyperParameters
from keratune.stop import Epochs, Stop, TimeBudget, stops_of
from keratune.training.checkpoints import FINAL_FILES
from keratune.trial import Trial
from keratune.tuner import Tuner

# Trainings in full that `Auto` may spend where it is given no budget. On learning curves of 16
# problems its regret was 0.150 after 10, 0.094 after 20 and 0.069 after 50 (docs/benchmarks.md).
TRAININGS = 20

UNCONFIRMED = (
    "Population based training cannot confirm its finalists: what it finds is a schedule of "
    "hyperparameters, and training one configuration of it from the beginning says nothing about "
    "the whole. Search again with another `seed` and compare the best scores, or confirm the last "
    "configuration by itself: `enqueue(tuner.get_best_hyperparameters()[0])` in a "
    "`keratune.RandomSearch`."
)


class RandomSearch(Tuner):
    """Tunes a Keras model by random search.

    Args:
        hypermodel: A `HyperModel` or a function `build(hp)`.
        objective: See `Oracle`.
        max_trials: Number of trials.
        seed: See `Oracle`.
        hyperparameters: See `Oracle`.
        tune_new_entries: See `Oracle`.
        allow_new_entries: See `Oracle`.
        max_retries_per_trial: See `Oracle`.
        max_consecutive_failed_trials: See `Oracle`.
        **kwargs: See `Tuner`.

    Example:
        ```python
        tuner = keratune.RandomSearch(build_model, objective="val_loss", max_trials=20, seed=0)
        tuner.search(x, y, epochs=10, validation_split=0.2)
        model = tuner.get_best_models()[0]
        ```
    """

    def __init__(
        self,
        hypermodel: Any = None,
        objective: ObjectiveLike = None,
        max_trials: int | None = 10,
        seed: int | None = None,
        hyperparameters: HyperParameters | None = None,
        tune_new_entries: bool = True,
        allow_new_entries: bool = True,
        max_retries_per_trial: int = 0,
        max_consecutive_failed_trials: int | None = 3,
        **kwargs: Any,
    ) -> None:
        """Make the oracle and pass everything else on."""
        self.seed = seed
        oracle = RandomSearchOracle(
            objective=objective,
            max_trials=max_trials,
            seed=seed,
            hyperparameters=hyperparameters,
            tune_new_entries=tune_new_entries,
            allow_new_entries=allow_new_entries,
            max_retries_per_trial=max_retries_per_trial,
            max_consecutive_failed_trials=max_consecutive_failed_trials,
        )
        super().__init__(oracle, hypermodel, **kwargs)


class GridSearch(Tuner):
    """Tunes a Keras model by trying every combination of values.

    Args:
        hypermodel: A `HyperModel` or a function `build(hp)`.
        objective: See `Oracle`.
        max_trials: Number of trials; default: all combinations.
        seed: See `Oracle`; it decides weights and shuffles, the grid has no chance in it.
        hyperparameters: See `Oracle`.
        tune_new_entries: See `Oracle`.
        allow_new_entries: See `Oracle`.
        max_retries_per_trial: See `Oracle`.
        max_consecutive_failed_trials: See `Oracle`.
        **kwargs: See `Tuner`.
    """

    def __init__(
        self,
        hypermodel: Any = None,
        objective: ObjectiveLike = None,
        max_trials: int | None = None,
        seed: int | None = None,
        hyperparameters: HyperParameters | None = None,
        tune_new_entries: bool = True,
        allow_new_entries: bool = True,
        max_retries_per_trial: int = 0,
        max_consecutive_failed_trials: int | None = 3,
        **kwargs: Any,
    ) -> None:
        """Make the oracle and pass everything else on."""
        self.seed = seed
        oracle = GridSearchOracle(
            objective=objective,
            max_trials=max_trials,
            seed=seed,
            hyperparameters=hyperparameters,
            tune_new_entries=tune_new_entries,
            allow_new_entries=allow_new_entries,
            max_retries_per_trial=max_retries_per_trial,
            max_consecutive_failed_trials=max_consecutive_failed_trials,
        )
        super().__init__(oracle, hypermodel, **kwargs)


class BayesianOptimization(Tuner):
    """Tunes a Keras model by Bayesian optimisation: it learns where to look next.

    Args:
        hypermodel: A `HyperModel` or a function `build(hp)`.
        objective: See `Oracle`.
        max_trials: Number of trials.
        num_initial_points: See `BayesianOptimizationOracle`.
        alpha: See `BayesianOptimizationOracle`.
        beta: See `BayesianOptimizationOracle`.
        seed: See `Oracle`.
        hyperparameters: See `Oracle`.
        tune_new_entries: See `Oracle`.
        allow_new_entries: See `Oracle`.
        max_retries_per_trial: See `Oracle`.
        max_consecutive_failed_trials: See `Oracle`.
        **kwargs: See `Tuner`.
    """

    def __init__(
        self,
        hypermodel: Any = None,
        objective: ObjectiveLike = None,
        max_trials: int | None = 10,
        num_initial_points: int | None = None,
        alpha: float = 1e-4,
        beta: float = 2.6,
        seed: int | None = None,
        hyperparameters: HyperParameters | None = None,
        tune_new_entries: bool = True,
        allow_new_entries: bool = True,
        max_retries_per_trial: int = 0,
        max_consecutive_failed_trials: int | None = 3,
        **kwargs: Any,
    ) -> None:
        """Make the oracle and pass everything else on."""
        oracle = BayesianOptimizationOracle(
            objective=objective,
            max_trials=max_trials,
            num_initial_points=num_initial_points,
            alpha=alpha,
            beta=beta,
            seed=seed,
            hyperparameters=hyperparameters,
            tune_new_entries=tune_new_entries,
            allow_new_entries=allow_new_entries,
            max_retries_per_trial=max_retries_per_trial,
            max_consecutive_failed_trials=max_consecutive_failed_trials,
        )
        super().__init__(oracle, hypermodel, **kwargs)


class ContinuingTuner(Tuner):
    """A tuner whose trials may go on from the state in which another has stopped.

    What trains how long, and from where, is in the values that the oracle puts beside the
    hyperparameters: `tuner/epochs`, `tuner/initial_epoch`, and `tuner/trial_id`.

    Args:
        *args: See `Tuner`.
        **kwargs: See `Tuner`; `scheduler` must not be among them.

    Raises:
        ValueError: A scheduler was given.
    """

    _leaves_state = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Refuse a second schedule."""
        if kwargs.get("scheduler") is not None:
            raise ValueError(
                f"{type(self).__name__} says itself who trains how long. Received: "
                f"scheduler={kwargs['scheduler']!r}. Use `keratune.RandomSearch` with it instead."
            )
        self._warned = False
        super().__init__(*args, **kwargs)

    def _origin_of(self, trial: Trial) -> Any:
        from keratune.training.keras import Origin

        history = self.history
        record = first = self.oracle.record(trial)
        parent = _parent_of(history, record)
        if parent is None:
            return None
        folder = Path(self.get_trial_dir(parent.trial_id))
        if not any(folder.glob(FINAL_FILES)):
            return None
        explores = searched(parent.values) != searched(record.values)
        while parent is not None and searched(parent.values) == searched(first.values):
            first, parent = parent, _parent_of(history, parent)
        return Origin(first, folder, explores)

    def run_trial(self, trial: Trial, *args: Any, **kwargs: Any) -> Any:
        """Train a trial's model for the epochs that the schedule gives it."""
        values = dict(trial.hyperparameters.values)
        if schedule.EPOCHS in values:
            kwargs["epochs"] = values[schedule.EPOCHS]
            begun = self._repeat is None and self._begins_from_a_state(trial)
            kwargs["initial_epoch"] = values[schedule.INITIAL_EPOCH] if begun else 0
        return super().run_trial(trial, *args, **kwargs)

    def _begins_from_a_state(self, trial: Trial) -> bool:
        """Tell whether a trial goes on from another's state; warn where that state is missing."""
        if self._origin_of(trial) is not None:
            return True
        parent = dict(trial.hyperparameters.values).get(CONTINUES)
        if parent is not None and not self._warned:
            self._warned = True  # where `fit` leaves no state, this would be said of every trial
            logger.warning(
                "Trial %s was to go on from trial %s, whose state is missing in %s: it trains from "
                "the beginning, and so do further ones without a word.",
                trial.trial_id,
                parent,
                self.get_trial_dir(parent),
            )
        return False

    def _extendable(self) -> Iterable[int]:
        """Return the trials that a longer search would go on from."""
        return ()

    def _delete_states(self, numbers: Iterable[int]) -> None:
        """Delete the states in which trials have stopped."""
        for number in numbers:
            folder = Path(self.project_dir) / f"trial_{self.history[number].trial_id}"
            for file in folder.glob(FINAL_FILES):
                file.unlink(missing_ok=True)

    def on_search_end(self) -> None:
        """Delete the states that no trial will go on from."""
        super().on_search_end()
        kept = {f"trial_{self.history[number].trial_id}" for number in self._extendable()}
        for file in Path(self.project_dir).glob(f"trial_*/{FINAL_FILES}"):
            if file.parent.name not in kept:
                file.unlink(missing_ok=True)


def _parent_of(history: History, record: Record) -> Record | None:
    """Return the trial that a trial goes on from."""
    parent = history.number_of(dict(record.values).get(CONTINUES, ""))
    return None if parent is None else history[parent]


class Hyperband(ContinuingTuner):
    """Tunes a Keras model by Hyperband: many short trainings, the best of them longer.

    A promoted trial goes on where its parent stopped, with its weights, optimizer and callbacks,
    so that its curve is that of a training without the interruption. The epochs are the
    schedule's: `epochs` and `initial_epoch` that are passed to `search` are not used.

    Args:
        hypermodel: A `HyperModel` or a function `build(hp)`.
        objective: See `Oracle`.
        max_epochs: See `HyperbandOracle`.
        factor: See `HyperbandOracle`.
        hyperband_iterations: See `HyperbandOracle`.
        seed: See `Oracle`.
        hyperparameters: See `Oracle`.
        tune_new_entries: See `Oracle`.
        allow_new_entries: See `Oracle`.
        max_retries_per_trial: See `Oracle`.
        max_consecutive_failed_trials: See `Oracle`.
        **kwargs: See `Tuner`.
    """

    def __init__(
        self,
        hypermodel: Any = None,
        objective: ObjectiveLike = None,
        max_epochs: int = 100,
        factor: int = 3,
        hyperband_iterations: int | None = 1,
        seed: int | None = None,
        hyperparameters: HyperParameters | None = None,
        tune_new_entries: bool = True,
        allow_new_entries: bool = True,
        max_retries_per_trial: int = 0,
        max_consecutive_failed_trials: int | None = 3,
        **kwargs: Any,
    ) -> None:
        """Make the oracle and pass everything else on."""
        oracle = HyperbandOracle(
            objective=objective,
            max_epochs=max_epochs,
            factor=factor,
            hyperband_iterations=hyperband_iterations,
            seed=seed,
            hyperparameters=hyperparameters,
            tune_new_entries=tune_new_entries,
            allow_new_entries=allow_new_entries,
            max_retries_per_trial=max_retries_per_trial,
            max_consecutive_failed_trials=max_consecutive_failed_trials,
        )
        super().__init__(oracle, hypermodel, **kwargs)

    def on_trial_end(self, trial: Trial) -> None:
        """End the trial, then delete the states that no trial will go on from."""
        super().on_trial_end(trial)
        self._delete_disposable(self.oracle.record(trial).number)

    def reload(self) -> None:
        """Continue the project, and delete what a killed process could not."""
        super().reload()
        for record in self.history.trials:
            if record.finished:
                self._delete_disposable(record.number)

    def _delete_disposable(self, number: int) -> None:
        scheduler: schedule.Rounds = self.oracle.scheduler  # type: ignore[attr-defined]
        self._delete_states(scheduler.disposable(self.history, number))

    def on_search_begin(self) -> None:
        """Say what the search will cost."""
        scheduler: schedule.Rounds = self.oracle.scheduler  # type: ignore[attr-defined]
        trials, epochs = scheduler.total()
        rounds = [
            " > ".join(f"{scheduler.size(b, r)} x {scheduler.epochs(b, r)}" for r in range(b + 1))
            for b in reversed(range(scheduler.brackets))
        ]
        if self.progress is not None:
            times = scheduler.iterations or "endless"
            self.progress.say(f"Hyperband, trials x epochs: {'; '.join(rounds)}")
            self.progress.say(f"Each of {times} iterations: {trials} trials, {epochs} epochs")


class PopulationBasedTraining(ContinuingTuner):
    """Tunes a Keras model while it trains; see `keratune.population`.

    A population trains side by side. From time to time its worse members take over the weights of
    the better ones, with changed learning rates, dropout rates and the like, so that what is found
    is a schedule. The epochs are the population's: `epochs` that is passed to `search` is not used.

    Args:
        hypermodel: A `HyperModel` or a function `build(hp)`.
        objective: See `Oracle`.
        population: Members, at least 4.
        max_epochs: Epochs of each member in the end.
        interval: Epochs between two comparisons; default: a tenth of `max_epochs`.
        explored: Names of the hyperparameters that change while a member trains; default: every
            `Float`. They must not change the shapes of the model.
        seed: See `Oracle`.
        hyperparameters: See `Oracle`.
        tune_new_entries: See `Oracle`.
        allow_new_entries: See `Oracle`.
        max_retries_per_trial: See `Oracle`.
        max_consecutive_failed_trials: See `Oracle`.
        **kwargs: See `Tuner`.

    Raises:
        ValueError: An argument is out of range.

    Example:
        ```python
        tuner = keratune.PopulationBasedTraining(build_model, "val_loss", max_epochs=40, seed=0)
        tuner.search(x, y, validation_split=0.2)
        ```
    """

    def __init__(
        self,
        hypermodel: Any = None,
        objective: ObjectiveLike = None,
        population: int = 10,
        max_epochs: int = 100,
        interval: int | None = None,
        explored: Sequence[str] | None = None,
        *,
        seed: int | None = None,
        hyperparameters: HyperParameters | None = None,
        tune_new_entries: bool = True,
        allow_new_entries: bool = True,
        max_retries_per_trial: int = 0,
        max_consecutive_failed_trials: int | None = 3,
        **kwargs: Any,
    ) -> None:
        """Make the oracle and pass everything else on."""
        oracle = PopulationOracle(
            objective=objective,
            population=population,
            max_epochs=max_epochs,
            interval=interval,
            explored=explored,
            seed=seed,
            hyperparameters=hyperparameters,
            tune_new_entries=tune_new_entries,
            allow_new_entries=allow_new_entries,
            max_retries_per_trial=max_retries_per_trial,
            max_consecutive_failed_trials=max_consecutive_failed_trials,
        )
        super().__init__(oracle, hypermodel, **kwargs)

    def on_search_begin(self) -> None:
        """Say what the search will cost; ValueError where `explored` names what there is not."""
        self._remedy = "searches with other seeds tell them apart"  # confirming would not
        self._completion = "every member is trained"
        population = self.oracle.population  # type: ignore[attr-defined]
        explored = population.explored or frozenset()
        known = {parameter.name for parameter in self.history.space.space}
        unknown = sorted(explored - known)
        if unknown and unknown == sorted(explored):
            raise ValueError(
                "`explored` must name hyperparameters that the build declares: "
                f"{sorted(known)}. Received: {unknown}."
            )
        if unknown:  # a branch of the build that no trial has taken yet may declare them
            logger.warning("`explored` names %s, which no build has declared so far", unknown)
        if self.progress is not None:
            epochs = population.size * population.max_epochs
            self.progress.say(
                f"Population of {population.size}, compared every {population.interval} epochs: "
                f"{population.size * population.generations} trials, {epochs} epochs"
            )

    def on_trial_end(self, trial: Trial) -> None:
        """End the trial, then delete the states that no member will go on from."""
        super().on_trial_end(trial)
        self._delete_states(self.oracle.population.disposable(self.history))  # type: ignore[attr-defined]

    def _extendable(self) -> Iterable[int]:
        going_on: list[int] = self.oracle.population.going_on(self.history)  # type: ignore[attr-defined]
        return going_on

    def search(self, *fit_args: Any, **fit_kwargs: Any) -> None:
        """Search; see `Tuner.search`. `confirm` is refused, as `confirm()` is."""
        if fit_kwargs.get("confirm"):
            raise ValueError(f"{UNCONFIRMED} Received: confirm={fit_kwargs['confirm']!r}.")
        super().search(*fit_args, **fit_kwargs)

    def confirm(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse: what is found is a schedule of hyperparameters, not one configuration.

        Raises:
            ValueError: Always.
        """
        raise ValueError(f"{UNCONFIRMED} Received: a call of `confirm()`.")


class Search(Tuner):
    """Tunes a Keras model with any search algorithm of the registry.

    Args:
        hypermodel: A `HyperModel` or a function `build(hp)`.
        objective: See `Oracle`.
        max_trials: Number of trials.
        algorithm: A name out of `keratune.algorithms.available()`, or an `Algorithm`. A study may
            go on with another one than it was begun with: each learns from all trials.
        seed: See `Oracle`.
        hyperparameters: See `Oracle`.
        tune_new_entries: See `Oracle`.
        allow_new_entries: See `Oracle`.
        max_retries_per_trial: See `Oracle`.
        max_consecutive_failed_trials: See `Oracle`.
        **kwargs: See `Tuner`.

    Raises:
        ValueError: There is no algorithm of this name.

    Example:
        ```python
        tuner = keratune.Search(build_model, "val_loss", max_trials=50, algorithm="evolution")
        ```
    """

    def __init__(
        self,
        hypermodel: Any = None,
        objective: ObjectiveLike = None,
        max_trials: int | None = 10,
        *,
        algorithm: str | Algorithm = "bayesian",
        seed: int | None = None,
        hyperparameters: HyperParameters | None = None,
        tune_new_entries: bool = True,
        allow_new_entries: bool = True,
        max_retries_per_trial: int = 0,
        max_consecutive_failed_trials: int | None = 3,
        **kwargs: Any,
    ) -> None:
        """Make the oracle and pass everything else on."""
        oracle = SearchOracle(
            algorithm,
            objective=objective,
            max_trials=max_trials,
            seed=seed,
            hyperparameters=hyperparameters,
            tune_new_entries=tune_new_entries,
            allow_new_entries=allow_new_entries,
            max_retries_per_trial=max_retries_per_trial,
            max_consecutive_failed_trials=max_consecutive_failed_trials,
        )
        super().__init__(oracle, hypermodel, **kwargs)


class Auto(Search):
    """Tunes a Keras model without a choice to be made: give it a budget.

    A Gaussian process over configurations and epochs says what to start; every trial trains
    briefly at first and goes on as long as it is among the best. See `keratune.algorithms.auto` and
    `keratune.schedulers.auto`. With `verbose=2` each decision is explained in a line; all are kept
    in the journal.

    Args:
        hypermodel: A `HyperModel` or a function `build(hp)`.
        objective: See `Oracle`.
        max_trials: Number of configurations; default: as many as the budget allows.
        max_epochs: Epochs that all trials may train in all, unlike the `max_epochs` of a scheduler;
            default, where none of the three is given: 20 times those of a training in full. A trial
            of several executions or folds ends with all of them.
        max_time: Time that trials may train in all: seconds, a text such as "2h", or a
            `datetime.timedelta`. It goes on behind an interruption with what was left.
        algorithm: See `Search`.
        scheduler: See `Tuner`.
        **kwargs: See `Search` and `Tuner`.

    Raises:
        ValueError: A budget is not positive.

    Example:
        ```python
        tuner = keratune.Auto(build_model, "val_accuracy", max_time="30m", seed=0)
        tuner.search(x, y, epochs=50, validation_split=0.2)
        ```
    """

    def __init__(
        self,
        hypermodel: Any = None,
        objective: ObjectiveLike = None,
        max_trials: int | None = None,
        max_epochs: int | None = None,
        max_time: float | str | datetime.timedelta | None = None,
        *,
        algorithm: str | Algorithm = "auto",
        scheduler: str | Scheduler | None = "auto",
        stop: Stop | Sequence[Stop] | None = None,
        **kwargs: Any,
    ) -> None:
        """Make the budget what ends the search."""
        if max_trials is not None and max_trials < 1:
            raise ValueError(f"`max_trials` must be 1 or more. Received: max_trials={max_trials}.")
        budget: list[Stop] = [] if max_epochs is None else [Epochs(max_epochs)]
        budget += [] if max_time is None else [TimeBudget(max_time)]
        super().__init__(
            hypermodel,
            objective,
            max_trials,
            algorithm=algorithm,
            scheduler=scheduler,
            stop=(*budget, *stops_of(stop)),
            **kwargs,
        )

    def _bound_scheduler(self, fit_args: tuple[Any, ...], fit_kwargs: Any) -> Scheduler:
        bound = super()._bound_scheduler(fit_args, fit_kwargs)
        if not self.stop and not self.oracle.max_trials:
            self.oracle.stops = (Epochs(TRAININGS * (bound.max_epochs or 1)),)
        return bound


class TPE(Search):
    """Tunes a Keras model with tree-structured Parzen estimators; see `keratune.algorithms.tpe`.

    Args:
        hypermodel: A `HyperModel` or a function `build(hp)`.
        objective: See `Oracle`.
        max_trials: Number of trials.
        **kwargs: See `Search` and `Tuner`.
    """

    def __init__(
        self,
        hypermodel: Any = None,
        objective: ObjectiveLike = None,
        max_trials: int | None = 10,
        **kwargs: Any,
    ) -> None:
        """Name the algorithm."""
        super().__init__(hypermodel, objective, max_trials, algorithm="tpe", **kwargs)


class CMAES(Search):
    """Tunes a Keras model with covariance matrix adaptation; see `keratune.algorithms.cmaes`.

    It pays from about a hundred trials on. Needs the package cmaes.

    Args:
        hypermodel: A `HyperModel` or a function `build(hp)`.
        objective: See `Oracle`.
        max_trials: Number of trials.
        population: Trials of a generation, at least 4; default: by the number of hyperparameters.
        **kwargs: See `Search` and `Tuner`.
    """

    def __init__(
        self,
        hypermodel: Any = None,
        objective: ObjectiveLike = None,
        max_trials: int | None = 10,
        *,
        population: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Make the algorithm."""
        chosen = algorithms.create("cmaes", population=population)
        super().__init__(hypermodel, objective, max_trials, algorithm=chosen, **kwargs)


class QuasiRandom(Search):
    """Tunes a Keras model with points that fill the space evenly.

    See `keratune.algorithms.quasirandom`.

    Args:
        hypermodel: A `HyperModel` or a function `build(hp)`.
        objective: See `Oracle`.
        max_trials: Number of trials.
        sequence: "sobol" or "halton".
        **kwargs: See `Search` and `Tuner`.
    """

    def __init__(
        self,
        hypermodel: Any = None,
        objective: ObjectiveLike = None,
        max_trials: int | None = 10,
        *,
        sequence: str = "sobol",
        **kwargs: Any,
    ) -> None:
        """Make the algorithm."""
        chosen = algorithms.create("quasirandom", sequence=sequence)
        super().__init__(hypermodel, objective, max_trials, algorithm=chosen, **kwargs)


class Evolution(Search):
    """Tunes a Keras model by ageing evolution; see `keratune.algorithms.evolution`.

    Args:
        hypermodel: A `HyperModel` or a function `build(hp)`.
        objective: See `Oracle`.
        max_trials: Number of trials.
        population: The last trials that may have offspring.
        tournament: How many of them compete for it.
        **kwargs: See `Search` and `Tuner`.
    """

    def __init__(
        self,
        hypermodel: Any = None,
        objective: ObjectiveLike = None,
        max_trials: int | None = 10,
        *,
        population: int = 20,
        tournament: int = 10,
        **kwargs: Any,
    ) -> None:
        """Make the algorithm."""
        chosen = algorithms.create("evolution", population=population, tournament=tournament)
        super().__init__(hypermodel, objective, max_trials, algorithm=chosen, **kwargs)
