"""Hyperparameters: a name, the values it may take, and how the unit interval is laid over them.

Every hyperparameter maps a position p in [0, 1] to a value and back. Algorithms work on
positions; users see values. Three views of the values serve three uses:

- `prob_to_value`, `value_to_prob`: drawing and encoding; value -> position -> value is the identity
- `grid_size`, `grid_value`, `grid_index`: the finite list that a grid search walks, by index
- `size`, `nth`: all different values by index; the size is None when they are uncountable

A prior, where the user has one, is a density over the same positions: see `keratune.priors`.
"""

from __future__ import annotations

import abc
import contextlib
import math
import random
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from keratune import _json
from keratune import conditions as conditions_module
from keratune.numerics import scales
from keratune.numerics.beliefs import Around, Weighted
from keratune.priors import Prior

# A grid over a range without a step takes this many values, one in the middle of each tenth.
GRID_VALUES = 10


class HyperParameter(abc.ABC):
    """What all hyperparameters share: name, default, conditions, and the maps to values.

    Args:
        name: Full name, unique together with the conditions.
        default: Value where nobody chose one; default: the prior's, where there is one.
        conditions: Conditions that must all hold for it to be active; one or a list.
        prior: What is believed about good values: one of them, a dict of weights (for categories),
            or a `keratune.Prior`.

    Attributes:
        belief: The prior as a density over positions; None without one.
    """

    def __init__(
        self, name: str, default: Any = None, conditions: Any = None, prior: Any = None
    ) -> None:
        """Keep name, default, conditions and prior."""
        self.name = name
        self.prior = Prior.of(prior)
        self.belief: Around | Weighted | None = None
        self._default = default
        listed = conditions if isinstance(conditions, list) else [conditions]
        self.conditions: list[conditions_module.Condition] = [c for c in listed if c]

    @property
    def default(self) -> Any:
        """The value where nobody chose one."""
        return self._default

    @property
    @abc.abstractmethod
    def grid_size(self) -> int:
        """Number of values that a grid search walks."""

    @abc.abstractmethod
    def grid_value(self, index: int) -> Any:
        """Return the grid's value at `index`, 0 <= index < grid_size."""

    @abc.abstractmethod
    def grid_index(self, value: Any) -> int | None:
        """Return the index of `value` in the grid, None when it is not on it."""

    @abc.abstractmethod
    def prob_to_value(self, prob: float) -> Any:
        """Return the value at a position in [0, 1]."""

    @abc.abstractmethod
    def value_to_prob(self, value: Any) -> float:
        """Return a position that `prob_to_value` maps to `value`."""

    @abc.abstractmethod
    def contains(self, value: Any) -> bool:
        """Tell whether `value` is one that this hyperparameter may take."""

    @property
    def size(self) -> int | None:
        """Number of different values; None when they are uncountable."""
        return self.grid_size

    def nth(self, index: int) -> Any:
        """Return the value at `index` among all `size` values."""
        return self.grid_value(index)

    @property
    def values(self) -> tuple[Any, ...]:
        """The grid's values in order."""
        return tuple(self.grid_value(index) for index in range(self.grid_size))

    def decode(self, value: Any) -> Any:
        """Return the live value of a stored (JSON) one."""
        return _json.decode(value)

    def random_sample(self, seed: int | None = None) -> Any:
        """Return the value at a uniformly random position.

        Args:
            seed: Seed of the draw; None draws afresh.
        """
        return self.prob_to_value(random.Random(seed).random())

    def prior_log_density(self, value: Any) -> float:
        """Return the logarithm of how many times as likely a value is as without the prior."""
        if isinstance(self.belief, Around):
            return float(self.belief.log_density(self.value_to_prob(value)))
        index = self.grid_index(value)
        if self.belief is None or index is None:
            return 0.0
        return float(self.belief.log_densities[index])

    def prior_value(self, prob: float) -> Any:
        """Return the value that a uniform number in [0, 1) draws from the prior."""
        if self.belief is None:
            return self.prob_to_value(prob)
        if isinstance(self.belief, Around):
            return self.prob_to_value(float(self.belief.draw(prob)))
        return self.grid_value(int(self.belief.draw(prob)))

    def _believe(self) -> None:
        """Lay the prior over the values.

        Raises:
            ValueError: It names a value that this hyperparameter may not take.
        """
        if self.prior is None:
            return
        try:
            self.belief = self._belief_in(self.prior)
        except ValueError as error:
            self.prior = None
            raise ValueError(
                f"`prior` of {type(self).__name__} {self.name!r} cannot be used: {error} "
                f"It may take: {self!r}."
            ) from None

    def adopt(self, prior: Prior | None) -> None:
        """Take a prior where there is none, if it names a value that may be taken."""
        if self.prior is None and prior is not None:
            self.prior = prior
            with contextlib.suppress(ValueError):
                self._believe()

    def _belief_in(self, prior: Prior) -> Around | Weighted:
        """Return a prior as a density over positions; by default one weight for each value."""
        return prior.weighted(self.grid_size, self.grid_index)

    def get_config(self) -> dict[str, Any]:
        """Return the JSON form: name, default, conditions and what the subclass adds."""
        config = {
            "name": self.name,
            "default": _json.encode(self._default),
            "conditions": [conditions_module.serialize(c) for c in self.conditions],
        }
        return config if self.prior is None else {**config, "prior": self.prior.get_config()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> HyperParameter:
        """Return the hyperparameter that `get_config` described; `config` is left as it was."""
        arguments = dict(config)
        stored = arguments.get("conditions") or []
        arguments["conditions"] = [conditions_module.deserialize(c) for c in stored]
        if arguments.get("prior") is not None:
            arguments["prior"] = Prior.from_config(arguments["prior"])
        return cls(**arguments)

    def definition(self) -> dict[str, Any]:
        """Return class and configuration without name and conditions: what it may be."""
        config = self.get_config()
        return {
            "class_name": type(self).__name__,
            **{k: v for k, v in config.items() if k not in ("name", "conditions")},
            "default": _json.encode(self.default),
        }


class Choice(HyperParameter):
    """One of several values.

    Values are strings, ints, floats or booleans (of one type), and besides these None, tuples,
    functions and classes. Functions and classes are stored by their label (`package.module.name`).

    Args:
        name: Full name.
        values: The values, at least one.
        ordered: Whether neighbours in the list are alike; default: True for numbers.
        default: One of the values; default: the prior's favourite, or the first.
        **kwargs: `conditions`, `prior`.

    Raises:
        ValueError: No values, a default that is not among them, `ordered=True` for values without
            an order, or two functions with the same label.
        TypeError: Scalars of several types, or a value of an unsupported type.

    Example:
        ```python
        hp.Choice("activation", ["relu", "tanh"])
        hp.Choice("kernel_size", [(3, 3), (5, 5)])
        hp.Choice("regularizer", [None, "l2"])
        ```
    """

    def __init__(
        self,
        name: str,
        values: Sequence[Any],
        ordered: bool | None = None,
        default: Any = None,
        **kwargs: Any,
    ) -> None:
        """Check the values and keep them."""
        super().__init__(name, default, **kwargs)
        self._values = _choice_values(values)
        self._keys = [_json.key(value) for value in self._values]
        self._different = [i for i, key in enumerate(self._keys) if key not in self._keys[:i]]
        if len(self._different) < len(self._keys) and any(map(callable, self._values)):
            raise ValueError(
                f"`values` of `Choice` {name!r} must have different labels. Received: "
                f"{[_json.encode(value) for value in self._values]}. Define each function with a "
                "name of its own (`def`), at the top of a module."
            )
        if default is not None:
            self._default = self._like_values(default)
            if _json.key(self._default) not in self._keys:
                raise ValueError(
                    "The default value should be one of the choices. You passed: "
                    f"values={self._values}, default={default}"
                )
        numeric = all(_is_number(value) for value in self._values)
        if ordered and not numeric and not isinstance(self._values[0], bool):
            raise ValueError("`ordered` must be `False` for non-numeric types.")
        self.ordered = numeric if ordered is None else ordered
        self._believe()

    def _belief_in(self, prior: Prior) -> Around | Weighted:
        if not self.ordered or prior.weights is not None:
            return super()._belief_in(prior)
        return prior.around(self.value_to_prob)

    @property
    def values(self) -> tuple[Any, ...]:
        """The values in the order given."""
        return tuple(self._values)

    @property
    def default(self) -> Any:
        """The default given, or the prior's favourite, or the first value."""
        if self._default is None and self.prior is not None:
            place = self._place(self.prior.favourite)
            return self._values[place or 0]
        return self._values[0] if self._default is None else self._default

    @property
    def grid_size(self) -> int:
        """Number of different values; one that was listed twice is drawn twice as often."""
        return len(self._different)

    def grid_value(self, index: int) -> Any:
        """Return the different value at `index`."""
        return self._values[self._different[index]]

    def grid_index(self, value: Any) -> int | None:
        """Return the index of `value` among the different ones, None when it is not a choice."""
        place = self._place(value)
        return None if place is None else self._different.index(place)

    def _place(self, value: Any) -> int | None:
        """Return where `value` is listed first, None when it is not a choice."""
        wanted = _json.key(self._like_values(value))
        return self._keys.index(wanted) if wanted in self._keys else None

    def contains(self, value: Any) -> bool:
        """Tell whether `value` is one of the choices."""
        return self._place(value) is not None

    def prob_to_value(self, prob: float) -> Any:
        """Return the value whose cell of the unit interval holds `prob`."""
        return self._values[scales.cell(prob, len(self._values))]

    def value_to_prob(self, value: Any) -> float:
        """Return the middle of the value's cell; ValueError when it is not a choice."""
        index = self._place(value)
        if index is None:
            raise ValueError(f"{value!r} is not one of the choices {self._values}.")
        return scales.middle(index, len(self._values))

    def decode(self, value: Any) -> Any:
        """Return the live choice of a stored value; the value itself when there is none."""
        decoded = _json.decode(value)
        place = self._place(decoded)
        return decoded if place is None else self._values[place]

    def recall(self, stored: Any) -> tuple[Any] | None:
        """Return the live choice that was stored as `stored`, in a tuple; None if none was."""
        wanted = _json.key(stored)
        return (self._values[self._keys.index(wanted)],) if wanted in self._keys else None

    def get_config(self) -> dict[str, Any]:
        """Return the JSON form, with values (functions by label) and ordered."""
        config = super().get_config()
        config["default"] = _json.encode(self.default)
        config["values"] = [_json.encode(value) for value in self._values]
        config["ordered"] = self.ordered
        return config

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> HyperParameter:
        """Return the choice that `get_config` described; functions stay labels."""
        values = [_json.decode(value) for value in config["values"]]
        default = _json.decode(config.get("default"))
        return super().from_config({**config, "values": values, "default": default})

    def _like_values(self, value: Any) -> Any:
        """Return `value` with the type of the choices, where the conversion loses nothing."""
        first = next((v for v in self._values if v is not None), None)
        if isinstance(first, str) and isinstance(value, (bool, int, float)):
            return str(value)
        if isinstance(first, bool) and _is_number(value) and value in (0, 1):
            return bool(value)  # KerasTuner stores booleans among choices as 1 and 0
        for kind in (int, float):
            if type(first) is kind and _is_number(value) and _equals(value, kind):
                return kind(value)
        return _json.decode(value.item() if hasattr(value, "item") else value)

    def __repr__(self) -> str:
        """Show name, values, ordered and default."""
        return (
            f"Choice(name: '{self.name}', values: {self._values}, "
            f"ordered: {self.ordered}, default: {self.default})"
        )


def _equals(value: Any, kind: type[int] | type[float]) -> bool:
    """Tell whether a number stays the same when it is made an int, or a float."""
    return math.isfinite(value) and bool(kind(value) == value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _choice_values(values: Sequence[Any]) -> list[Any]:
    """Return the values as plain Python ones, after checking their types."""
    if values is None or len(values) == 0:
        raise ValueError("`values` must be provided for `Choice`.")
    plain = [v.item() if hasattr(v, "item") and not callable(v) else v for v in values]
    plain = [_json.decode(v) for v in plain]
    types = {type(v) for v in plain if isinstance(v, (bool, int, float, str))}
    if len(types) > 1:
        raise TypeError(
            "A `Choice` can contain only one type of value, "
            f"found values: {list(values)} with types {sorted(t.__name__ for t in types)}."
        )
    for value in plain:
        known = value is None or isinstance(value, (bool, int, float, str, tuple))
        if not (known or callable(value) or _json.is_label(value)):
            raise TypeError(
                "A `Choice` can contain only `int`, `float`, `str`, or `bool`, besides None, "
                f"tuples, functions and classes, found values: {list(values)} with types: "
                f"{[type(v) for v in values]}."
            )
    return plain


class Boolean(HyperParameter):
    """True or False.

    Args:
        name: Full name.
        default: True or False; False with a prior for True is True.
        **kwargs: `conditions`, `prior`.

    Raises:
        ValueError: The default is not a boolean.
    """

    def __init__(self, name: str, default: bool = False, **kwargs: Any) -> None:
        """Check the default."""
        super().__init__(name, default, **kwargs)
        if not isinstance(default, (bool, int)) or default not in (True, False):
            raise ValueError(f"`default` must be a Python boolean. You passed: default={default}")
        self._believe()
        self._default = bool(default) or (self.prior is not None and bool(self.prior.favourite))

    @property
    def grid_size(self) -> int:
        """Two."""
        return 2

    def grid_value(self, index: int) -> bool:
        """Return True, then False."""
        return index == 0

    def grid_index(self, value: Any) -> int | None:
        """Return 0 for True and 1 for False."""
        return (1 - int(value)) if self.contains(value) else None

    def contains(self, value: Any) -> bool:
        """Tell whether `value` is True or False."""
        return isinstance(value, (bool, int)) and value in (True, False)

    def decode(self, value: Any) -> Any:
        """Return a stored value as a boolean."""
        return bool(value) if self.contains(value) else value

    def prob_to_value(self, prob: float) -> bool:
        """Return True in the upper half of the unit interval."""
        return bool(prob >= 0.5)

    def value_to_prob(self, value: Any) -> float:
        """Return the middle of the value's half."""
        return 0.75 if value else 0.25

    def __repr__(self) -> str:
        """Show name and default."""
        return f'Boolean(name: "{self.name}", default: {self.default})'


class Fixed(HyperParameter):
    """A value that is not searched.

    Args:
        name: Full name.
        value: An int, float, str or bool.
        **kwargs: `conditions`.

    Raises:
        ValueError: The value is of another type.
    """

    def __init__(self, name: str, value: Any, **kwargs: Any) -> None:
        """Check the value and keep it."""
        value = value.item() if hasattr(value, "item") else value
        super().__init__(name, value, **kwargs)
        if not isinstance(value, (bool, int, float, str)):
            raise ValueError(
                "`Fixed` value must be an `int`, `float`, `str`, or `bool`, "
                f"found {value} of type {type(value)}."
            )
        self.value = value

    @property
    def grid_size(self) -> int:
        """One."""
        return 1

    def grid_value(self, index: int) -> Any:
        """Return the value."""
        return self.value

    def grid_index(self, value: Any) -> int | None:
        """Return 0 for the value."""
        return 0 if self.contains(value) else None

    def contains(self, value: Any) -> bool:
        """Tell whether it is the value."""
        return _json.key(value) == _json.key(self.value)

    def prob_to_value(self, prob: float) -> Any:
        """Return the value."""
        return self.value

    def value_to_prob(self, value: Any) -> float:
        """Return the middle of the unit interval."""
        return 0.5

    def get_config(self) -> dict[str, Any]:
        """Return name, conditions and value."""
        config = super().get_config()
        del config["default"]
        return {**config, "value": _json.encode(self.value)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> HyperParameter:
        """Return the hyperparameter that `get_config` described."""
        return super().from_config({**config, "value": _json.decode(config["value"])})

    def definition(self) -> dict[str, Any]:
        """Return class and value."""
        return {"class_name": "Fixed", "value": _json.encode(self.value)}

    def __repr__(self) -> str:
        """Show name and value."""
        return f"Fixed(name: {self.name}, value: {self.value})"


class Numerical(HyperParameter):
    """What ranges share: ends, step, sampling.

    Args:
        name: Full name.
        min_value: Smallest value.
        max_value: Largest value, included (where a step reaches it).
        step: Distance of neighbouring values (their ratio for log sampling); None: no lattice.
        sampling: `"linear"`, `"log"` or `"reverse_log"`: how probability is spread.
        default: Value where nobody chose one; default: the prior's, or `min_value`.
        **kwargs: `conditions`, `prior`.

    Raises:
        ValueError: The ends are in the wrong order, the sampling is unknown or does not allow these
            ends, or the step is out of range.
    """

    def __init__(
        self,
        name: str,
        min_value: Any,
        max_value: Any,
        step: Any = None,
        sampling: str | None = "linear",
        default: Any = None,
        **kwargs: Any,
    ) -> None:
        """Check the range and keep it."""
        super().__init__(name, _plain(default), **kwargs)
        self.min_value, self.max_value, self.step = min_value, max_value, _plain(step)
        self.sampling = (sampling or scales.LINEAR).lower()
        self._check_range()
        self.lattice: scales.Lattice | None = None  # None without a step
        if self.step is not None:
            self.lattice = scales.Lattice(min_value, max_value, self.step, self.sampling)
        self._believe()

    def _belief_in(self, prior: Prior) -> Around | Weighted:
        value = _plain(prior.value)
        if not _is_number(value) or not self.min_value <= value <= self.max_value:
            wanted = prior.value if prior.weights is None else dict(prior.weights)
            raise ValueError(f"It must be a number in the range. Received: prior={wanted!r}.")
        return prior.around(self.value_to_prob)

    def _check_range(self) -> None:
        start = f"For HyperParameters.{type(self).__name__}(name='{self.name}'), "
        if self.min_value > self.max_value:
            raise ValueError(
                f"{start}min_value {self.min_value} is greater than the max_value {self.max_value}."
            )
        if self.sampling not in scales.SAMPLINGS:
            raise ValueError(
                f"{start}sampling must be one of {set(scales.SAMPLINGS)}. "
                f"Received: sampling={self.sampling!r}."
            )
        logarithmic = self.sampling != scales.LINEAR
        if logarithmic and self.min_value <= 0:
            raise ValueError(
                f"{start}sampling={self.sampling!r} does not support negative values, "
                f"found min_value: {self.min_value}. Use a positive min_value."
            )
        if self.step is not None and self.step <= (1 if logarithmic else 0):
            raise ValueError(
                f"{start}expected step > {1 if logarithmic else 0} with "
                f"sampling={self.sampling!r}. Received: step={self.step}."
            )

    @property
    def default(self) -> Any:
        """The default given, or the prior's value, or the smallest value."""
        if self._default is None and self.prior is not None:
            believed = _plain(self.prior.value)
            near = self.prob_to_value(self.value_to_prob(believed))
            return self.decode(believed) if self.contains(believed) else near
        return self.min_value if self._default is None else self._default

    @property
    def grid_size(self) -> int:
        """Number of lattice values, or how many a grid takes of a range without a step."""
        return self.lattice.size if self.lattice else len(self._spread())

    def grid_value(self, index: int) -> Any:
        """Return the lattice value, or the grid's, at `index`."""
        return self._typed(self.lattice.value(index)) if self.lattice else self._spread()[index]

    def grid_index(self, value: Any) -> int | None:
        """Return the index of the grid's value that equals `value` to rounding."""
        if not _is_number(value):
            return None
        if self.lattice is not None:
            return self.lattice.find(value)
        found = [i for i, v in enumerate(self._spread()) if math.isclose(v, value)]
        return found[0] if found else None

    def prob_to_value(self, prob: float) -> Any:
        """Return the value at a position in [0, 1]."""
        if self.lattice is None:
            return self._free_value(prob)
        return self.grid_value(scales.cell(prob, self.lattice.size))

    def value_to_prob(self, value: Any) -> float:
        """Return a position that `prob_to_value` maps to `value`."""
        if self.lattice is None:
            return self._free_prob(value)
        return scales.middle(self.lattice.index(value), self.lattice.size)

    def get_config(self) -> dict[str, Any]:
        """Return the JSON form, with the range."""
        config = super().get_config()
        config["min_value"] = self.min_value
        config["max_value"] = self.max_value
        config["step"] = self.step
        config["sampling"] = self.sampling
        return config

    def _spread(self) -> list[Any]:
        """The different values in the middles of ten equal cells, ascending."""
        middles = (scales.middle(i, GRID_VALUES) for i in range(GRID_VALUES))
        return sorted({self.prob_to_value(p) for p in middles})

    @abc.abstractmethod
    def _typed(self, value: Decimal) -> Any:
        """Return a lattice value with the hyperparameter's type."""

    @abc.abstractmethod
    def _free_value(self, prob: float) -> Any:
        """Return the value at a position of a range without a step."""

    @abc.abstractmethod
    def _free_prob(self, value: Any) -> float:
        """Return the position of a value of a range without a step."""


class Int(Numerical):
    """A whole number in a range, both ends included.

    Args:
        name: Full name.
        min_value: Smallest value, a whole number.
        max_value: Largest value, a whole number, included.
        step: Distance of neighbours (their ratio for log sampling); default: 1 for linear sampling.
        sampling: `"linear"`, `"log"` or `"reverse_log"`.
        default: Value where nobody chose one; default: the prior's, or `min_value`.
        **kwargs: `conditions`, `prior`.

    Raises:
        ValueError: See `Numerical`; or an end or the step is not a whole number.

    Example:
        ```python
        hp.Int("units", 32, 512, step=32)
        hp.Int("batch_size", 16, 256, step=2, sampling="log")  # 16, 32, 64, 128, 256
        ```
    """

    def __init__(
        self,
        name: str,
        min_value: int,
        max_value: int,
        step: int | None = None,
        sampling: str | None = "linear",
        default: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Check that the range is whole and keep it."""
        low, high = _whole("min_value", min_value), _whole("max_value", max_value)
        stride = None if step is None else _whole("step", step)
        if stride is None and (sampling or scales.LINEAR).lower() == scales.LINEAR:
            stride = 1
        super().__init__(name, low, high, stride, sampling, default, **kwargs)

    @property
    def size(self) -> int | None:
        """Number of whole numbers in the range, or on its lattice."""
        return self.lattice.size if self.lattice else self.max_value - self.min_value + 1

    def nth(self, index: int) -> Any:
        """Return the whole number at `index` of the range, or of its lattice."""
        return self.grid_value(index) if self.lattice else self.min_value + index

    def contains(self, value: Any) -> bool:
        """Tell whether `value` is a whole number in the range and on the lattice."""
        if not _is_number(value) or not self.min_value <= value <= self.max_value:
            return False
        return bool(int(value) == value) and (self.lattice is None or self._is_on_lattice(value))

    def _is_on_lattice(self, value: Any) -> bool:
        index = self.grid_index(value)
        return index is not None and bool(self.grid_value(index) == value)

    def decode(self, value: Any) -> Any:
        """Return a stored value as an int."""
        return int(value) if _is_number(value) and _equals(value, int) else value

    def _typed(self, value: Decimal) -> int:
        return round(value)

    def _free_value(self, prob: float) -> int:
        value = scales.from_unit(prob, self.min_value, self.max_value + 1, self.sampling)
        return min(int(value), int(self.max_value))

    def _free_prob(self, value: Any) -> float:
        return scales.to_unit(value + 0.5, self.min_value, self.max_value + 1, self.sampling)

    def __repr__(self) -> str:
        """Show name, range and default."""
        return (
            f"Int(name: '{self.name}', min_value: {self.min_value}, max_value: {self.max_value}, "
            f"step: {self.step}, sampling: {self.sampling}, default: {self.default})"
        )


def _whole(argument: str, value: Any) -> int:
    number = _plain(value)
    if not isinstance(number, (int, float)) or not _equals(number, int):
        raise ValueError(f"{argument} must be an int, Received: {value} of type {type(value)}.")
    return int(number)


def _plain(value: Any) -> Any:
    """Return Python's number for one of NumPy's."""
    return value.item() if hasattr(value, "item") else value


class Float(Numerical):
    """A number in a range, both ends included.

    Args:
        name: Full name.
        min_value: Smallest value.
        max_value: Largest value, included (where a step reaches it).
        step: Distance of neighbours (their ratio for log sampling); default: none, any float.
        sampling: `"linear"`, `"log"` or `"reverse_log"`.
        default: Value where nobody chose one; default: the prior's, or `min_value`.
        **kwargs: `conditions`, `prior`.

    Raises:
        ValueError: See `Numerical`.

    Example:
        ```python
        hp.Float("learning_rate", 1e-4, 1e-1, sampling="log")
        hp.Float("dropout", 0.0, 0.5, step=0.1)  # 0.0, 0.1, 0.2, 0.3, 0.4, 0.5
        ```
    """

    def __init__(
        self,
        name: str,
        min_value: float,
        max_value: float,
        step: float | None = None,
        sampling: str | None = "linear",
        default: float | None = None,
        **kwargs: Any,
    ) -> None:
        """Keep the range as floats."""
        super().__init__(
            name, float(min_value), float(max_value), step, sampling, default, **kwargs
        )

    @property
    def size(self) -> int | None:
        """Number of lattice values; None without a step (1 where the range is a point)."""
        if self.lattice is not None:
            return self.lattice.size
        return 1 if self.min_value == self.max_value else None

    def nth(self, index: int) -> Any:
        """Return the lattice value at `index`; the only value of a range that is a point."""
        return self.grid_value(index) if self.lattice else self.min_value

    def contains(self, value: Any) -> bool:
        """Tell whether `value` is in the range and on the lattice."""
        if not _is_number(value) or not self.min_value <= value <= self.max_value:
            return False
        return self.lattice is None or self.grid_index(value) is not None

    def decode(self, value: Any) -> Any:
        """Return a stored value as a float."""
        return float(value) if _is_number(value) else value

    def get_config(self) -> dict[str, Any]:
        """Return the JSON form; the default is the one in force."""
        return {**super().get_config(), "default": self.default}

    def _typed(self, value: Decimal) -> float:
        return float(value)

    def _free_value(self, prob: float) -> float:
        return scales.from_unit(prob, self.min_value, self.max_value, self.sampling)

    def _free_prob(self, value: Any) -> float:
        return scales.to_unit(value, self.min_value, self.max_value, self.sampling)

    def __repr__(self) -> str:
        """Show name, range and default."""
        return (
            f"Float(name: '{self.name}', min_value: '{self.min_value}', "
            f"max_value: '{self.max_value}', step: '{self.step}', "
            f"sampling: '{self.sampling}', default: '{self.default}')"
        )


OBJECTS = (HyperParameter, Fixed, Float, Int, Choice, Boolean)
ALL_CLASSES = {cls.__name__: cls for cls in OBJECTS}


def serialize(parameter: HyperParameter) -> dict[str, Any]:
    """Return `{"class_name", "config"}`, the form that files hold."""
    return {"class_name": type(parameter).__name__, "config": parameter.get_config()}


def deserialize(config: Mapping[str, Any]) -> HyperParameter:
    """Return the hyperparameter of a `serialize`d form, which is left as it was.

    Raises:
        ValueError: The class is unknown.
    """
    if config["class_name"] not in ALL_CLASSES:
        raise ValueError(
            f"Unrecognized HP type: {config['class_name']}. Known: {sorted(ALL_CLASSES)}."
        )
    return ALL_CLASSES[config["class_name"]].from_config(config["config"])
