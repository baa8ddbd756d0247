"""Evaluating scikit-learn estimators: data by position, folds, weights, scores.

Weights reach every part of an estimator that takes them: `fit` itself, each step of a `Pipeline`,
the estimator inside a search or an ensemble. Where scikit-learn's metadata routing is switched on,
it decides.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import warnings
from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any

import numpy as np
import sklearn
from sklearn.base import is_classifier
from sklearn.metrics import get_scorer
from sklearn.model_selection import KFold, check_cv
from sklearn.pipeline import Pipeline
from sklearn.utils import indexable
from sklearn.utils.validation import has_fit_parameter

from keratune.errors import FatalTypeError, FatalValueError

WEIGHT = "sample_weight"
Indices = Any  # (n,) array of positions

# ------------------------------------------------------------------ data


@dataclasses.dataclass(frozen=True)
class Data:
    """Samples with what belongs to each of them. Use `Data.of`.

    Attributes:
        X: Features: array, data frame, sparse matrix or list.
        y: Targets; None where there are none.
        sample_weight: A weight for each sample, or None.
        groups: A group for each sample, or None.
    """

    X: Any
    y: Any
    sample_weight: Any = None
    groups: Any = None

    @classmethod
    def of(cls, X: Any, y: Any, sample_weight: Any = None, groups: Any = None) -> Data:
        """Return the data of what a user passed to `search`.

        Raises:
            FatalTypeError: Something cannot be indexed.
            FatalValueError: The lengths differ.
        """
        try:
            return cls(*indexable(X, y, sample_weight, groups))
        except TypeError as error:
            kinds = [type(part).__name__ for part in (X, y, sample_weight, groups)]
            raise FatalTypeError(
                "Expected the data to be numpy.ndarray, pandas.DataFrame, pandas.Series, a SciPy "
                f"sparse matrix or a list. Received: X, y, sample_weight, groups of types {kinds} "
                f"({error}). Convert it with `numpy.asarray` first."
            ) from error
        except ValueError as error:
            raise FatalValueError(
                "`X`, `y`, `sample_weight` and `groups` must have one entry for each sample. "
                f"{error}. Pass None for what there is not."
            ) from error

    def take(self, indices: Indices) -> Data:
        """Return the samples at some positions."""
        return Data(
            _rows(self.X, indices),
            _rows(self.y, indices),
            _rows(self.sample_weight, indices),
        )


def _rows(values: Any, indices: Indices) -> Any:
    """Return entries by position, whatever labels an index gives them."""
    if values is None:
        return None
    if hasattr(values, "iloc"):
        return values.iloc[indices]
    if hasattr(values, "shape"):
        return values[indices]
    return [values[index] for index in indices]


# ------------------------------------------------------------------ weights


def fit_arguments(model: Any, sample_weight: Any) -> dict[str, Any]:
    """Return the keyword arguments by which an estimator's `fit` gets weights.

    Args:
        model: The estimator.
        sample_weight: A weight for each sample, or None.

    Returns:
        `{"sample_weight": ...}`, or for a `Pipeline` `{"step__sample_weight": ...}`; nothing, with
        a warning, where no part of the estimator takes weights.
    """
    if sample_weight is None:
        return {}
    names = _weight_names(model)
    if not names:
        warnings.warn(
            f"`{type(model).__name__}.fit` takes no `sample_weight`: such models are fitted "
            "without weights. Their scores are weighted where the metric takes weights.",
            UserWarning,
            stacklevel=2,
        )
    return dict.fromkeys(names, sample_weight)


def _weight_names(model: Any) -> list[str]:
    """Return under which names an estimator's `fit` passes weights on."""
    if not hasattr(model, "fit"):
        return []  # "passthrough", "drop" or None in place of an estimator
    if has_fit_parameter(model, WEIGHT):
        return [WEIGHT]
    if not _is_open(model.fit):
        return []
    if sklearn.get_config()["enable_metadata_routing"]:
        return [WEIGHT]
    if isinstance(model, Pipeline):
        return [f"{step}__{name}" for step, part in model.steps for name in _weight_names(part)]
    if hasattr(model, "estimators"):  # voting and stacking: all or none
        named = [_weight_names(part) for _, part in model.estimators if part != "drop"]
        return [WEIGHT] if all(names == [WEIGHT] for names in named) else []
    return _weight_names(getattr(model, "estimator", getattr(model, "regressor", None)))


def _is_open(function: Callable[..., Any]) -> bool:
    """Tell whether a function takes any keyword argument."""
    parameters = inspect.signature(function).parameters.values()
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


