"""The tuners: signatures over `Tuner` and an oracle.

All keyword arguments of `Tuner` and `BaseTuner` are accepted by every tuner.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from keratune import algorithms
from keratune import rounds as schedule
from keratune.algorithms import Algorithm
from keratune.objectives import ObjectiveLike
from keratune.oracles import (
    BayesianOptimizationOracle,
    GridSearchOracle,
    HyperbandOracle,
    RandomSearchOracle,
    SearchOracle,
)
from keratune.space import HyperParameters
from keratune.training.checkpoints import FINAL_FILES
from keratune.trial import Trial
from keratune.tuner import Tuner


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


class Hyperband(Tuner):
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

    _leaves_state = True

    def _origin_of(self, trial: Trial) -> Any:
        from keratune.training.keras import Origin

        history = self.history
        values = trial.hyperparameters.values
        parent = first = history.number_of(dict(values).get(schedule.PARENT, ""))
        if parent is None or first is None:
            return None
        while schedule.PARENT in history[first].values:
            first = history.number_of(history[first].values[schedule.PARENT]) or 0
        folder = Path(self.get_trial_dir(history[parent].trial_id))
        return Origin(history[first], folder) if any(folder.glob(FINAL_FILES)) else None

    def on_trial_end(self, trial: Trial) -> None:
        """End the trial, then delete the states that no trial will go on from."""
        super().on_trial_end(trial)
        self._delete_states(self.oracle.record(trial).number)

    def on_search_end(self) -> None:
        """Delete the states of all trials: no round is left to go on with them."""
        super().on_search_end()
        for file in Path(self.project_dir).glob(f"trial_*/{FINAL_FILES}"):
            file.unlink(missing_ok=True)

    def reload(self) -> None:
        """Continue the project, and delete what a killed process could not."""
        super().reload()
        for record in self.history.trials:
            if record.finished:
                self._delete_states(record.number)

    def _delete_states(self, number: int) -> None:
        scheduler: schedule.Rounds = self.oracle.scheduler  # type: ignore[attr-defined]
        for other in scheduler.disposable(self.history, number):
            folder = Path(self.project_dir) / f"trial_{self.history[other].trial_id}"
            for file in folder.glob(FINAL_FILES):
                file.unlink(missing_ok=True)

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

    def run_trial(self, trial: Trial, *args: Any, **kwargs: Any) -> Any:
        """Train a trial's model for the epochs that the schedule gives it."""
        values = dict(trial.hyperparameters.values)
        if schedule.EPOCHS in values:
            kwargs["epochs"] = values[schedule.EPOCHS]
            begun = self._origin_of(trial) is not None
            kwargs["initial_epoch"] = values[schedule.INITIAL_EPOCH] if begun else 0
        return super().run_trial(trial, *args, **kwargs)


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
        population: int = 50,
        tournament: int = 15,
        **kwargs: Any,
    ) -> None:
        """Make the algorithm."""
        chosen = algorithms.create("evolution", population=population, tournament=tournament)
        super().__init__(hypermodel, objective, max_trials, algorithm=chosen, **kwargs)
