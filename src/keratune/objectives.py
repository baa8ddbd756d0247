"""What a search optimises: one metric, or several summed into one number.

An objective knows the name that a metric bears in the training logs and whether smaller or larger
is better. For the metrics and losses that Keras ships, the direction is inferred from the name.

The directions follow the Keras API reference (keras.io/api/metrics and keras.io/api/losses).
"""

from __future__ import annotations

import copy
import difflib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Union

Direction = Literal["min", "max"]

# What a model costs is measured by keratune itself, see `keratune.training.model_cost`.
COST_NAMES = ("params", "flops", "memory", "latency")

# A name is recognised by its last words, so that `accuracy` covers `head_binary_accuracy`.
# Words are joined, so that `io_u` and `iou`, or `FBetaScore` and `fbeta_score`, are the same.
_LARGER_IS_BETTER = frozenset(
    "acc accuracy auc concordancecorrelation cosinesimilarity f1 f1score fbeta fbetascore iou miou "
    "pearsoncorrelation precision r2 r2score recall sensitivity specificity truenegatives "
    "truepositives".split()
)
_SMALLER_IS_BETTER = frozenset(
    "bce ce circle crossentropy ctc divergence error falsenegatives falsepositives hinge huber kld "
    "logcosh loss mae mape mse msle nll poisson rmse rmsle".split()
)
# Keras has losses of these names, other people have scores. Only the plain name means Keras's.
_LOSSES_NAMED_LIKE_SCORES = frozenset({"dice", "tversky"})

