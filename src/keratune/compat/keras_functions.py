"""Small functions over Keras that only code written for KerasTuner's repository layout calls."""

from __future__ import annotations

from typing import Any

import keras


def serialize_keras_object(obj: Any) -> Any:
    """Return the config of a Keras object."""
    return keras.saving.serialize_keras_object(obj)


def deserialize_keras_object(config: Any, module_objects: Any = None) -> Any:
    """Return the Keras object of a config."""
    return keras.saving.deserialize_keras_object(config, custom_objects=module_objects)


def backend() -> str:
    """Return the name of Keras's backend."""
    name: str = keras.backend.backend()
    return name


def multi_backend() -> bool:
    """Tell that Keras has several backends, as every Keras 3 has."""
    return True
