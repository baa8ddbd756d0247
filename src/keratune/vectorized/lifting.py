"""Numbers of a model that become inputs of its compiled program.

Two models that differ in a dropout rate have the same program if the rate enters it as an array
instead of as a constant. While a model's step is traced, a `Lifted` stands in the rate's place:

- Compared with a number (`rate > 0`) it answers with its own value, and the comparison is kept as
  a `Guard`: a model that answers otherwise has another program.
- Combined with a Python number (`1 - rate`) or taken as an array it becomes a `Column`: an input of
  the program. A column's value is worked out in Python for each model, in double precision and in
  the order the model's code does, so that it rounds to the very constant that would have been
  compiled in.
- Anything that needs the number itself (`int(rate)`, `math.sqrt(rate)`) raises `NotLiftableError`.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Sequence
from typing import Any

COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    name: getattr(operator, name) for name in ("lt", "le", "gt", "ge", "eq", "ne")
}
ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    name: getattr(operator, name)
    for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow")
}


class NotLiftableError(TypeError):
    """A step needs a number itself while it is traced.

    Attributes:
        leaf: Which of the model's numbers.
    """

    def __init__(self, leaf: int, use: str) -> None:
        """Say what it is needed for."""
        super().__init__(f"{use} needs the number itself while the step is traced")
        self.leaf = leaf


@dataclasses.dataclass(frozen=True)
class Operand:
    """A Python number, or the value of a leaf: `number` is None for the latter."""

    leaf: int = -1
    number: float | int | None = None

    def value(self, values: Sequence[float]) -> float:
        """Return it for a model with these values of the leaves."""
        return values[self.leaf] if self.number is None else self.number


@dataclasses.dataclass(frozen=True)
class Column:
    """An input of the program: a leaf, or a leaf and a number combined.

    Attributes:
        left: The first operand.
        operation: Name in `ARITHMETIC`, "neg", "abs", or None for the operand as it is.
        right: The second operand, if any.
    """

    left: Operand
    operation: str | None = None
    right: Operand | None = None

    def value(self, values: Sequence[float]) -> float:
        """Return its value for a model with these values of the leaves.

        Raises:
            ArithmeticError: Python has no answer, as for a division by zero.
        """
        left = self.left.value(values)
        if self.operation is None:
            return float(left)
        if self.right is None:
            return float(getattr(operator, self.operation)(left))
        return float(ARITHMETIC[self.operation](left, self.right.value(values)))


@dataclasses.dataclass(frozen=True)
class Guard:
    """A comparison that a program's trace has relied on."""

    left: Operand
    comparison: str
    right: Operand
    answer: bool

    def holds(self, values: Sequence[float]) -> bool:
        """Tell whether a model with these values answers as the traced one did."""
        compare = COMPARISONS[self.comparison]
        return bool(compare(self.left.value(values), self.right.value(values))) == self.answer


class Recording:
    """What the traces of one program need to know of lifted numbers.

    Args:
        size: Most columns there may be.

    Attributes:
        columns: The program's inputs, in order.
        guards: The comparisons relied on.
        inputs: One scalar for each possible column, during a trace.
    """

    def __init__(self, size: int) -> None:
        """Start with nothing."""
        self.size = size
        self.columns: list[Column] = []
        self.guards: dict[Guard, None] = {}
        self.inputs: Sequence[Any] = ()

    def column(self, column: Column) -> Any:
        """Return the scalar that stands for a column in the running trace."""
        if column not in self.columns:
            if len(self.columns) == self.size:
                raise NotLiftableError(column.left.leaf, "an unusual number of its combinations")
            self.columns.append(column)
        return self.inputs[self.columns.index(column)]

    def fits(self, values: Sequence[float]) -> bool:
        """Tell whether a model with these values of the leaves has this program."""
        try:
            for column in self.columns:
                column.value(values)
        except (ArithmeticError, TypeError):
            return False
        return all(guard.holds(values) for guard in self.guards)


class Lifted:
    """Stands in a leaf's place while a step is traced.

    `dtype` is Python's `float`, which is how Keras asks whether a value is a Python number, whose
    type gives way to that of the arrays it meets.

    Args:
        recording: Of the program that is traced.
        leaf: Index of the leaf.
        value: Its value in the traced model.
    """

    dtype = float
    __hash__ = None  # type: ignore[assignment]  # as a key it could not be found again
    __array_ufunc__ = None  # NumPy's numbers leave the arithmetic to it

    def __init__(self, recording: Recording, leaf: int, value: float) -> None:
        """Keep them."""
        self._recording = recording
        self._leaf = leaf
        self._value = value

    def __jax_array__(self) -> Any:
        """Return the program's input."""
        return self._recording.column(Column(Operand(self._leaf)))

    def __neg__(self) -> Any:
        """Return the input with the other sign."""
        return self._recording.column(Column(Operand(self._leaf), "neg"))

    def __abs__(self) -> Any:
        """Return the size of the input."""
        return self._recording.column(Column(Operand(self._leaf), "abs"))

    def __bool__(self) -> bool:
        """Answer whether it is not zero, and rely on that."""
        return self._compared("ne", 0.0)

    def _refuse(self, *_: Any) -> Any:
        raise NotLiftableError(self._leaf, "a conversion to a Python number")

    __float__ = __int__ = __index__ = __round__ = __complex__ = __array__ = _refuse

    def _combined(self, name: str, other: Any, reflected: bool) -> Any:
        own, operand = Operand(self._leaf), _operand(other)
        if operand is None:  # an array: meet it as one
            pair = (other, self.__jax_array__()) if reflected else (self.__jax_array__(), other)
            return ARITHMETIC[name](*pair)
        left, right = (operand, own) if reflected else (own, operand)
        return self._recording.column(Column(left, name, right))

    def _compared(self, name: str, other: Any) -> Any:
        operand = _operand(other)
        if operand is None:
            if other is None or isinstance(other, str):
                return name == "ne"
            return COMPARISONS[name](self.__jax_array__(), other)
        answer = bool(COMPARISONS[name](self._value, getattr(other, "_value", other)))
        self._recording.guards[Guard(Operand(self._leaf), name, operand, answer)] = None
        return answer


def _operand(value: Any) -> Operand | None:
    if isinstance(value, Lifted):
        return Operand(value._leaf)
    return Operand(number=value) if type(value) in (int, float, bool) else None


def _give_operators() -> None:
    """Give `Lifted` Python's operators, each leading to `_combined` or `_compared`."""

    def combined(name: str, reflected: bool) -> Callable[[Lifted, Any], Any]:
        return lambda self, other: self._combined(name, other, reflected)

    def compared(name: str) -> Callable[[Lifted, Any], Any]:
        return lambda self, other: self._compared(name, other)

    for name in ARITHMETIC:
        setattr(Lifted, f"__{name}__", combined(name, False))
        setattr(Lifted, f"__r{name}__", combined(name, True))
    for name in COMPARISONS:
        setattr(Lifted, f"__{name}__", compared(name))


_give_operators()
