"""The oracles of the built-in search algorithms: signatures over `Oracle`.

Each names an algorithm of the registry; what it suggests is kept from repeating what was tried.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from keratune import algorithms
from keratune._random import stream
from keratune.algorithms.base import Algorithm
from keratune.configurations import searched
from keratune.objectives import ObjectiveLike
from keratune.oracle import Oracle
from keratune.population import Population, Step
from keratune.rounds import PARENT, Action, Rounds, budget_of
from keratune.space import HyperParameters
from keratune.study import Verdict
from keratune.trial import TrialStatus


class AlgorithmOracle(Oracle):
    """An oracle whose trials a search algorithm of the registry chooses.

    Attributes:
        algorithm: The algorithm's name.
    """

    algorithm: ClassVar[str]

    def _options(self) -> dict[str, Any]:
        """Return the arguments of the algorithm."""
        return {}

    def _algorithm(self) -> Algorithm:
        return algorithms.create(self.algorithm, **self._options())

    @property
    def _source(self) -> Callable[[int], Any] | None:
        overridden = type(self).populate_space is not AlgorithmOracle.populate_space
        return self._populate if overridden else None

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Return what the algorithm suggests for the next trial; see `Oracle.populate_space`."""
        values = self.study.planner.suggest(self.study.history.next_number)
        if values is Verdict.STOP:
            return {"status": TrialStatus.STOPPED, "values": None}
        if values is Verdict.WAIT:
            return {"status": TrialStatus.IDLE, "values": None}
        return {"status": TrialStatus.RUNNING, "values": values}


class SearchOracle(AlgorithmOracle):
    """Searches with any algorithm.

    Args:
        algorithm: A name out of `keratune.algorithms.available()`, or an `Algorithm`.
        objective: See `Oracle`.
        max_trials: See `Oracle`.
        **kwargs: See `Oracle`.

    Raises:
        ValueError: There is no algorithm of this name.
        TypeError: `algorithm` is neither a name nor an algorithm.
    """

    def __init__(
        self,
        algorithm: str | Algorithm,
        objective: ObjectiveLike = None,
        max_trials: int | None = 10,
        **kwargs: Any,
    ) -> None:
        """Find the algorithm and pass the rest on."""
        if not isinstance(algorithm, (str, Algorithm)):
            raise TypeError(
                f"`algorithm` must be one of {algorithms.available()} or a "
                f"keratune.algorithms.Algorithm. Received: {algorithm!r}."
            )
        found = algorithms.create(algorithm) if isinstance(algorithm, str) else algorithm
        self._chosen = found
        super().__init__(objective=objective, max_trials=max_trials, **kwargs)

    def _algorithm(self) -> Algorithm:
        return self._chosen

    def _settings(self) -> dict[str, Any]:
        options = ", ".join(f"{name}={value!r}" for name, value in vars(self._chosen).items())
        return {**super()._settings(), "algorithm": f"{type(self._chosen).__name__}({options})"}


class RandomSearchOracle(AlgorithmOracle):
    """Draws configurations at random. Arguments: see `Oracle`."""

    algorithm = "random"

    def __init__(
        self,
        objective: ObjectiveLike = None,
        max_trials: int | None = 10,
        seed: int | None = None,
        hyperparameters: HyperParameters | None = None,
        allow_new_entries: bool = True,
        tune_new_entries: bool = True,
        max_retries_per_trial: int = 0,
        max_consecutive_failed_trials: int | None = 3,
    ) -> None:
        """Pass the arguments on."""
        super().__init__(
            objective=objective,
            max_trials=max_trials,
            hyperparameters=hyperparameters,
            allow_new_entries=allow_new_entries,
            tune_new_entries=tune_new_entries,
            seed=seed,
            max_retries_per_trial=max_retries_per_trial,
            max_consecutive_failed_trials=max_consecutive_failed_trials,
        )


