"""What training reported: metric values by step, and the best among them.

A step holds one value per execution of the trial and counts as their mean. NaN is kept but is
never the best. The configs are the JSON form that trial files hold.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, final

import numpy as np

from keratune.objectives import Direction, infer_metric_direction, validated_direction


@final
class MetricObservation:
    """The values of a metric at one step.

    Args:
        value: The value, or one value per execution.
        step: The step (epoch) that they were reported at.

    Example:
        ```python
        observation = MetricObservation(0.5, step=3)
        observation.append(0.7)
        observation.mean()  # 0.6
        ```
    """

    def __init__(self, value: float | Sequence[float], step: int) -> None:
        """Keep the values as a list of their own."""
        self.value = _as_list(value)
        self.step = step

    def append(self, value: float | Sequence[float]) -> None:
        """Add the value, or the values, of further executions.

        Args:
            value: One value or several.
        """
        self.value.extend(_as_list(value))

    def mean(self) -> float:
        """Return the mean over the executions, NaN when one of them is NaN."""
        with np.errstate(all="ignore"):
            return float(np.mean(self.value))

    def get_config(self) -> dict[str, Any]:
        """Return `{"value": [...], "step": n}`."""
        return {"value": list(self.value), "step": self.step}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> MetricObservation:
        """Return the observation that `get_config` described.

        Args:
            config: `{"value": [...], "step": n}`.

        Returns:
            A new observation.
        """
        return cls(**config)

    def __eq__(self, other: object) -> bool:
        """Compare values and step."""
        if not isinstance(other, MetricObservation):
            return NotImplemented
        return (self.value, self.step) == (other.value, other.step)

    def __repr__(self) -> str:
        """Show values and step."""
        return f"MetricObservation(value={self.value}, step={self.step})"


@final
class MetricHistory:
    """The values of one metric at all steps, and the best of them.

    The best is kept up to date with each value. All steps are gone through again only when another
    execution makes the best step worse.

    Args:
        direction: `"min"` or `"max"`.

    Raises:
        ValueError: `direction` is neither.

    Example:
        ```python
        history = MetricHistory("max")
        history.update(0.8, step=0)
        history.update(0.9, step=1)
        history.get_best_step()  # 1
        ```
    """

    def __init__(self, direction: str = "min") -> None:
        """Start without observations."""
        self.direction = validated_direction(direction)
        self._observations: dict[int, MetricObservation] = {}
        self._best: tuple[float, int] | None = None  # (loss, step), of equal losses the first step

    def update(self, value: float | Sequence[float], step: int) -> None:
        """Record a value, or the values of several executions, at a step.

        Args:
            value: One value or several; they join those already recorded at the step.
            step: The step (epoch).
        """
        if step in self._observations:
            self._observations[step].append(value)
        else:
            self._observations[step] = MetricObservation(value, step)
        self._update_best(step)

    def get_best_value(self) -> float | None:
        """Return the best mean of a step, NaN when all are NaN, None when there is no value."""
        if not self._observations:
            return None
        if self._best is None:
            return math.nan
        return self._signed(self._best[0])

    def get_best_step(self) -> int | None:
        """Return the first step that has the best value, None when no step has a number."""
        return None if self._best is None else self._best[1]

    def get_last_value(self) -> float | None:
        """Return the mean at the highest step, None when there is no value."""
        if not self._observations:
            return None
        return self._observations[max(self._observations)].mean()

    def get_history(self) -> list[MetricObservation]:
        """Return copies of the observations, sorted by step."""
        ordered = (self._observations[step] for step in sorted(self._observations))
        return [MetricObservation(seen.value, seen.step) for seen in ordered]

    def set_history(self, observations: Iterable[MetricObservation]) -> None:
        """Record all values of the observations, beside those already recorded.

        Args:
            observations: What `get_history` of another history returned.
        """
        for observation in observations:
            self.update(observation.value, step=observation.step)

    def get_statistics(self) -> dict[str, float]:
        """Return min, max, mean, median, var and std of the steps' means, NaN left out.

        Returns:
            The six numbers by name, each NaN when all means are; empty when there is no value.
        """
        if not self._observations:
            return {}
        means = np.array([observation.mean() for observation in self.get_history()])
        numbers = means[~np.isnan(means)]
        if numbers.size == 0:
            numbers = means
        names = ("min", "max", "mean", "median", "var", "std")
        with np.errstate(all="ignore"):
            return {name: float(getattr(np, name)(numbers)) for name in names}

    def get_config(self) -> dict[str, Any]:
        """Return `{"direction", "observations": [...]}`, sorted by step."""
        return {
            "direction": self.direction,
            "observations": [observation.get_config() for observation in self.get_history()],
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> MetricHistory:
        """Return the history that `get_config` described.

        Args:
            config: `{"direction", "observations": [...]}`.

        Returns:
            A new history.
        """
        history = cls(config["direction"])
        history.set_history(map(MetricObservation.from_config, config["observations"]))
        return history

    def _update_best(self, step: int) -> None:
        rank = self._rank(step)
        if self._best is None or (rank is not None and rank < self._best):
            self._best = rank
        elif step == self._best[1] and rank != self._best:
            ranks = map(self._rank, self._observations)
            self._best = min((rank for rank in ranks if rank is not None), default=None)

    def _rank(self, step: int) -> tuple[float, int] | None:
        mean = self._observations[step].mean()
        return None if math.isnan(mean) else (self._signed(mean), step)

    def _signed(self, value: float) -> float:
        """Turn a value into a loss, or a loss into the value."""
        return value if self.direction == "min" else -value


@final
class MetricsTracker:
    """The histories of all metrics of a trial, by name.

    Args:
        metrics: Keras metrics to register, with the direction that each of them has.

    Example:
        ```python
        tracker = MetricsTracker()
        tracker.update("val_accuracy", 0.9, step=2)  # True: the best value has changed
        tracker.get_best_step("val_accuracy")  # 2
        ```
    """

    def __init__(self, metrics: Iterable[Any] | None = None) -> None:
        """Start with histories for the metrics, if any."""
        self.metrics: dict[str, MetricHistory] = {}
        self.register_metrics(() if metrics is None else metrics)

    def exists(self, name: str) -> bool:
        """Tell whether the metric is registered.

        Args:
            name: Name of the metric.

        Returns:
            True when the accessors know it.
        """
        return name in self.metrics

    def register_metrics(self, metrics: Iterable[Any] | None = None) -> None:
        """Register Keras metrics under their own names.

        Args:
            metrics: Objects with a `name`.

        Raises:
            ValueError: A metric of that name is registered already.
        """
        for metric in metrics or ():
            self.register(metric.name, infer_metric_direction(metric))

    def register(self, name: str, direction: str | None = None) -> None:
        """Start the history of a metric.

        Args:
            name: Name of the metric.
            direction: `"min"` or `"max"`; None infers it from the name, else takes `"min"`.

        Raises:
            ValueError: The metric is registered already, or the direction is neither.
        """
        if self.exists(name):
            raise ValueError(f"Metric already exists: {name}. Record its values with `update`.")
        if direction is None:
            direction = infer_metric_direction(name) or "min"
        self.metrics[name] = MetricHistory(direction)

    def update(self, name: str, value: Any, step: int = 0) -> bool:
        """Record a value of a metric, which is registered if it is new.

        Args:
            name: Name of the metric.
            value: One number; whatever `float` accepts.
            step: The step (epoch).

        Returns:
            Whether the metric's best value is another one now.

        Raises:
            TypeError: The value is not a number.
        """
        number = _as_number(name, value)
        if not self.exists(name):
            self.register(name)
        history = self.metrics[name]
        best_before = history.get_best_value()
        history.update(number, step=int(step))
        return not _is_same(best_before, history.get_best_value())

    def get_history(self, name: str) -> list[MetricObservation]:
        """Return copies of the metric's observations, sorted by step."""
        return self._known(name).get_history()

    def set_history(self, name: str, observations: Iterable[MetricObservation]) -> None:
        """Record all values of the observations for a registered metric."""
        self._known(name).set_history(observations)

    def get_best_value(self, name: str) -> float | None:
        """Return the metric's best mean of a step."""
        return self._known(name).get_best_value()

    def get_best_step(self, name: str) -> int | None:
        """Return the first step that has the metric's best value."""
        return self._known(name).get_best_step()

    def get_statistics(self, name: str) -> dict[str, float]:
        """Return min, max, mean, median, var and std of the metric's steps."""
        return self._known(name).get_statistics()

    def get_last_value(self, name: str) -> float | None:
        """Return the metric's mean at its highest step."""
        return self._known(name).get_last_value()

    def get_direction(self, name: str) -> Direction:
        """Return the metric's direction."""
        return self._known(name).direction

    def get_config(self) -> dict[str, Any]:
        """Return `{"metrics": {name: history config}}`."""
        return {"metrics": {name: history.get_config() for name, history in self.metrics.items()}}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> MetricsTracker:
        """Return the tracker that `get_config` described.

        Args:
            config: `{"metrics": {name: history config}}`.

        Returns:
            A new tracker.
        """
        tracker = cls()
        for name, history in config["metrics"].items():
            tracker.metrics[name] = MetricHistory.from_config(history)
        return tracker

    def _known(self, name: str) -> MetricHistory:
        if not self.exists(name):
            raise ValueError(f"Unknown metric: {name}. Known: {sorted(self.metrics)}.")
        return self.metrics[name]


def _as_list(value: float | Sequence[float]) -> list[float]:
    return list(value) if isinstance(value, Sequence) else [value]


def _as_number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"The value of a metric must be one number. Received for {name!r}: {value!r}. "
            "A metric that gives one number per class needs an average, such as "
            '`F1Score(average="macro")`.'
        ) from error


def _is_same(a: float | None, b: float | None) -> bool:
    """Compare two best values, NaN being the same as NaN."""
    return a == b or (a is not None and b is not None and math.isnan(a) and math.isnan(b))
