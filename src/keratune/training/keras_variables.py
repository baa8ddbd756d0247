"""The variables of a Keras model in training, and how to move them to another model.

`capture` and `restore` move a training between models of one architecture, bit by bit: weights,
batch statistics, the layers' seed generators, the optimizer's slots. `build_config` and
`ensure_built` do so for models that only their first data would build.
"""

from __future__ import annotations

import json
from typing import Any

import keras
import numpy as np


def capture(model: Any, *, optimizer: bool = True) -> dict[str, np.ndarray]:
    """Copy all variables that a training of `model` needs to go on, to host memory.

    Holds weights, batch statistics and seed generators (`v/0000`, `v/0001`, ...), then the
    optimizer's variables, its learning rate and step count among them (`o/0000`, ...). Metrics
    are left out, as each epoch starts them afresh. May be called within an epoch too. Arrays that
    plain numpy cannot name (bfloat16, float8) are widened to float32, without loss.

    Args:
        model: A built Keras model.
        optimizer: Whether its optimizer is included, if that has been built.
    """
    _settle(model)
    arrays = {f"v/{i:04d}": to_numpy(v) for i, v in enumerate(model.variables)}
    slots = getattr(model, "optimizer", None)
    if optimizer and slots is not None and slots.built:
        arrays |= {f"o/{i:04d}": to_numpy(v) for i, v in enumerate(slots.variables)}
    return arrays


def restore(model: Any, arrays: dict[str, np.ndarray]) -> None:
    """Give a model of the same architecture the variables taken by `capture`.

    Builds the optimizer first where it is needed. Nothing is assigned unless all shapes agree.

    Args:
        model: A built Keras model, compiled if the state holds optimizer variables.
        arrays: What `capture` returned; the order of the keys does not matter.

    Raises:
        ValueError: If number or shapes of the variables differ from those captured.
    """
    _settle(model)
    pairs = _matched("v", model.variables, arrays)
    if any(key.startswith("o/") for key in arrays):
        pairs += _matched("o", _optimizer_variables(model), arrays)
    for variable, array in pairs:
        variable.assign(array)


def learning_rate(model: Any) -> float | None:
    """Return the learning rate of a model's optimizer; None where it is a schedule's, or none."""
    rate = getattr(getattr(model, "optimizer", None), "_learning_rate", None)
    return float(keras.ops.convert_to_numpy(rate)) if isinstance(rate, keras.Variable) else None


def _optimizer_variables(model: Any) -> list[Any]:
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:
        raise ValueError(
            "The state holds optimizer variables, so the model must have an optimizer. "
            f"Received: model={model.name!r} without one. Call `model.compile(...)` first."
        )
    if not optimizer.built:
        optimizer.build(model.trainable_variables)
    return list(optimizer.variables)


def _matched(
    prefix: str, variables: list[Any], arrays: dict[str, np.ndarray]
) -> list[tuple[Any, np.ndarray]]:
    """Pair the variables with the arrays under `prefix`, in order."""
    keys = sorted(key for key in arrays if key.startswith(f"{prefix}/"))
    if len(keys) != len(variables):
        raise ValueError(
            "The state must hold one array for each variable. Received: "
            f"{len(keys)} arrays under `{prefix}/` for {len(variables)} variables. "
            "Build the model with the same hyperparameters, and before restoring it."
        )
    for key, variable in zip(keys, variables, strict=True):
        if tuple(arrays[key].shape) != tuple(variable.shape):
            raise ValueError(
                f"The array `{key}` must have the shape of the variable `{variable.path}`, "
                f"{tuple(variable.shape)}. Received: shape={tuple(arrays[key].shape)}. "
                "Build the model with the same hyperparameters."
            )
    return [(variable, arrays[key]) for key, variable in zip(keys, variables, strict=True)]


def _settle(model: Any) -> None:
    """On JAX, `fit` holds the values outside the variables until told to put them back."""
    sync = getattr(model, "jax_state_sync", None)
    if sync is not None:
        sync()


def to_numpy(value: Any) -> np.ndarray:
    """Copy to the host: a view would change with the next step that reuses the buffer."""
    array = np.array(keras.ops.convert_to_numpy(value), copy=True)
    return array.astype(np.float32) if array.dtype.kind == "V" else array


def build_config(model: Any) -> Any:
    """Return what `ensure_built` needs, None for models that cannot tell it in JSON."""
    try:
        config = model.get_build_config()
        json.dumps(config)
    except (AttributeError, TypeError, NotImplementedError):
        return None
    return config


def ensure_built(model: Any, config: Any) -> None:
    """Build a model that only its first data would build.

    Args:
        model: A model, built or not.
        config: What `build_config` returned for a built one of the same architecture.
    """
    if not model.built and config:
        model.build_from_config(config)
