"""The state of Keras callbacks as plain data.

`callback_state` copies what a callback knows, `set_callback_state` gives it to another one of the
same class; `pack` and `unpack` split such a state into strict JSON and arrays.
"""

from __future__ import annotations

import inspect
import math
from typing import Any

import keras
import numpy as np

from keratune.training.keras_variables import to_numpy

# Attributes of a callback that `fit` fills in, never a state to carry over.
NOT_CALLBACK_STATE = frozenset({"model", "_model", "params", "validation_data"})

# Homes of the functions that a callback's state may name.
FUNCTION_HOMES = {"keras.ops": keras.ops, "numpy": np}

SKIPPED = object()


class FunctionName(str):
    """The full name of a function of `keras.ops` or numpy, standing for it in a state."""


def callback_state(callback: Any) -> dict[str, Any]:
    """Copy the attributes of a Keras callback that are plain data.

    Kept are None, bool, int, float, str, numpy and backend arrays, Keras variables, functions of
    `keras.ops` and numpy (the comparison that EarlyStopping chose), and lists, tuples and
    dicts of these. Anything else is left out, and so is text with a path separator: a project
    that was moved keeps the paths of its new place.

    Args:
        callback: Any callback with a `__dict__`.
    """
    state = {}
    for name, value in vars(callback).items():
        plain = SKIPPED if name in NOT_CALLBACK_STATE else _plain(value)
        if plain is not SKIPPED:
            state[name] = plain
    return state


def set_callback_state(callback: Any, state: dict[str, Any]) -> None:
    """Give a callback the state taken by `callback_state`.

    To be called after the callback's `on_train_begin`, which would reset it. Keras variables
    are assigned, other attributes replaced.

    Args:
        callback: A callback of the same class.
        state: What `callback_state` returned.
    """
    for name, plain in state.items():
        value = _live(plain)
        current = getattr(callback, name, None)
        if isinstance(current, keras.Variable):
            current.assign(value)
        else:
            setattr(callback, name, value)


def _plain(value: Any) -> Any:
    """The value as plain data, copied; `SKIPPED` where it is not plain."""
    if isinstance(value, str):
        return SKIPPED if "/" in value or "\\" in value else value
    if value is None or isinstance(value, (bool, int, float, np.generic)):
        return value
    if isinstance(value, (list, tuple)):
        items = [_plain(item) for item in value]
        if any(item is SKIPPED for item in items) or hasattr(value, "_fields"):
            return SKIPPED
        return items if isinstance(value, list) else tuple(items)
    if isinstance(value, dict):
        pairs = [(_plain(key), _plain(item)) for key, item in value.items()]
        return SKIPPED if any(part is SKIPPED for pair in pairs for part in pair) else dict(pairs)
    if inspect.isroutine(value) or isinstance(value, np.ufunc):
        return _named_function(value)
    if isinstance(value, (np.ndarray, keras.Variable)) or keras.ops.is_tensor(value):
        return _plain_array(value)
    return SKIPPED


def _plain_array(value: Any) -> Any:
    array = to_numpy(value)
    return SKIPPED if array.dtype.hasobject else array


def _named_function(value: Any) -> Any:
    name = getattr(value, "__name__", "")
    for home, module in FUNCTION_HOMES.items():
        if getattr(module, name, None) is value:
            return FunctionName(f"{home}.{name}")
    return SKIPPED


def _live(plain: Any) -> Any:
    """Undo `_plain`: copy containers and arrays, look functions up."""
    if isinstance(plain, FunctionName):
        home, _, name = plain.rpartition(".")
        return getattr(FUNCTION_HOMES[home], name)
    if isinstance(plain, np.ndarray):
        return plain.copy()
    if isinstance(plain, dict):
        return {_live(key): _live(value) for key, value in plain.items()}
    if isinstance(plain, (list, tuple)):
        return type(plain)(_live(item) for item in plain)
    return plain


def pack(value: Any) -> tuple[Any, dict[str, np.ndarray]]:
    """Split plain data into a strict JSON value and the arrays it points to.

    What JSON lacks is written as an object with the key `$`:

    - array or numpy scalar: `{"$": "array", "key": "a/0000"}`, `{"$": "scalar", "key": ...}`
    - NaN and infinities: `{"$": "float", "value": "nan"}` (or `"inf"`, `"-inf"`)
    - tuple: `{"$": "tuple", "items": [...]}`
    - dict with keys other than text, or with a key `$`: `{"$": "dict", "items": [[k, v], ...]}`
    - function: `{"$": "function", "name": "keras.ops.less"}`

    Args:
        value: What `callback_state` returned, or a list or dict of such states.

    Returns:
        The JSON value, and the arrays by key, ready for `numpy.savez`.
    """
    arrays: dict[str, np.ndarray] = {}
    return _packed(value, arrays), arrays


def _packed(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        key = f"a/{len(arrays):04d}"
        arrays[key] = np.asarray(value)
        return {"$": "array" if isinstance(value, np.ndarray) else "scalar", "key": key}
    if isinstance(value, FunctionName):
        return {"$": "function", "name": str(value)}
    if isinstance(value, float) and not math.isfinite(value):
        return {"$": "float", "value": str(value)}
    if isinstance(value, dict):
        if "$" not in value and all(isinstance(key, str) for key in value):
            return {key: _packed(item, arrays) for key, item in value.items()}
        pairs = [[_packed(key, arrays), _packed(item, arrays)] for key, item in value.items()]
        return {"$": "dict", "items": pairs}
    if isinstance(value, (list, tuple)):
        items = [_packed(item, arrays) for item in value]
        return items if isinstance(value, list) else {"$": "tuple", "items": items}
    return value


def unpack(packed: Any, arrays: dict[str, np.ndarray]) -> Any:
    """Undo `pack`.

    Args:
        packed: The JSON value.
        arrays: The arrays by key.

    Raises:
        ValueError: If a tag is unknown, as from a newer version.
    """
    if isinstance(packed, list):
        return [unpack(item, arrays) for item in packed]
    if not isinstance(packed, dict):
        return packed
    if "$" not in packed:
        return {key: unpack(item, arrays) for key, item in packed.items()}
    return _untagged(packed, arrays)


def _untagged(packed: dict[str, Any], arrays: dict[str, np.ndarray]) -> Any:
    tag = packed["$"]
    if tag == "array":
        return arrays[packed["key"]]
    if tag == "scalar":
        return arrays[packed["key"]][()]
    if tag == "float":
        return float(packed["value"])
    if tag == "function":
        return FunctionName(packed["name"])
    if tag == "tuple":
        return tuple(unpack(packed["items"], arrays))
    if tag == "dict":
        return {unpack(key, arrays): unpack(item, arrays) for key, item in packed["items"]}
    raise ValueError(
        "The tag `$` must be one of array, scalar, float, function, tuple, dict. "
        f"Received: $={tag!r}. Read the state with the version that wrote it."
    )
