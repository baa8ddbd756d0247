"""The tuners: signatures over `Tuner` and an oracle.

All keyword arguments of `Tuner` and `BaseTuner` are accepted by every tuner.
"""

from __future__ import annotations

from typing import Any

from keratune.objectives import ObjectiveLike
from keratune.oracles import GridSearchOracle, RandomSearchOracle
from keratune.space import HyperParameters
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
