"""The costs of a trial's model: measured once, held to their limits, shown among its metrics.

Parameters and operations are known behind the build, where the model knows the shape of its inputs;
memory and latency depend on the batch size, and what is left is measured when `model.fit` is
called, before a step is trained. A training loop that never calls it is measured when it has ended.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from keratune.errors import FatalValueError, TrialRejectedError
from keratune.model_limits import ModelLimits
from keratune.objectives import COST_NAMES, Objective
from keratune.training import model_cost
from keratune.training.results import is_history

BATCH_SIZE = 32  # Keras's own, where `fit` is told none
KNOWN_BY_THE_BUILD = ("params", "flops")


class ModelCosts:
    """What one trial's model costs, as far as somebody asks.

    Args:
        limits: What it may cost.
        objective: What is optimised; the costs among its names are measured too.
        known: Metrics of the trial's earlier epochs; costs among them are not measured again.

    Attributes:
        values: What was measured, by name.
    """

    def __init__(self, limits: ModelLimits, objective: Objective, known: Mapping[str, float]):
        """Start with what is known."""
        wanted = {*limits.bounds, *objective.cost_names}
        self.limits = limits
        self.names = [name for name in COST_NAMES if name in wanted]
        self.values = {name: known[name] for name in self.names if name in known}

    def built(self, model: Any) -> None:
        """Measure what the build alone tells.

        Raises:
            TrialRejectedError: It breaks a limit.
        """
        if not isinstance(model, keras.Model) or not model.built:
            return
        for name in self._missing():
            if name in KNOWN_BY_THE_BUILD:
                try:
                    self.values[name] = model_cost.measure(model, name)
                except ValueError:
                    continue  # the shape of its inputs is known when it is fitted
        self._refuse()

    def fitted(self, model: Any, x: Any = None, batch_size: Any = None) -> None:
        """Measure what is left.

        Args:
            model: The model that is about to be trained.
            x: What its `fit` is called with: arrays, a `tf.data.Dataset`, a `PyDataset` or a
                PyTorch loader.
            batch_size: That of `fit`; None: that of `x`, or 32.

        Raises:
            TrialRejectedError: It breaks a limit.
            FatalValueError: The shape of its inputs is not known.
        """
        if not self._missing():
            return
        batch = _first_batch(x)
        size = batch_size or _batch_size(x, batch) or BATCH_SIZE
        for name in self._missing():
            self.values[name] = _measured(model, name, int(size), batch)
        self._refuse()

    def _missing(self) -> list[str]:
        return [name for name in self.names if name not in self.values]

    def _refuse(self) -> None:
        breach = self.limits.breach(self.values)
        if breach is not None:
            raise TrialRejectedError(breach, self.values)

    def told(self, result: Any, model: Any) -> Any:
        """Return what a fit returned with the costs beside its metrics.

        Args:
            result: A `History`, a dict, a list of these, or anything else, which stays as it is.
            model: The model, to be measured if that has not been done.
        """
        if isinstance(result, list):
            return [self.told(part, model) for part in result]
        if isinstance(model, keras.Model):
            self.fitted(model)
        if isinstance(result, Mapping):
            return {**self.values, **result}
        if is_history(result):
            epochs = max((len(column) for column in result.history.values()), default=0)
            for name, value in self.values.items():
                result.history.setdefault(name, [value] * epochs)
        return result


class CostMetrics(keras.callbacks.Callback):
    """Puts the costs beside the metrics of every epoch. Stands before all that read them.

    Args:
        costs: The trial's costs; a metric of the user's own that bears the same name wins.
    """

    def __init__(self, costs: ModelCosts) -> None:
        """Keep them."""
        super().__init__()
        self.costs = costs

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Put them into the logs, which all callbacks share."""
        if logs is not None:
            for name, value in self.costs.values.items():
                logs.setdefault(name, value)


def _measured(model: Any, name: str, batch_size: int, batch: Any) -> float:
    """Measure by the model's own input shape, by the data's where it has none."""
    try:
        return model_cost.measure(model, name, batch_size)
    except ValueError as error:
        if batch is None:
            raise FatalValueError(str(error)) from error
        return model_cost.measure(model, name, batch_size, batch)


def _first_batch(x: Any) -> Any:
    """Return arrays or their shapes as `fit` would give them to the model, None where unknown."""
    if x is None or hasattr(x, "__next__"):  # a generator's first batch would be lost
        return None
    if hasattr(x, "element_spec"):
        return _inputs_of(x.element_spec)
    if isinstance(x, keras.utils.PyDataset):
        return _inputs_of(x[0])
    if hasattr(x, "dataset") and hasattr(x, "batch_size"):
        return _inputs_of(next(iter(x)))
    return x


def _inputs_of(element: Any) -> Any:
    return element[0] if isinstance(element, (tuple, list)) else element


def _batch_size(x: Any, batch: Any) -> int | None:
    """Return the size of a data set's batches, None for arrays and what does not tell."""
    if batch is None or batch is x:
        return None
    first = keras.tree.flatten(batch)[0]
    size: int | None = tuple(first.shape)[0]
    return size