def _takes_weight(function: Callable[..., Any]) -> bool:
    return WEIGHT in inspect.signature(function).parameters


def _weighted(function: Callable[..., Any], *args: Any, sample_weight: Any) -> float:
    """Call a scorer or a metric, with weights where it takes them."""
    if _takes_weight(function) or (sample_weight is not None and _is_open(function)):
        return float(function(*args, sample_weight=sample_weight))
    return float(function(*args))


# ------------------------------------------------------------------ folds and scores


class CrossValidation:
    """Splits data into folds and scores fitted estimators.

    Args:
        scoring: A scorer's name, a function (estimator, X, y), or None for the estimator's own
            `score`.
        metrics: Functions (y_true, y_predicted) and scorers' names, measured besides the score.
        cv: A splitter, a number of folds, a list of (train, test), or None.

    Raises:
        ValueError: A scorer is unknown, two metrics have one name, or `cv` cannot split.
    """

    def __init__(self, scoring: Any, metrics: Sequence[Any], cv: Any) -> None:
        """Look up names, and check everything that can be checked without data."""
        self._scorer = get_scorer(scoring) if isinstance(scoring, str) else scoring
        self._metrics = {_name_of(metric): metric for metric in metrics}
        if len(self._metrics) < len(metrics) or "score" in self._metrics:
            names = [_name_of(metric) for metric in metrics]
            raise ValueError(
                f"`metrics` must have different names, none of them 'score'. Received: {names}. "
                "Wrap a metric in a function of another name."
            )
        self._cv = cv if isinstance(cv, Integral) else check_cv(_default() if cv is None else cv)

    def folds(self, data: Data, model: Any) -> list[tuple[Indices, Indices]]:
        """Return the positions of training and test samples, fold by fold.

        Args:
            data: All samples.
            model: An estimator that is to be scored; a number of folds is stratified for
                classifiers.

        Raises:
            FatalValueError: The data cannot be split so.
        """
        stratified = isinstance(self._cv, Integral) and is_classifier(model)
        splitter = check_cv(self._cv, data.y, classifier=stratified)
        groups = {} if data.groups is None else {"groups": data.groups}
        try:
            splits = list(splitter.split(data.X, data.y, **groups))
        except ValueError as error:
            raise FatalValueError(
                f"`cv` must be able to split the data. Received: cv={splitter}, which says: "
                f"{error} Pass fewer folds, another splitter or other `groups`."
            ) from error
        return [(_positions(train), _positions(test)) for train, test in splits]

    def scores(self, model: Any, data: Data) -> dict[str, float]:
        """Return the score and the other metrics of a fitted estimator.

        Args:
            model: The estimator.
            data: Samples that it was not fitted to.
        """
        X, y, weight = data.X, data.y, data.sample_weight
        if self._scorer is not None:
            score = _weighted(self._scorer, model, X, y, sample_weight=weight)
        elif _takes_weight(model.score):
            score = float(model.score(X, y, sample_weight=weight))
        else:
            score = float(model.score(X, y))
        measured = {"score": score}
        predicted = model.predict(X) if any(map(callable, self._metrics.values())) else None
        for name, metric in self._metrics.items():
            if isinstance(metric, str):
                value = _weighted(get_scorer(metric), model, X, y, sample_weight=weight)
            else:
                value = _weighted(metric, y, predicted, sample_weight=weight)
            measured[name] = value
        return measured

    def check(self, model: Any) -> None:
        """Refuse what a build returned if it is not an estimator that can be scored.

        Raises:
            FatalTypeError: It cannot be fitted, or has no score and no `scoring` was given.
        """
        if not hasattr(model, "fit"):
            raise FatalTypeError(
                "Expected the model-building function, or HyperModel.build() to return a "
                "scikit-learn estimator, an object with `fit`. "
                f"Received: {model} of type {type(model)}."
            )
        if self._scorer is None and not hasattr(model, "score"):
            raise FatalTypeError(
                "`scoring` must be given for estimators without a method `score`. Received: "
                f"scoring=None, {model}. Pass for example `scoring='neg_mean_squared_error'`."
            )


def _default() -> Any:
    return KFold(5, shuffle=True, random_state=1)


def _positions(indices: Any) -> Indices:
    array = np.asarray(indices)
    return np.flatnonzero(array) if array.dtype == bool else array


def _name_of(metric: Any) -> str:
    """Return a metric's name: a function's own, also behind `functools.partial`."""
    if isinstance(metric, str):
        get_scorer(metric)  # raises where there is none
        return metric
    while isinstance(metric, functools.partial):
        metric = metric.func
    return str(getattr(metric, "__name__", type(metric).__name__))
