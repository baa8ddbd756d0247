"""Residual networks: v1 (He et al., 2016a), v2 (He et al., 2016b) and ResNeXt (Xie et al., 2017).

- v1: "Deep residual learning for image recognition"; convolution, normalisation, ReLU.
- v2: "Identity mappings in deep residual networks"; normalisation and ReLU before a convolution.
- next: "Aggregated residual transformations for deep neural networks"; v1 with the middle
  convolution of each block in 32 groups.

A network is a stem, four stages named conv2 to conv5 of bottleneck blocks, and a top. Layers are
named as in the networks that Keras ships: `conv3_block1_2_conv` is the second convolution of the
first block of stage conv3.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
from keras import layers

from keratune.applications.images import ImageClassifier, channel_axis, open_images
from keratune.space import HyperParameters

GROUPS = 32  # of a ResNeXt block's middle convolution
EPSILON = 1.001e-5  # of the normalisations, as in the authors' weights
OPTIMIZERS = {
    "adam": keras.optimizers.Adam,
    "rmsprop": keras.optimizers.RMSprop,
    "sgd": keras.optimizers.SGD,
}


@dataclasses.dataclass(frozen=True)
class Version:
    """What tells the three networks apart.

    Attributes:
        block: Adds one block: (input, filters, strides, whether the shortcut is projected, name).
        filters: Of the bottlenecks, by stage.
        strides: Of the one block of each stage that shrinks the image.
        shrinks_last: Whether that block is the stage's last, not its first.
        stem_bias: Whether the first convolution has a bias.
        preactivated: Whether blocks start with normalisation and ReLU; then the network ends so.
    """

    block: Callable[[Any, int, int, bool, str], Any]
    filters: tuple[int, ...]
    strides: tuple[int, ...]
    shrinks_last: bool = False
    stem_bias: bool = True
    preactivated: bool = False


class HyperResNet(ImageClassifier):
    """A residual network for images, of tunable version, depth, pooling and optimizer.

    Arguments: see `ImageClassifier`.

    Example:
        ```python
        hypermodel = keratune.applications.HyperResNet(input_shape=(64, 64, 3), classes=10)
        tuner = keratune.RandomSearch(hypermodel, objective="val_accuracy", max_trials=20)
        ```
    """

    def build(self, hp: HyperParameters) -> Any:
        version = VERSIONS[hp.Choice("version", ["v1", "v2", "next"], default="v2")]
        depths = (
            3,
            hp.Choice("conv3_depth", [4, 8]),
            hp.Choice("conv4_depth", [6, 23, 36]),
            3,
        )
        inputs, x = open_images(self.input_shape, self.input_tensor)
        x = _stem(x, version)
        for stage, depth in enumerate(depths):
            x = _stage(x, version, stage, depth)
        if version.preactivated:
            x = _relu(_normalised(x, "post_bn"), "post_relu")
        pooling = hp.Choice("pooling", ["avg", "max"], default="avg")
        if pooling == "avg":
            x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
        else:
            x = layers.GlobalMaxPooling2D(name="max_pool")(x)
        if not self.include_top:
            return keras.Model(inputs, x, name="ResNet")
        outputs = layers.Dense(self.classes, activation="softmax", name="probs")(x)
        model = keras.Model(inputs, outputs, name="ResNet")
        _compile(model, hp)
        return model


def _compile(model: Any, hp: HyperParameters) -> None:
    optimizer = OPTIMIZERS[hp.Choice("optimizer", list(OPTIMIZERS), default="adam")]
    rate = hp.Choice("learning_rate", [0.1, 0.01, 0.001], default=0.01)
    model.compile(optimizer(rate), loss="categorical_crossentropy", metrics=["accuracy"])


def _stem(x: Any, version: Version) -> Any:
    x = layers.ZeroPadding2D(3, name="conv1_pad")(x)
    x = layers.Conv2D(64, 7, strides=2, use_bias=version.stem_bias, name="conv1_conv")(x)
    if not version.preactivated:
        x = _relu(_normalised(x, "conv1_bn"), "conv1_relu")
    x = layers.ZeroPadding2D(1, name="pool1_pad")(x)
    return layers.MaxPooling2D(3, strides=2, name="pool1_pool")(x)


def _stage(x: Any, version: Version, stage: int, depth: int) -> Any:
    shrinking = depth - 1 if version.shrinks_last else 0
    for place in range(depth):
        strides = version.strides[stage] if place == shrinking else 1
        name = f"conv{stage + 2}_block{place + 1}"
        x = version.block(x, version.filters[stage], strides, place == 0, name)
    return x


def _normalised(x: Any, name: str) -> Any:
    return layers.BatchNormalization(axis=channel_axis(), epsilon=EPSILON, name=name)(x)


def _relu(x: Any, name: str) -> Any:
    return layers.Activation("relu", name=name)(x)


def _convolved(x: Any, filters: int, size: int, name: str, strides: int = 1, **options: Any) -> Any:
    """Add a convolution, its normalisation and ReLU: `name_conv`, `name_bn`, `name_relu`."""
    x = layers.Conv2D(filters, size, strides=strides, name=f"{name}_conv", **options)(x)
    return _relu(_normalised(x, f"{name}_bn"), f"{name}_relu")


def _projected(x: Any, filters: int, name: str, strides: int = 1, bias: bool = True) -> Any:
    """Add a 1x1 convolution and its normalisation, without ReLU."""
    x = layers.Conv2D(filters, 1, strides=strides, use_bias=bias, name=f"{name}_conv")(x)
    return _normalised(x, f"{name}_bn")


def _sum_activated(shortcut: Any, x: Any, name: str) -> Any:
    return _relu(layers.Add(name=f"{name}_add")([shortcut, x]), f"{name}_out")


def _block_v1(x: Any, filters: int, strides: int, project: bool, name: str) -> Any:
    """Add a block of He et al. (2016a), figure 5: 1x1, 3x3, 1x1, then the sum."""
    shortcut = _projected(x, 4 * filters, f"{name}_0", strides) if project else x
    x = _convolved(x, filters, 1, f"{name}_1", strides)
    x = _convolved(x, filters, 3, f"{name}_2", padding="same")
    return _sum_activated(shortcut, _projected(x, 4 * filters, f"{name}_3"), name)


def _block_v2(x: Any, filters: int, strides: int, project: bool, name: str) -> Any:
    """Add a block of He et al. (2016b), figure 4e: the shortcut is an identity or a projection."""
    active = _relu(_normalised(x, f"{name}_preact_bn"), f"{name}_preact_relu")
    if project:
        shortcut = layers.Conv2D(4 * filters, 1, strides=strides, name=f"{name}_0_conv")(active)
    else:
        shortcut = layers.MaxPooling2D(1, strides=strides)(x) if strides > 1 else x
    x = _convolved(active, filters, 1, f"{name}_1", use_bias=False)
    x = layers.ZeroPadding2D(1, name=f"{name}_2_pad")(x)
    x = _convolved(x, filters, 3, f"{name}_2", strides, use_bias=False)
    x = layers.Conv2D(4 * filters, 1, name=f"{name}_3_conv")(x)
    return layers.Add(name=f"{name}_out")([shortcut, x])


def _block_next(x: Any, filters: int, strides: int, project: bool, name: str) -> Any:
    """Add a block of Xie et al. (2017), figure 3c: the middle convolution is grouped."""
    shortcut = _projected(x, 2 * filters, f"{name}_0", strides, bias=False) if project else x
    x = _convolved(x, filters, 1, f"{name}_1", use_bias=False)
    x = layers.ZeroPadding2D(1, name=f"{name}_2_pad")(x)
    x = _grouped_convolution(x, filters, strides, f"{name}_2_conv")
    x = _relu(_normalised(x, f"{name}_2_bn"), f"{name}_2_relu")
    x = _projected(x, 2 * filters, f"{name}_3", bias=False)
    return _sum_activated(shortcut, x, name)


def _grouped_convolution(x: Any, filters: int, strides: int, name: str) -> Any:
    """Add a 3x3 convolution in groups, as a depthwise one whose parts are summed by group.

    A backend without grouped convolutions (TensorFlow on a CPU) trains it as well.
    """
    width = filters // GROUPS
    x = layers.DepthwiseConv2D(
        3, strides=strides, depth_multiplier=width, use_bias=False, name=name
    )(x)
    first = channel_axis() == 1
    image = tuple(x.shape[2:] if first else x.shape[1:3])
    channels = (GROUPS, width, width)  # group, channel in, channel out
    x = layers.Reshape((*channels, *image) if first else (*image, *channels))(x)
    x = keras.ops.sum(x, axis=2 if first else 4)
    return layers.Reshape((filters, *image) if first else (*image, filters))(x)


VERSIONS = {
    "v1": Version(_block_v1, (64, 128, 256, 512), (1, 2, 2, 2)),
    "v2": Version(
        _block_v2, (64, 128, 256, 512), (2, 2, 2, 1), shrinks_last=True, preactivated=True
    ),
    "next": Version(_block_next, (64, 256, 512, 1024), (2, 2, 2, 1), stem_bias=False),
}
