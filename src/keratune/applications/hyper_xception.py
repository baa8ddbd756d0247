"""Networks of depthwise separable convolutions, after Xception (Chollet, 2017).

"Xception: deep learning with depthwise separable convolutions". A convolution, residual blocks of
two separable convolutions each, a last block that doubles the channels and halves the image,
pooling, and dense layers. With SELU (Klambauer et al., 2017, "Self-normalizing neural networks")
layers start from LeCun's normal distribution and go without normalisation.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from keratune.applications.images import ImageClassifier, channel_axis, open_images
from keratune.space import HyperParameters


class HyperXception(ImageClassifier):
    """A network of separable convolutions for images, of tunable width, depth and activation.

    Arguments: see `ImageClassifier`.

    Example:
        ```python
        hypermodel = keratune.applications.HyperXception(input_shape=(64, 64, 3), classes=10)
        tuner = keratune.RandomSearch(hypermodel, objective="val_accuracy", max_trials=20)
        ```
    """

    def build(self, hp: HyperParameters) -> Any:
        inputs, x = open_images(self.input_shape, self.input_tensor)
        activation = hp.Choice("activation", ["relu", "selu"])
        x = _entry(x, activation, hp)
        filters = hp.Int("sep_num_filters", 128, 768, step=128, default=256)
        for _ in range(hp.Int("num_residual_blocks", 2, 8, default=4)):
            x = _residual(x, filters, activation)
        x = _residual(x, 2 * filters, activation, halve=True)
        x = _pooled(x, hp.Choice("pooling", ["avg", "flatten", "max"]))
        if not self.include_top:
            return keras.Model(inputs, x, name="Xception")
        outputs = self._top(x, activation, hp)
        model = keras.Model(inputs, outputs, name="Xception")
        model.compile(
            keras.optimizers.Adam(hp.Choice("learning_rate", [1e-3, 1e-4, 1e-5])),
            loss="categorical_crossentropy",
            metrics=["accuracy"],
        )
        return model

    def _top(self, x: Any, activation: str, hp: HyperParameters) -> Any:
        blocks = hp.Int("num_dense_layers", 1, 3)
        rate = hp.Float("dropout_rate", 0.0, 0.6, step=0.1, default=0.5)
        normalise = hp.Choice("dense_use_bn", [True, False])
        for _ in range(blocks):
            x = _dense(x, self.classes or 0, activation, bool(normalise), rate)
        return layers.Dense(self.classes, activation="softmax")(x)


def _entry(x: Any, activation: str, hp: HyperParameters) -> Any:
    """Add the first convolution."""
    filters = hp.Choice("conv2d_num_filters", [32, 64, 128], default=64)
    size = hp.Choice("kernel_size", [3, 5])
    strides = hp.Choice("initial_strides", [2])
    if activation == "selu":
        return layers.Conv2D(
            filters,
            size,
            strides=strides,
            padding="same",
            activation="selu",
            kernel_initializer="lecun_normal",
        )(x)
    x = layers.Conv2D(filters, size, strides=strides, padding="same", use_bias=False)(x)
    return layers.Activation("relu")(layers.BatchNormalization(axis=_axis())(x))


def _separable(x: Any, filters: int, activation: str) -> Any:
    """Add a separable convolution."""
    if activation == "selu":
        return layers.SeparableConv2D(
            filters,
            3,
            padding="same",
            activation="selu",
            depthwise_initializer="lecun_normal",
            pointwise_initializer="lecun_normal",
        )(x)
    x = layers.SeparableConv2D(filters, 3, padding="same", use_bias=False)(x)
    return layers.Activation("relu")(layers.BatchNormalization(axis=_axis())(x))


def _residual(x: Any, filters: int, activation: str, *, halve: bool = False) -> Any:
    """Add two separable convolutions and the shortcut around them."""
    channels = x.shape[channel_axis()]
    shortcut = x
    x = _separable(x, filters, activation)
    x = _separable(x, filters, activation)
    if halve:
        x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
    if halve or channels != filters:
        shortcut = layers.Conv2D(filters, 1, strides=2 if halve else 1, padding="same")(shortcut)
    return layers.Add()([x, shortcut])


def _pooled(x: Any, pooling: str) -> Any:
    if pooling == "flatten":
        return layers.Flatten()(x)
    if pooling == "avg":
        return layers.GlobalAveragePooling2D()(x)
    return layers.GlobalMaxPooling2D()(x)


def _dense(x: Any, units: int, activation: str, normalise: bool, rate: float) -> Any:
    """Add a dense layer with dropout; normalised if wished for, with ReLU only."""
    if activation == "selu":
        x = layers.Dense(units, activation="selu", kernel_initializer="lecun_normal")(x)
    else:
        x = layers.Dense(units, activation="relu")(x)
        if normalise:
            x = layers.BatchNormalization()(x)
    return layers.Dropout(rate)(x) if rate > 0 else x


def _axis() -> int:
    return 1 if channel_axis() == 1 else -1
