"""Values as strict JSON, and stable labels for what JSON cannot hold.

Numbers, strings, booleans and None are themselves. A tuple is a list (no hyperparameter is a
list, so nothing is lost). A function or a class is `{"object": "package.module.name"}`, its label.
Floats that JSON lacks are the strings `"NaN"`, `"Infinity"` and `"-Infinity"`, which Python's
`float` reads back: bare among metrics, where nothing else is a string, and `{"float": "Infinity"}`
among values.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

Value = Any  # a hyperparameter's value: None, bool, int, float, str, tuple of these, or a callable


def label(value: Any) -> str:
    """Return the stable name of a function or class, for example `keras.src.ops.nn.relu`."""
    name = getattr(value, "__qualname__", None) or type(value).__qualname__
    return f"{getattr(value, '__module__', None) or type(value).__module__}.{name}"


def encode(value: Value) -> Any:
    """Return the JSON form of a hyperparameter's value."""
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": finite(value)}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (tuple, list)):
        return [encode(item) for item in value]
    if is_label(value):
        return dict(value)
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        return encode(value.item())
    return {"object": label(value)}


def decode(value: Any) -> Value:
    """Return the value that `encode` wrote; functions and classes stay labels."""
    if isinstance(value, list):
        return tuple(decode(item) for item in value)
    if isinstance(value, Mapping) and set(value) == {"float"}:
        return float(value["float"])
    return value


def is_label(value: Any) -> bool:
    """Tell whether a stored value stands for a function or a class."""
    return isinstance(value, Mapping) and set(value) == {"object"}


def key(value: Value) -> tuple[str, Any]:
    """Return a hashable form of a value in which 1, 1.0, True and "1" differ."""
    encoded = encode(value)
    if isinstance(encoded, (list, dict)):
        return type(encoded).__name__, json.dumps(encoded, sort_keys=True)
    return type(encoded).__name__, encoded


def plain(value: Value) -> bool | int | float | str:
    """Return the nearest value of KerasTuner's four types, for files that it reads."""
    encoded = encode(value)
    if isinstance(encoded, (bool, int, float, str)):
        return encoded
    return str(next(iter(encoded.values()))) if isinstance(encoded, dict) else str(value)


def finite(number: float) -> float | str:
    """Return a float, or the string that stands for it where JSON has no number."""
    if math.isfinite(number):
        return float(number)
    return "NaN" if math.isnan(number) else ("Infinity" if number > 0 else "-Infinity")


def finite_metrics(metrics: Mapping[str, float]) -> dict[str, float | str]:
    """Return metrics whose every value is strict JSON."""
    return {name: finite(float(value)) for name, value in metrics.items()}


def read_metrics(metrics: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> dict[str, float]:
    """Return metrics as floats, reading back what `finite_metrics` wrote."""
    return {name: float(value) for name, value in dict(metrics).items()}


def dumps(document: Any, indent: int | None = None) -> str:
    """Return strict JSON text; NaN and infinities must have been encoded before."""
    separators = (",", ":") if indent is None else None
    return json.dumps(document, allow_nan=False, separators=separators, indent=indent)


def encoded(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by name as plain JSON; see `encode`."""
    return {name: encode(value) for name, value in values.items()}