_REVERSING_WORDS = frozenset({"anti", "inv", "inverse", "minus", "neg", "negative", "non", "not"})
_LOG_PREFIXES = frozenset({"val", "weighted"})
_WORD_BORDER = re.compile(r"_+|(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class Objective:
    """A metric to optimise and the direction in which it gets better.

    Args:
        name: Name of the metric in the training logs, such as `"val_accuracy"`.
        direction: `"min"` or `"max"`.
        threshold: Among several objectives, the value that a trial must reach to be of use: what is
            worse is not on the front. None: any value is.

    Raises:
        ValueError: `direction` is neither, or the threshold is not finite.

    Example:
        ```python
        objective = Objective("val_f1_score", direction="max")
        objective.better_than(0.9, 0.8)  # True
        objective.to_loss(0.9)  # -0.9
        ```
    """

    def __init__(self, name: str, direction: str, *, threshold: float | None = None) -> None:
        """Keep the name, the validated direction and the threshold."""
        if threshold is not None and not math.isfinite(threshold):
            raise ValueError(
                f"`threshold` must be a finite number. Received: threshold={threshold}. Leave it "
                "out where any value is of use."
            )
        self.name = name
        self.direction: Direction = validated_direction(direction)
        self.threshold = threshold
        self.outcomes: tuple[Outcome, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the metrics that logs must contain."""
        return (self.name,)

    @property
    def required(self) -> tuple[str, ...]:
        """Names of the metrics that a training must measure: `names`, and those of outcomes."""
        return tuple(dict.fromkeys([*self.names, *(outcome.name for outcome in self.outcomes)]))

    def keeping(self, outcomes: Sequence[str]) -> Objective:
        """Return the same objective for trials that have to keep some outcomes.

        Args:
            outcomes: Such as `["val_recall >= 0.8"]`; see `Outcome`.

        Raises:
            ValueError: They are no list, or one of them is no outcome.
        """
        if isinstance(outcomes, str):
            raise ValueError(
                "`outcomes` must be a list of texts. Received: "
                f"outcomes={outcomes!r}. Pass [{outcomes!r}]."
            )
        changed = copy.copy(self)
        changed.outcomes = tuple(Outcome(text) for text in outcomes)
        return changed

    @property
    def worst(self) -> float:
        """The value that no other is worse than: inf when minimising, -inf when maximising."""
        return math.inf if self.direction == "min" else -math.inf

    @property
    def cost_names(self) -> tuple[str, ...]:
        """Names of those among them that are costs of the model, which no logs need to contain."""
        return tuple(name for name in self.required if name in COST_NAMES)

    def has_value(self, logs: Mapping[str, Any]) -> bool:
        """Tell whether the logs hold all that the objective is computed from.

        Args:
            logs: Metric names and their values.

        Returns:
            True when `get_value` can answer.
        """
        return all(name in logs for name in self.names)

    def get_value(self, logs: Mapping[str, Any]) -> float:
        """Return the objective's value, in the user's direction.

        Args:
            logs: Metric names and their values.

        Returns:
            The value that the logs hold under the objective's name.

        Raises:
            KeyError: The logs lack a metric; ask `has_value` first.
        """
        value: float = logs[self.name]
        return value

    def get_losses(self, logs: Mapping[str, Any]) -> list[float]:
        """Return one number of which smaller is better; several objectives return one each.

        Args:
            logs: Metric names and their values.

        Raises:
            KeyError: The logs lack a metric; ask `has_value` first.
        """
        return [self.to_loss(self.get_value(logs))]

    @property
    def count(self) -> int:
        """Number of losses by which trials are compared."""
        return 1

    def violation(self, logs: Mapping[str, Any]) -> float:
        """Return by how much metrics break what they have to keep, in total; 0 for nothing.

        Args:
            logs: Metric names and their values.
        """
        return sum(max(outcome.slack(logs), 0.0) for outcome in self.outcomes)

    def better_than(self, a: float, b: float) -> bool:
        """Tell whether value `a` is strictly better than value `b`.

        Args:
            a: A value in the user's direction.
            b: The value to compare it with.

        Returns:
            False as well when one of the two is NaN.
        """
        return self.to_loss(a) < self.to_loss(b)

    def to_loss(self, value: float) -> float:
        """Turn a value in the user's direction into one of which smaller is better.

        Args:
            value: A value such as `get_value` returns. Applied to a loss, it gives the value back.

        Returns:
            The value itself when minimising, its negative when maximising.
        """
        return value if self.direction == "min" else -value

    def __eq__(self, other: object) -> bool:
        """Compare name, direction and threshold."""
        if not isinstance(other, Objective):
            return NotImplemented
        own = (self.name, self.direction, self.threshold)
        return own == (other.name, other.direction, other.threshold)

    def __hash__(self) -> int:
        """Hash by name and direction."""
        return hash((self.name, self.direction))

    def __str__(self) -> str:
        """Show name, direction, and the threshold where there is one."""
        bound = "" if self.threshold is None else f", threshold={self.threshold}"
        return f'Objective(name="{self.name}", direction="{self.direction}"{bound})'

    def __repr__(self) -> str:
        """Show the same as `str`."""
        return str(self)


class Outcome:
    """Something that a trial's metrics have to keep, known when it has been trained.

    Args:
        text: A metric's name, `<=` or `>=`, and a bound.

    Raises:
        ValueError: The text is something else.

    Example:
        ```python
        Outcome("val_recall >= 0.8").slack({"val_recall": 0.6})  # 0.25: a quarter of 0.8 is missing
        ```
    """

    def __init__(self, text: str) -> None:
        """Read the text."""
        match = _OUTCOME.fullmatch(text) if isinstance(text, str) else None
        try:
            self.bound = float(match[3]) if match else math.nan
        except ValueError:
            self.bound = math.nan
        if match is None or not math.isfinite(self.bound):
            raise ValueError(
                f"An outcome is a text such as 'val_recall >= 0.8'. Received: {text!r}. "
                "Write the metric's name, <= or >=, and a number."
            )
        self.name, self.sign = match[1], 1.0 if match[2] == "<=" else -1.0

    def slack(self, logs: Mapping[str, Any]) -> float:
        """Return by how much the bound is missed, in parts of its size; 0 and less: it is kept.

        What was not measured, or is not a number, misses it by infinity.
        """
        value = float(logs.get(self.name, math.nan))
        slack = self.sign * (value - self.bound) / (abs(self.bound) or 1.0)
        return math.inf if math.isnan(slack) else slack

    def __str__(self) -> str:
        """Show the text, in one form."""
        return f"{self.name} {'<=' if self.sign > 0 else '>='} {self.bound!r}"

    def __repr__(self) -> str:
        """Show the same as `str`."""
        return f"Outcome({str(self)!r})"


_OUTCOME = re.compile(r"\s*(\S+?)\s*(<=|>=)\s*(\S+)\s*")


class DefaultObjective(Objective):
    """The objective of a search that was given none: a single float to minimise.

    Example:
        ```python
        str(DefaultObjective())  # 'Objective(name="default_objective", direction="min")'
        ```
    """

    def __init__(self) -> None:
        """Take the name under which a bare number is recorded."""
        super().__init__(name="default_objective", direction="min")


class MultiObjective(Objective):
    """Several objectives as one number to minimise.

    The number is the sum of the metrics to minimise less the sum of those to maximise.

    Args:
        objectives: The objectives to sum; metric names are taken as `create_objective` takes them.

    Raises:
        ValueError: There is no objective, or a direction cannot be inferred.

    Example:
        ```python
        objective = MultiObjective([Objective("val_loss", "min"), Objective("val_auc", "max")])
        objective.get_value({"val_loss": 0.5, "val_auc": 0.9})  # -0.4
        ```
    """

    def __init__(self, objectives: Sequence[ObjectiveLike]) -> None:
        """Keep the objectives that are summed."""
        if not objectives:
            raise ValueError(
                "`objective` must hold at least one objective. Received: []. "
                'Pass a metric name such as "val_loss", or None for a fit() that returns a float.'
            )
        super().__init__(name="multi_objective", direction="min")
        self.objectives = [create_objective(objective) for objective in objectives]
        self.name_to_direction = {
            objective.name: objective.direction for objective in self.objectives
        }

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the metrics of all objectives, in the order given."""
        return tuple(name for objective in self.objectives for name in objective.names)

    def get_value(self, logs: Mapping[str, Any]) -> float:
        """Return the sum of the metrics to minimise less the sum of those to maximise.

        Args:
            logs: Metric names and their values; names of no objective are passed over.

        Returns:
            The sum, smaller is better.

        Raises:
            KeyError: The logs lack a metric; ask `has_value` first.
        """
        return sum(self.get_losses(logs))

    def get_losses(self, logs: Mapping[str, Any]) -> list[float]:
        """Return each objective's value, turned so that smaller is better, in the order given."""
        return [objective.to_loss(objective.get_value(logs)) for objective in self.objectives]

    def __eq__(self, other: object) -> bool:
        """Compare the objectives, in whatever order they were given."""
        if not isinstance(other, MultiObjective):
            return False
        return self._sorted_objectives() == other._sorted_objectives()

    def __hash__(self) -> int:
        """Hash by the objectives, in whatever order they were given."""
        return hash((self.name, frozenset(self.objectives)))

    def __str__(self) -> str:
        """Show the sum's name and direction, and its objectives."""
        parts = ", ".join(str(objective) for objective in self.objectives)
        return f'MultiObjective(name="{self.name}", direction="{self.direction}"): [{parts}]'

    def _sorted_objectives(self) -> list[Objective]:
        return sorted(self.objectives, key=lambda objective: (objective.name, objective.direction))


class ParetoObjective(MultiObjective):
    """Several objectives, none of which is bought with another: the front is looked for.

    Trials are compared objective by objective. The one number compares the epochs of one trial: it
    is the sum of the losses that training changes, without what the model costs.

    Args:
        objectives: The objectives; metric names are taken as `create_objective` takes them.

    Raises:
        ValueError: There is no objective, or a direction cannot be inferred.

    Example:
        ```python
        objective = ParetoObjective([Objective("val_accuracy", "max", threshold=0.8), "params"])
        objective.get_losses({"val_accuracy": 0.9, "params": 1e6})  # [-0.9, 1e6]
        objective.get_value({"val_accuracy": 0.9, "params": 1e6})  # -0.9
        ```
    """

    def get_value(self, logs: Mapping[str, Any]) -> float:
        """Return the sum of the losses that training changes."""
        learnt = [part for part in self.objectives if part.name not in COST_NAMES]
        return sum(part.to_loss(part.get_value(logs)) for part in learnt)

    @property
    def count(self) -> int:
        """Number of losses by which trials are compared: one for each objective."""
        return len(self.objectives)

    @property
    def thresholds(self) -> list[float]:
        """Each objective's threshold as a loss; inf where it has none."""
        return [
            math.inf if part.threshold is None else part.to_loss(part.threshold)
            for part in self.objectives
        ]

    def violation(self, logs: Mapping[str, Any]) -> float:
        """Return by how much the thresholds are missed, each in parts of its size."""
        total = super().violation(logs)
        if not self.has_value(logs):
            return total
        for loss, threshold in zip(self.get_losses(logs), self.thresholds, strict=True):
            if loss > threshold:
                total += (loss - threshold) / (abs(threshold) or 1.0)
        return total

    def __eq__(self, other: object) -> bool:
        """Compare the objectives, in whatever order they were given; a sum is another thing."""
        return isinstance(other, ParetoObjective) and super().__eq__(other)

    __hash__ = MultiObjective.__hash__

    def __str__(self) -> str:
        """Show the objectives."""
        return f"ParetoObjective: [{', '.join(str(part) for part in self.objectives)}]"


def pareto_objective(objectives: Sequence[ObjectiveLike], objective: Objective) -> Objective:
    """Return what a tuner's `objectives` argument describes.

    Args:
        objectives: Objectives and metric names; of a single one, nothing but that is left.
        objective: What its `objective` argument has come to.

    Raises:
        ValueError: Both were given, they are no list, there is none, or one is given twice.
    """
    if isinstance(objectives, (str, Objective)):
        raise ValueError(
            "`objectives` must be a list. Received: "
            f"objectives={objectives!r}. Pass it as `objective`, or several in a list."
        )
    if not objectives:
        raise ValueError(
            "`objectives` must hold at least one objective. Received: objectives=[]. Pass metric "
            'names such as ["val_loss", "params"], or leave it out and pass `objective`.'
        )
    if not isinstance(objective, DefaultObjective):
        raise ValueError(
            "`objectives` stands instead of `objective`. Received both: "
            f"objectives={list(objectives)}, objective={objective}. Leave one out."
        )
    if len(objectives) == 1:
        return create_objective(objectives[0])
    pareto = ParetoObjective(objectives)
    twice = sorted({name for name in pareto.names if pareto.names.count(name) > 1})
    if twice:
        raise ValueError(
            f"`objectives` must name each metric once. Received twice: {', '.join(twice)}. Leave "
            "the second one out."
        )
    return pareto


# Written with `Union`, because Python 3.10 cannot join a class and a quoted name by `|`.
ObjectiveLike = Union[str, Objective, "list[ObjectiveLike]", None]


def create_objective(objective: ObjectiveLike) -> Objective:
    """Return the objective that a tuner's `objective` argument describes.

    Args:
        objective: A metric name whose direction can be inferred, an `Objective`, a list of these
            for their sum, or None for the single float that a custom `fit` returns.

    Returns:
        The objective; an `Objective` is returned as it is.

    Raises:
        ValueError: The direction of a metric name is unknown.
        TypeError: The argument is something else.

    Example:
        ```python
        create_objective("val_accuracy")  # Objective(name="val_accuracy", direction="max")
        ```
    """
    if objective is None:
        return DefaultObjective()
    if isinstance(objective, Objective):
        return objective
    if isinstance(objective, list):
        return MultiObjective(objective)
    if isinstance(objective, str):
        return _objective_by_name(objective)
    raise TypeError(
        f"`objective` not understood, expected str or `Objective` object, found: {objective!r}. "
        "Several objectives are given as a list."
    )


# What users name most as an objective; the nearest one is offered for a misspelt name.
_FREQUENT = [
    f"{prefix}{name}"
    for prefix in ("val_", "")
    for name in ("loss", "accuracy", "auc", "precision", "recall", "f1_score", "mae", "mse")
]


def _objective_by_name(name: str) -> Objective:
    direction = "min" if name in COST_NAMES else infer_metric_direction(name)
    if direction is None:
        near = difflib.get_close_matches(name, _FREQUENT, n=1, cutoff=0.7)
        hint = f' Did you mean "{near[0]}"? If it is a metric of your own, say' if near else " Say"
        raise ValueError(
            'Could not infer optimization direction ("min" or "max") for unknown metric '
            f'"{name}".{hint} which with an `Objective`, for example '
            f'`keratune.Objective("{name}", direction="min")`.'
        )
    return Objective(name, direction)


def validated_direction(direction: str) -> Direction:
    """Return the direction if it is one.

    Args:
        direction: What was received as a direction.

    Returns:
        `"min"` or `"max"`.

    Raises:
        ValueError: It is neither.
    """
    if direction == "min":
        return "min"
    if direction == "max":
        return "max"
    raise ValueError(
        f'`direction` should be one of {{"min", "max"}}, but got: {direction}. '
        'Use "min" for losses and errors, "max" for accuracies and other scores.'
    )


def best_epoch(values: Sequence[float], direction: str) -> int | None:
    """Return the position of the first best value; NaN is never the best.

    Args:
        values: One value per epoch.
        direction: `"min"` or `"max"`.

    Returns:
        A position counted from 0, or None when there is no value or all are NaN.

    Raises:
        ValueError: `direction` is neither `"min"` nor `"max"`.

    Example:
        ```python
        best_epoch([math.nan, 0.5, 0.4, 0.4], "min")  # 2
        ```
    """
    sign = 1 if validated_direction(direction) == "min" else -1
    ranks = [(sign * value, epoch) for epoch, value in enumerate(values) if not math.isnan(value)]
    return min(ranks)[1] if ranks else None


def infer_metric_direction(metric: object) -> Direction | None:
    """Tell whether a metric gets better by falling or by rising.

    A name means what a model compiled with it reports: `"cosine_similarity"` is the metric, which
    rises, whereas the loss function of that name returns the negative and falls. Names may carry
    `val_`, `weighted_` and an output's name before them and a number behind (`val_head_auc_1`).

    Args:
        metric: A name, or a Keras metric or loss: instance, class or function.

    Returns:
        `"min"`, `"max"`, or None when the metric is unknown.

    Example:
        ```python
        infer_metric_direction("val_f1_score")  # "max"
        infer_metric_direction(keras.losses.CosineSimilarity())  # "min"
        infer_metric_direction("my_metric")  # None
        ```
    """
    if isinstance(metric, str):
        return _direction_of_name(metric) or _direction_of_loss_name(metric)
    if isinstance(metric, type):
        return _direction_of_class(metric)
    return _direction_of_function(metric) or _direction_of_instance(metric)


def _direction_of_name(name: str) -> Direction | None:
    words = _words(name)
    if _REVERSING_WORDS.intersection(words):
        return None
    for ending in _endings(words):
        if ending in _LARGER_IS_BETTER:
            return "max"
        if ending in _SMALLER_IS_BETTER:
            return "min"
    return None


def _direction_of_loss_name(name: str) -> Direction | None:
    words = [word for word in _words(name) if word not in _LOG_PREFIXES and not word.isdigit()]
    return "min" if "".join(words) in _LOSSES_NAMED_LIKE_SCORES else None


def _direction_of_class(kind: type) -> Direction | None:
    """Ask the class, then its ancestors: a subclass of `AUC` gets better as `AUC` does."""
    if any(_is_in_keras_losses(ancestor) for ancestor in kind.__mro__):
        return "min"
    directions = (_direction_of_name(ancestor.__name__) for ancestor in kind.__mro__)
    return next(filter(None, directions), None)


def _direction_of_function(function: object) -> Direction | None:
    name = getattr(function, "__name__", None)
    if not isinstance(name, str):
        return None
    return "min" if _is_in_keras_losses(function) else _direction_of_name(name)


def _direction_of_instance(metric: object) -> Direction | None:
    """Ask the class, the function that it wraps, and last the name that it was given."""
    wrapped = getattr(metric, "_fn", getattr(metric, "func", None))
    name = getattr(metric, "name", None)
    return (
        _direction_of_class(type(metric))
        or _direction_of_function(wrapped)
        or (_direction_of_name(name) if isinstance(name, str) else None)
    )


def _is_in_keras_losses(thing: object) -> bool:
    """Tell a Keras loss from the metric of the same name, without importing Keras."""
    package, *rest = str(getattr(thing, "__module__", "")).split(".")
    return package == "keras" and "losses" in rest


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORD_BORDER.split(name) if word]


def _endings(words: Sequence[str]) -> Iterator[str]:
    """Yield what a name ends with, longest first; then the same without a trailing number."""
    for start in range(len(words)):
        yield "".join(words[start:])
    if words and words[-1].isdigit():
        yield from _endings(words[:-1])
