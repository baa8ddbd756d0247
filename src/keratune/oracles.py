"""The oracles of the built-in search algorithms: signatures over `Oracle`.

Each names an algorithm of the registry; what it suggests is kept from repeating what was tried.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from keratune import algorithms
from keratune.algorithms.base import Algorithm
from keratune.objectives import ObjectiveLike
from keratune.oracle import Oracle
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
    def _source(self) -> Callable[[int, int], Any] | None:
        overridden = type(self).populate_space is not AlgorithmOracle.populate_space
        return self._populate if overridden else None

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Return what the algorithm suggests for the next trial; see `Oracle.populate_space`."""
        values = self.study.suggest(self.study.history.next_number)
        if values is Verdict.STOP:
            return {"status": TrialStatus.STOPPED, "values": None}
        if values is Verdict.WAIT:
            return {"status": TrialStatus.IDLE, "values": None}
        return {"status": TrialStatus.RUNNING, "values": values}


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
