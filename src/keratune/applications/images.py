"""What the ready-made hypermodels share: where their images come from, and how features end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from keratune.training.base import HyperModel


def refuse_missing_input(input_shape: Sequence[int | None] | None, input_tensor: Any) -> None:
    """Refuse a hypermodel that is told nothing about its images.

    Raises:
        ValueError: Both are None.
    """
    if input_shape is None and input_tensor is None:
        raise ValueError(
            "You must specify either `input_shape` or `input_tensor`. Received: None for both. "
            "Pass for example `input_shape=(64, 64, 3)`."
        )


class ImageClassifier(HyperModel):
    """A hypermodel that classifies images, or returns their pooled features.

    Args:
        include_top: Whether the network ends in a softmax over the classes, compiled with
            categorical cross-entropy; otherwise it returns the pooled features, uncompiled.
        input_shape: (height, width, channels); this or `input_tensor` is needed.
        input_tensor: A Keras tensor to build on.
        classes: Number of classes; needed with `include_top`.
        **kwargs: See `HyperModel`.

    Raises:
        ValueError: Neither input is given, or the classes are missing.
    """

    def __init__(
        self,
        include_top: bool = True,
        input_shape: Sequence[int | None] | None = None,
        input_tensor: Any = None,
        classes: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Check and keep the arguments."""
        super().__init__(**kwargs)
        if include_top and not classes:
            raise ValueError(
                "You must specify `classes` when `include_top=True`. "
                f"Received: classes={classes}. Pass the number of classes, or `include_top=False`."
            )
        refuse_missing_input(input_shape, input_tensor)
        self.include_top = include_top
        self.input_shape = input_shape
        self.input_tensor = input_tensor
        self.classes = classes


def open_images(input_shape: Sequence[int | None] | None, input_tensor: Any) -> tuple[Any, Any]:
    """Return the inputs of a model, and the tensor that its first layer takes.

    Args:
        input_shape: (height, width, channels) of new inputs.
        input_tensor: A tensor of a graph that exists already; it wins.
    """
    if input_tensor is not None:
        return keras.utils.get_source_inputs(input_tensor), input_tensor
    inputs = keras.Input(shape=tuple(input_shape or ()))
    return inputs, inputs


def channel_axis() -> int:
    """Return the axis of an image batch that holds the channels."""
    return 1 if keras.config.image_data_format() == "channels_first" else 3
