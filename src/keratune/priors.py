"""Priors: what the user believes about good values, and what is commonly known about some names.

A prior belongs to a hyperparameter: `hp.Float("lr", 1e-5, 1e-1, sampling="log", prior=3e-4)`. It
says where good values are likely, and excludes none; see `keratune.numerics.beliefs` for the
density. Random and grid search do not use it. Algorithms that learn draw half of their first trials
from it, and weigh it less the more trials they have learnt from.

`COMMON` holds values for names that Keras code uses again and again. They are used where
`builtin_priors=True` is passed to a tuner, for a hyperparameter that has no prior of its own and
may take the value.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from keratune import _json
from keratune.numerics.beliefs import Around, Weighted

# Standard deviation around a believed number, in parts of its range (log sampling: of the
# logarithm's range). Measured with Bayesian optimisation and beliefs a tenth of the range off (mean
# normalised regret at 20 trials, 10 seeds): on a 4-d valley 0.021, 0.006 and 0.011 for weak, medium
# and strong, 0.15 without; medium on two 7-d networks 0.068 and 0.032, 0.16 and 0.10 without.
# Beliefs that are wrong altogether cost up to 1.3 times the regret at 20 trials, nothing at 50.
DEVIATIONS = {"weak": 0.3, "medium": 0.2, "strong": 0.1}
# How many times as likely as each other value a believed category is: the house's choice, doubled
# from one strength to the next as the deviations are about halved.
RATIOS = {"weak": 2.0, "medium": 4.0, "strong": 8.0}


@dataclasses.dataclass(frozen=True)
class Prior:
    """A belief about one hyperparameter.

    Args:
        value: The value around which good ones are believed to be; of a `Choice` or a `Boolean`,
            the value that is believed to be best.
        strength: How sure the belief is: `"weak"`, `"medium"` or `"strong"`. Around a number that
            is a standard deviation of 0.3, 0.2 or 0.1 of the range; a category is 2, 4 or 8 times
            as likely as each other one.
        weights: Instead of a value: how likely each value of a `Choice` or a `Boolean` is, as pairs
            (value, weight) or a dict; values that are not named have the weight 0.

    Raises:
        ValueError: `strength` is unknown, or a weight is negative, not finite, or all are zero.

    Example:
        ```python
        hp.Float("lr", 1e-5, 1e-1, sampling="log", prior=keratune.Prior(3e-4, "strong"))
        hp.Choice("activation", ["relu", "tanh", "gelu"], prior={"relu": 3, "gelu": 1})
        ```
    """

    value: Any = None
    strength: str = "medium"
    weights: Sequence[tuple[Any, float]] | Mapping[Any, float] | None = None

    def __post_init__(self) -> None:
        """Check strength and weights."""
        if self.strength not in DEVIATIONS:
            raise ValueError(
                f"`strength` must be one of {list(DEVIATIONS)}. "
                f"Received: strength={self.strength!r}."
            )
        if self.weights is None:
            return
        listed = self.weights.items() if isinstance(self.weights, Mapping) else self.weights
        pairs = tuple((value, float(weight)) for value, weight in listed)
        allowed = all(math.isfinite(weight) and weight >= 0 for _, weight in pairs)
        if not allowed or not any(weight > 0 for _, weight in pairs):
            raise ValueError(
                "The weights of a prior must be finite and not negative, and one must be "
                f"positive. Received: {self.weights}."
            )
        object.__setattr__(self, "weights", pairs)

    @classmethod
    def of(cls, prior: Any) -> Prior | None:
        """Return what a user passed as `prior`: a Prior, a dict of weights, a value, or None."""
        if prior is None or isinstance(prior, Prior):
            return prior
        if isinstance(prior, Mapping) and not _json.is_label(prior):
            return cls(weights=prior)
        return cls(prior)

    def get_config(self) -> dict[str, Any]:
        """Return the JSON form."""
        if self.weights is not None:
            return {"weights": [[_json.encode(v), weight] for v, weight in self._pairs]}
        return {"value": _json.encode(self.value), "strength": self.strength}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Prior:
        """Return the prior that `get_config` described; functions stay labels."""
        if "weights" in config:
            return cls(weights=[(_json.decode(v), weight) for v, weight in config["weights"]])
        return cls(_json.decode(config["value"]), config["strength"])

    @property
    def favourite(self) -> Any:
        """The value that is believed to be best; of equal weights, the first."""
        if self.weights is None:
            return self.value
        return max(self._pairs, key=lambda pair: pair[1])[0]

    @property
    def _pairs(self) -> list[tuple[Any, float]]:
        return list(self.weights or ())

    def around(self, place: Callable[[Any], float]) -> Around:
        """Return the belief about a number.

        Args:
            place: Returns the position of a value in the unit interval.
        """
        return Around(place(self.value), DEVIATIONS[self.strength])

    def weighted(self, count: int, index: Callable[[Any], int | None]) -> Weighted:
        """Return the belief about a category.

        Args:
            count: Number of values.
            index: Returns the index of a value; None when it is not one.

        Raises:
            ValueError: The prior names a value that is not one.
        """
        given = [(self.value, RATIOS[self.strength])] if self.weights is None else self._pairs
        weights = [1.0 if self.weights is None else 0.0] * count
        for value, weight in given:
            found = index(value)
            if found is None:
                raise ValueError(
                    f"A prior must name values that the hyperparameter may take. "
                    f"Received: prior for {value!r}."
                )
            weights[found] = weight
        return Weighted(tuple(weights))


@dataclasses.dataclass(frozen=True)
class Common:
    """What is commonly known about the hyperparameters of a name.

    Attributes:
        prior: The belief.
        source: Who says so.
    """

    prior: Prior
    source: str


_ADAM = "Kingma & Ba, 2015, arXiv 1412.6980, section 2; the defaults of keras.optimizers.Adam"
_RESNET = "He et al., 2016, arXiv 1512.03385, section 3.4"
_RATE = Common(Prior(1e-3, "medium"), _ADAM)
_DROPOUT = Common(Prior(0.3, "weak"), "Srivastava et al., 2014, JMLR 15, appendix A.4: 0.2 to 0.5")
_DECAY = Common(Prior(1e-4, "weak"), _RESNET)

COMMON: dict[str, Common] = {
    "learning_rate": _RATE,
    "lr": _RATE,
    "beta_1": Common(Prior(0.9, "medium"), _ADAM),
    "beta_2": Common(Prior(0.999, "medium"), _ADAM),
    "momentum": Common(Prior(0.9, "medium"), _RESNET),
    "weight_decay": _DECAY,
    "l2": _DECAY,
    "dropout": _DROPOUT,
    "dropout_rate": _DROPOUT,
    "batch_size": Common(
        Prior(32, "medium"), "Bengio, 2012, arXiv 1206.5533, section 3.1.1; Keras's default in fit"
    ),
    "label_smoothing": Common(
        Prior(0.1, "weak"), "Szegedy et al., 2016, arXiv 1512.00567, section 7"
    ),
    "optimizer": Common(
        Prior("adam", "weak"), "Schmidt et al., 2021, arXiv 2007.01547: Adam remains hard to beat"
    ),
    "activation": Common(Prior("relu", "weak"), "Glorot et al., 2011, AISTATS, section 4"),
}


def common(name: str) -> Prior | None:
    """Return the common prior of a hyperparameter's name; None where the table has none.

    What stands before the last `/` does not count, nor a number at the end: `block/dropout_2` is
    `dropout`.
    """
    last = name.rpartition("/")[2].lower()
    known = COMMON.get(last) or COMMON.get(re.sub(r"_?\d+$", "", last))
    return known.prior if known else None