class BayesianOptimizationOracle(AlgorithmOracle):
    """Learns from finished trials where an improvement is to be expected.

    Args:
        objective: See `Oracle`.
        max_trials: See `Oracle`.
        num_initial_points: See `keratune.algorithms.bayesian`.
        alpha: See `keratune.algorithms.bayesian`.
        beta: See `keratune.algorithms.bayesian`.
        seed: See `Oracle`.
        hyperparameters: See `Oracle`.
        allow_new_entries: See `Oracle`.
        tune_new_entries: See `Oracle`.
        max_retries_per_trial: See `Oracle`.
        max_consecutive_failed_trials: See `Oracle`.
    """

    algorithm = "bayesian"

    def __init__(
        self,
        objective: ObjectiveLike = None,
        max_trials: int | None = 10,
        num_initial_points: int | None = None,
        alpha: float = 1e-4,
        beta: float = 2.6,
        seed: int | None = None,
        hyperparameters: HyperParameters | None = None,
        allow_new_entries: bool = True,
        tune_new_entries: bool = True,
        max_retries_per_trial: int = 0,
        max_consecutive_failed_trials: int | None = 3,
    ) -> None:
        """Keep the algorithm's settings and pass the rest on."""
        super().__init__(
            objective=objective,
            max_trials=max_trials,
            hyperparameters=hyperparameters,
            allow_new_entries=allow_new_entries,
            tune_new_entries=tune_new_entries,
            seed=seed,
            max_retries_per_trial=max_retries_per_trial,
            max_consecutive_failed_trials=max_consecutive_failed_trials,
        )
        self.num_initial_points = num_initial_points
        self.alpha = alpha
        self.beta = beta

    def _options(self) -> dict[str, Any]:
        return {
            "num_initial_points": self.num_initial_points,
            "alpha": self.alpha,
            "beta": self.beta,
        }

    def _settings(self) -> dict[str, Any]:
        return {**super()._settings(), **self._options()}

    def _peer_state(self) -> dict[str, Any]:
        return self._options()


