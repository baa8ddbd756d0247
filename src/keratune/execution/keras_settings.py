"""The user's global settings of Keras and JAX, for processes that are to train as this one does."""

from __future__ import annotations

import sys
from typing import Any

import keras

from keratune.training.keras_state import CONFIG

# What a script may have set by `jax.config.update` and what changes results.
JAX_SETTINGS = (
    "jax_enable_x64",
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
    "jax_numpy_dtype_promotion",
    "jax_debug_nans",
)


def current() -> dict[str, Any]:
    """Return the settings that are in force."""
    jax = sys.modules.get("jax")
    return {
        "config": {n: getattr(keras.config, n)() for n in CONFIG if hasattr(keras.config, n)},
        "dtype_policy": keras.dtype_policies.serialize(keras.config.dtype_policy()),
        "custom_objects": dict(keras.saving.get_custom_objects()),
        "traceback_filtering": keras.config.is_traceback_filtering_enabled(),
        "jax": {n: getattr(jax.config, n) for n in JAX_SETTINGS if hasattr(jax.config, n)}
        if jax is not None and hasattr(jax, "config")
        else {},
    }


def put_in_force(settings: dict[str, Any]) -> None:
    """Set what `current` has returned in another process."""
    for name, value in settings["config"].items():
        if getattr(keras.config, name)() != value:
            getattr(keras.config, f"set_{name}")(value)
    keras.config.set_dtype_policy(keras.dtype_policies.deserialize(settings["dtype_policy"]))
    keras.saving.get_custom_objects().update(settings["custom_objects"])
    if not settings["traceback_filtering"]:
        keras.config.disable_traceback_filtering()
    jax = sys.modules.get("jax")
    for name, value in settings["jax"].items():
        if jax is not None and getattr(jax.config, name, value) != value:
            jax.config.update(name, value)
