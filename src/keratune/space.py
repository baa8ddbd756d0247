"""The search space, declared by running it.

`HyperParameters` is the container that user code talks to: `hp.Int("units", 8, 128)` declares the
hyperparameter the first time and returns its value every time. The same class serves three roles:

- the space of a study: the union of what all builds have declared
- the configuration of a trial: the space, the trial's values, and a record of what its build read
- a plain container that a user fills by hand

Plain Python `if` and `for` make conditional spaces. Declared scopes (`conditional_scope`,
`parent_name`) are understood too, as KerasTuner has them.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from keratune import _json, parameters, priors
from keratune import conditions as conditions_module
from keratune.conditions import Condition, Parent
from keratune.parameters import HyperParameter

Identity = tuple[str, tuple[str, ...]]  # a hyperparameter's name and its conditions


def identity(parameter: HyperParameter) -> Identity:
    """Return what tells two hyperparameters of a space apart: name and conditions."""
    return parameter.name, tuple(repr(condition) for condition in parameter.conditions)


class Values(dict[str, Any]):
    """The values of a configuration; remembers which were read, in order."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Start with nothing read."""
        super().__init__(*args, **kwargs)
        self.reads: dict[str, None] = {}

    def __getitem__(self, name: str) -> Any:
        """Return a value and remember that it was read."""
        value = super().__getitem__(name)
        self.reads[name] = None
        return value

    def get(self, name: str, default: Any = None) -> Any:
        """Return a value, or `default`, and remember that it was read."""
        return self[name] if name in self else default