class HyperbandOracle(AlgorithmOracle):
    """Runs many short trainings and the best of them longer; see `keratune.rounds`.

    A promoted configuration is a trial of its own. Its values hold, beside the hyperparameters,
    `tuner/epochs`, `tuner/initial_epoch`, `tuner/bracket`, `tuner/round` and, of a promoted one,
    `tuner/trial_id`, the trial that it goes on from.

    Args:
        objective: See `Oracle`.
        max_epochs: Epochs of the longest training.
        factor: How many times fewer trials, and longer trainings, each round has.
        hyperband_iterations: How often all brackets are run; None: without end.
        seed: See `Oracle`.
        hyperparameters: See `Oracle`.
        allow_new_entries: See `Oracle`.
        tune_new_entries: See `Oracle`.
        max_retries_per_trial: See `Oracle`.
        max_consecutive_failed_trials: See `Oracle`.

    Raises:
        ValueError: `factor` is smaller than 2.
    """

    algorithm = "random"

    def __init__(
        self,
        objective: ObjectiveLike = None,
        max_epochs: int = 100,
        factor: int = 3,
        hyperband_iterations: int | None = 1,
        seed: int | None = None,
        hyperparameters: HyperParameters | None = None,
        allow_new_entries: bool = True,
        tune_new_entries: bool = True,
        max_retries_per_trial: int = 0,
        max_consecutive_failed_trials: int | None = 3,
    ) -> None:
        """Make the schedule and pass the rest on."""
        super().__init__(
            objective=objective,
            hyperparameters=hyperparameters,
            allow_new_entries=allow_new_entries,
            tune_new_entries=tune_new_entries,
            seed=seed,
            max_retries_per_trial=max_retries_per_trial,
            max_consecutive_failed_trials=max_consecutive_failed_trials,
        )
        self.scheduler = Rounds(max_epochs, factor, hyperband_iterations)
        self.max_epochs = max_epochs
        self.factor = factor
        self.hyperband_iterations = hyperband_iterations

    def _settings(self) -> dict[str, Any]:
        return {
            **super()._settings(),
            "max_epochs": self.max_epochs,
            "factor": self.factor,
            "hyperband_iterations": self.hyperband_iterations,
        }

    def _peer_state(self) -> dict[str, Any]:
        return {
            "hyperband_iterations": self.hyperband_iterations,
            "max_epochs": self.max_epochs,
            "min_epochs": 1,
            "factor": self.factor,
            **self.scheduler.peer_state(self.study.history),
        }

    def _beside(self) -> Mapping[str, Any] | None:
        plan = self.scheduler.plan(self.study.history)
        return budget_of(plan) if plan.action is Action.START else None

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Return a new configuration, or a promoted one, with its budget among the values."""
        history = self.study.history
        plan = self.scheduler.plan(history)
        if plan.action is Action.START:
            fresh = super().populate_space(trial_id)
            if fresh["status"] == TrialStatus.RUNNING:
                fresh["values"] = {**fresh["values"], **budget_of(plan)}
                return fresh
            plan = self.scheduler.plan(history, exhausted=True)
        if plan.action is Action.PROMOTE and plan.parent is not None:
            parent = history[plan.parent]
            budget = {**budget_of(plan), PARENT: parent.trial_id}
            kept = history.space.live(searched(parent.values))
            return {"status": TrialStatus.RUNNING, "values": {**kept, **budget}}
        status = TrialStatus.IDLE if plan.action is Action.WAIT else TrialStatus.STOPPED
        return {"status": status, "values": None}


class PopulationOracle(AlgorithmOracle):
    """Trains a population whose worse members go on from the better ones; see
    `keratune.population`.

    Each interval of a member is a trial. Its values hold, beside the hyperparameters,
    `tuner/member`, `tuner/generation`, `tuner/epochs`, `tuner/initial_epoch` and `tuner/trial_id`,
    the trial that it goes on from.

    Args:
        objective: See `Oracle`.
        population: Members, at least 4.
        max_epochs: Epochs of each member in the end.
        interval: Epochs between two comparisons; default: a tenth of `max_epochs`.
        explored: See `keratune.population.Population`.
        **kwargs: See `Oracle`.

    Raises:
        ValueError: An argument is out of range.
    """

    algorithm = "random"

    def __init__(
        self,
        objective: ObjectiveLike = None,
        population: int = 10,
        max_epochs: int = 100,
        interval: int | None = None,
        explored: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        """Make the population and pass the rest on."""
        super().__init__(objective=objective, **kwargs)
        self.population = Population(population, max_epochs, interval, explored)

    def _settings(self) -> dict[str, Any]:
        population = self.population
        return {
            **super()._settings(),
            "population": population.size,
            "explored": population.explored and sorted(population.explored),
            "max_epochs": population.max_epochs,
            "interval": population.interval,
        }

    def _next(self) -> tuple[Step, dict[str, Any] | None] | None:
        history = self.study.history
        number = history.next_number
        begun = history.rejections(number) + history.discarded.get(number, 0)
        rng = stream(self.seed, number, "population", begun)
        return self.population.proposed(history, number, rng)

    def _beside(self) -> Mapping[str, Any] | None:
        proposed = self._next()
        if proposed is None or proposed[0].parent is not None:
            return None
        return self.population.schedule(self.study.history, proposed[0])

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Return how the member that lags most goes on."""
        history, population = self.study.history, self.population
        proposed = self._next()
        if proposed is None:
            over = population.is_over(history)
            status = TrialStatus.STOPPED if over else TrialStatus.IDLE
            return {"status": status, "values": None}
        step, values = proposed
        if values is None:
            fresh = super().populate_space(trial_id)
            if fresh["status"] != TrialStatus.RUNNING:
                return fresh
            values = fresh["values"]
        return {
            "status": TrialStatus.RUNNING,
            "values": {**values, **population.schedule(history, step)},
        }


class GridSearchOracle(AlgorithmOracle):
    """Tries every combination of values. Arguments: see `Oracle`."""

    algorithm = "grid"

    def __init__(
        self,
        objective: ObjectiveLike = None,
        max_trials: int | None = None,
        seed: int | None = None,
        hyperparameters: HyperParameters | None = None,
        allow_new_entries: bool = True,
        tune_new_entries: bool = True,
        max_retries_per_trial: int = 0,
        max_consecutive_failed_trials: int | None = 3,
    ) -> None:
        """Pass the arguments on."""
        super().__init__(
            objective=objective,
            max_trials=max_trials,
            hyperparameters=hyperparameters,
            allow_new_entries=allow_new_entries,
            tune_new_entries=tune_new_entries,
            seed=seed,
            max_retries_per_trial=max_retries_per_trial,
            max_consecutive_failed_trials=max_consecutive_failed_trials,
        )