class HyperParameters:
    """A container of hyperparameters and their values.

    Attributes:
        values: Dict of the active hyperparameters' values, by full name.
        builtin_priors: Whether hyperparameters with a well-known name and no prior of their own
            get the one of `keratune.priors.COMMON`.

    Example:
        ```python
        hp = keratune.HyperParameters()
        units = hp.Int("units", 8, 128, step=8)
        if hp.Boolean("dropout"):
            rate = hp.Float("rate", 0.1, 0.5)
        ```
    """

    def __init__(self) -> None:
        """Start empty."""
        self.values: dict[str, Any] = Values()
        self.builtin_priors = False
        self.active_scopes: list[list[Condition]] = []
        self.inactive_scopes: list[list[Condition]] = []
        self._known: dict[Identity, HyperParameter] = {}
        self._hps: dict[str, list[HyperParameter]] = {}
        self._name_scopes: list[str] = []
        self._conditions: list[Condition] = []
        self._overrides: set[Identity] = set()
        self._registered: dict[Identity, HyperParameter] = {}
        self._choose: Callable[[HyperParameter], Any] | None = None

    @property
    def space(self) -> list[HyperParameter]:
        """All hyperparameters, in the order in which they appeared."""
        return list(self._known.values())

    def __len__(self) -> int:
        """Return the number of hyperparameters."""
        return len(self._known)

    def __repr__(self) -> str:
        """Show the values."""
        return f"HyperParameters(values={dict(self.values)})"

    def __bool__(self) -> bool:
        """A container is true even when it is empty: it was given."""
        return True

    # ------------------------------------------------------------------ declaring and reading

    def Choice(
        self,
        name: str,
        values: Sequence[Any],
        ordered: bool | None = None,
        default: Any = None,
        parent_name: str | None = None,
        parent_values: Any = None,
        *,
        prior: Any = None,
    ) -> Any:
        """Return the value of one of several choices; see `keratune.parameters.Choice`.

        Args:
            name: Name, unique among what one build declares.
            values: The values: strings, ints, floats, booleans, None, tuples, functions, classes.
            ordered: Whether neighbours in the list are alike; default: True for numbers.
            default: One of the values; default: the prior's favourite, or the first.
            parent_name: Active only when this hyperparameter has one of `parent_values`.
            parent_values: Value or values of the parent.
            prior: The value that is believed to be best, a dict of weights, or a `Prior`.

        Returns:
            The value, or None when a declared condition does not hold.
        """
        with self._child_of(parent_name, parent_values):
            return self._value_of(
                parameters.Choice(
                    self._full_name(name),
                    values,
                    ordered,
                    default,
                    conditions=self._stack(),
                    prior=prior,
                )
            )

    def Int(
        self,
        name: str,
        min_value: int,
        max_value: int,
        step: int | None = None,
        sampling: str = "linear",
        default: int | None = None,
        parent_name: str | None = None,
        parent_values: Any = None,
        *,
        prior: Any = None,
    ) -> Any:
        """Return the value of a whole number in a range; see `keratune.parameters.Int`.

        Args:
            name: Name, unique among what one build declares.
            min_value: Smallest value.
            max_value: Largest value, included.
            step: Distance of neighbours; their ratio for log sampling.
            sampling: `"linear"`, `"log"` or `"reverse_log"`.
            default: Value where nobody chose one; default: the prior's, or `min_value`.
            parent_name: Active only when this hyperparameter has one of `parent_values`.
            parent_values: Value or values of the parent.
            prior: A value around which good ones are believed to be, or a `Prior`.

        Returns:
            The value, or None when a declared condition does not hold.
        """
        with self._child_of(parent_name, parent_values):
            return self._value_of(
                parameters.Int(
                    self._full_name(name),
                    min_value,
                    max_value,
                    step,
                    sampling,
                    default,
                    conditions=self._stack(),
                    prior=prior,
                )
            )

    def Float(
        self,
        name: str,
        min_value: float,
        max_value: float,
        step: float | None = None,
        sampling: str = "linear",
        default: float | None = None,
        parent_name: str | None = None,
        parent_values: Any = None,
        *,
        prior: Any = None,
    ) -> Any:
        """Return the value of a number in a range; see `keratune.parameters.Float`.

        Args:
            name: Name, unique among what one build declares.
            min_value: Smallest value.
            max_value: Largest value, included.
            step: Distance of neighbours; their ratio for log sampling; None: any float.
            sampling: `"linear"`, `"log"` or `"reverse_log"`.
            default: Value where nobody chose one; default: the prior's, or `min_value`.
            parent_name: Active only when this hyperparameter has one of `parent_values`.
            parent_values: Value or values of the parent.
            prior: A value around which good ones are believed to be, or a `Prior`.

        Returns:
            The value, or None when a declared condition does not hold.
        """
        with self._child_of(parent_name, parent_values):
            return self._value_of(
                parameters.Float(
                    self._full_name(name),
                    min_value,
                    max_value,
                    step,
                    sampling,
                    default,
                    conditions=self._stack(),
                    prior=prior,
                )
            )

    def Boolean(
        self,
        name: str,
        default: bool = False,
        parent_name: str | None = None,
        parent_values: Any = None,
        *,
        prior: Any = None,
    ) -> Any:
        """Return True or False; see `keratune.parameters.Boolean`.

        Args:
            name: Name, unique among what one build declares.
            default: Value where nobody chose one.
            parent_name: Active only when this hyperparameter has one of `parent_values`.
            parent_values: Value or values of the parent.
            prior: The value that is believed to be better, a dict of weights, or a `Prior`.

        Returns:
            The value, or None when a declared condition does not hold.
        """
        with self._child_of(parent_name, parent_values):
            return self._value_of(
                parameters.Boolean(
                    self._full_name(name), default, conditions=self._stack(), prior=prior
                )
            )

    def Fixed(
        self,
        name: str,
        value: Any,
        parent_name: str | None = None,
        parent_values: Any = None,
    ) -> Any:
        """Return a value that is not searched; see `keratune.parameters.Fixed`.

        Args:
            name: Name, unique among what one build declares.
            value: The value.
            parent_name: Active only when this hyperparameter has one of `parent_values`.
            parent_values: Value or values of the parent.

        Returns:
            The value, or None when a declared condition does not hold.
        """
        with self._child_of(parent_name, parent_values):
            return self._value_of(
                parameters.Fixed(self._full_name(name), value, conditions=self._stack())
            )

    def get(self, name: str) -> Any:
        """Return the value of an active hyperparameter.

        Raises:
            ValueError: It is known, but inactive.
            KeyError: It is unknown.
        """
        full = self._full_name(name)
        if full in self.values:
            return self.values[full]
        if full in self._hps:
            raise ValueError(f"{full} is currently inactive.")
        raise KeyError(f"{full} does not exist.")

    def __getitem__(self, name: str) -> Any:
        """Return the value of an active hyperparameter, as `get` does."""
        return self.get(name)

    def __contains__(self, name: str) -> bool:
        """Tell whether `get` would return a value."""
        return self._full_name(name) in self.values

    # ------------------------------------------------------------------ scopes and activity

    @contextlib.contextmanager
    def name_scope(self, name: str) -> Iterator[None]:
        """Prefix the names declared inside with `name/`."""
        self._name_scopes.append(name)
        try:
            yield
        finally:
            self._name_scopes.pop()

    @contextlib.contextmanager
    def conditional_scope(self, parent_name: str, parent_values: Any) -> Iterator[None]:
        """Make what is declared inside active only when the parent has one of these values.

        Args:
            parent_name: Name of a hyperparameter declared before, here or further out.
            parent_values: Value or values of the parent.

        Raises:
            ValueError: No such hyperparameter was declared.
        """
        condition = Parent(self._parent_name(parent_name), parent_values)
        self._conditions.append(condition)
        active = conditions_module.hold(self._conditions, self.values)
        scopes = self.active_scopes if active else self.inactive_scopes
        scopes.append(copy.deepcopy(self._conditions))
        try:
            yield
        finally:
            self._conditions.pop()

    def is_active(self, hyperparameter: str | HyperParameter) -> bool:
        """Tell whether a hyperparameter, or any of that name, is active for the values."""
        if isinstance(hyperparameter, HyperParameter):
            conditions = hyperparameter.conditions
            return not conditions or conditions_module.hold(conditions, dict(self.values))
        named = self._hps.get(self._full_name(hyperparameter), [])
        return any(self.is_active(parameter) for parameter in named)

    def active(self) -> list[HyperParameter]:
        """Return the hyperparameters that are active for the values, one for each name."""
        values = dict(self.values)
        found: dict[str, HyperParameter] = {}
        for parameter in self._known.values():
            if parameter.name not in found and conditions_module.hold(parameter.conditions, values):
                found[parameter.name] = parameter
        return list(found.values())

    def ensure_active_values(
        self, choose: Callable[[HyperParameter], Any] = HyperParameter.random_sample
    ) -> None:
        """Give each active hyperparameter a value, and take those of inactive ones away.

        Args:
            choose: Returns the value of a hyperparameter that has none; default: a random one.
        """
        while missing := [p for p in self._known.values() if self._lacks_value(p)]:
            for parameter in missing:
                if self._lacks_value(parameter):  # still, after those before it
                    self.values[parameter.name] = choose(parameter)
        while inactive := [name for name in self._hps if self._is_stale(name)]:
            for name in inactive:
                del self.values[name]

    def _lacks_value(self, parameter: HyperParameter) -> bool:
        return parameter.name not in self.values and self.is_active(parameter)

    def _is_stale(self, name: str) -> bool:
        return name in self.values and not any(map(self.is_active, self._hps[name]))

    # ------------------------------------------------------------------ the space as a whole

    def merge(
        self, hps: HyperParameters | Iterable[HyperParameter], overwrite: bool = True
    ) -> None:
        """Add hyperparameters that this container lacks.

        Args:
            hps: A container or hyperparameters.
            overwrite: Whether those that are known already are replaced by the new ones, with
                their default as value.
        """
        for parameter in hps.space if isinstance(hps, HyperParameters) else hps:
            if overwrite or not self.knows(parameter):
                self._register(parameter, overwrite)

    def knows(self, parameter: HyperParameter) -> bool:
        """Tell whether a hyperparameter with this name and these conditions is known."""
        return identity(parameter) in self._known

    def find(self, parameter: HyperParameter) -> HyperParameter | None:
        """Return the known hyperparameter with the same name and conditions."""
        return self._known.get(identity(parameter))

    def get_config(self) -> dict[str, Any]:
        """Return `{"space": [...], "values": {...}}` in JSON."""
        return {
            "space": [parameters.serialize(parameter) for parameter in self._known.values()],
            "values": {name: _json.encode(value) for name, value in self.values.items()},
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> HyperParameters:
        """Return the container that `get_config` described; `config` is left as it was."""
        container = cls()
        for stored in config["space"]:
            container._keep(parameters.deserialize(stored))
        container.values.update(container.live(config["values"]))
        return container

    def copy(self) -> HyperParameters:
        """Return a container with the same hyperparameters and values, and nothing read."""
        twin = HyperParameters()
        for parameter in self._known.values():
            twin._keep(parameter)
        twin.values.update(self.values)
        twin._overrides = set(self._overrides)
        twin.builtin_priors = self.builtin_priors
        return twin

    # ------------------------------------------------------------------ for the study's own use

    def override(self, declared: Iterable[HyperParameter]) -> None:
        """Let these win over what builds will declare under the same name."""
        self._overrides.update(identity(parameter) for parameter in declared)

    def named(self, name: str) -> list[HyperParameter]:
        """Return the hyperparameters with this full name: several where conditions differ."""
        return list(self._hps.get(name, []))

    def live(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return stored values as user code sees them: functions instead of their labels."""
        return {name: self._live_value(name, value) for name, value in values.items()}

    def _live_value(self, name: str, stored: Any) -> Any:
        for parameter in self._hps.get(name, []):
            if isinstance(parameter, parameters.Choice):
                recalled = parameter.recall(stored)
                if recalled is not None:
                    return recalled[0]
        return _json.decode(stored)

    def begin(
        self, values: Mapping[str, Any], choose: Callable[[HyperParameter], Any] | None
    ) -> None:
        """Start a trial: take its values, read nothing yet.

        Args:
            values: The trial's values; they win over defaults.
            choose: Returns the value of a hyperparameter that is declared only now and has none.
        """
        self.values = Values(values)
        self._registered = {}
        self._choose = choose

    @property
    def reads(self) -> tuple[str, ...]:
        """Names whose values were read, in order."""
        return tuple(self.values.reads) if isinstance(self.values, Values) else ()

    @property
    def declared(self) -> list[HyperParameter]:
        """What builds have declared since `begin`, in order."""
        return list(self._registered.values())

    # ------------------------------------------------------------------ inside

    def _full_name(self, name: str) -> str:
        return "/".join([*self._name_scopes, str(name)])

    def _stack(self) -> list[Condition]:
        return list(self._conditions)

    def _child_of(
        self, parent_name: str | None, parent_values: Any
    ) -> contextlib.AbstractContextManager[None]:
        if parent_name is None:
            return contextlib.nullcontext()
        return self.conditional_scope(parent_name, parent_values)

    def _parent_name(self, name: str) -> str:
        """Return the full name of a parent that is visible here: same scope or further out."""
        open_conditions = self._stack()
        for depth in range(len(self._name_scopes), -1, -1):
            full = "/".join([*self._name_scopes[:depth], str(name)])
            for parameter in self._hps.get(full, []):
                if all(condition in open_conditions for condition in parameter.conditions):
                    return full
        raise ValueError(
            f"`HyperParameter` named: {self._full_name(name)} not defined. "
            f"Known here: {sorted(self._hps)}."
        )

    def _value_of(self, parameter: HyperParameter) -> Any:
        """Return the value of a hyperparameter that user code declares."""
        place = identity(parameter)
        self._refuse_parent_names(parameter)
        if self.builtin_priors and not isinstance(parameter, parameters.Fixed):
            parameter.adopt(priors.common(parameter.name))
        earlier = self._registered.get(place)
        if earlier is not None:
            _refuse_other_definition(parameter, earlier)
            parameter = earlier
        elif place in self._overrides:
            parameter = self._known[place]
        self._registered[place] = parameter
        known = self._known.get(place)
        if known is not parameter:
            self._keep(parameter)
            differs = known is not None and known.definition() != parameter.definition()
            self._settle_value(parameter, differs)
        if not self.is_active(parameter):
            return None
        if parameter.name not in self.values:
            self._settle_value(parameter, True)
        return self.values[parameter.name]

    def _settle_value(self, parameter: HyperParameter, differs: bool) -> None:
        """Give an active hyperparameter a value unless a fitting one is there."""
        if not self.is_active(parameter):
            return
        if parameter.name in self.values:
            value = parameter.decode(dict.__getitem__(self.values, parameter.name))
            if not differs or parameter.contains(value):
                self.values[parameter.name] = value
                return
        chosen = self._choose(parameter) if self._choose else parameter.default
        self.values[parameter.name] = chosen

    def _register(self, parameter: HyperParameter, overwrite: bool = False) -> None:
        """Take up a hyperparameter from elsewhere, with its default as value if it is active."""
        self._refuse_parent_names(parameter)
        self._keep(parameter)
        if self.is_active(parameter) and (overwrite or parameter.name not in self.values):
            self.values[parameter.name] = parameter.default

    def _keep(self, parameter: HyperParameter) -> None:
        self._forget(parameter)
        self._known[identity(parameter)] = parameter
        self._hps.setdefault(parameter.name, []).append(parameter)

    def _forget(self, parameter: HyperParameter) -> None:
        old = self._known.get(identity(parameter))
        if old is not None:
            self._hps[parameter.name].remove(old)

    def _refuse_parent_names(self, parameter: HyperParameter) -> None:
        if any(condition.name == parameter.name for condition in parameter.conditions):
            raise ValueError(
                "A conditional `HyperParameter` cannot have the same name as its parent. "
                f"Found: {parameter.name} and conditions={parameter.conditions}."
            )


def _refuse_other_definition(new: HyperParameter, earlier: HyperParameter) -> None:
    # Defaults may differ: parts of a model that share a name want one value, and the first has it.
    if {**new.definition(), "default": None} != {**earlier.definition(), "default": None}:
        raise ValueError(
            f"A hyperparameter named {new.name!r} was declared before with other arguments. "
            f"Received: {new!r}, declared before: {earlier!r}. Give one of them another name, or "
            "declare it once."
        )
