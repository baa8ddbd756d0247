"""Tunable image augmentation, after RandAugment (Cubuk et al., 2020).

"RandAugment: practical automated data augmentation with a reduced search space": each image goes
through N layers, each of which applies one transform, drawn uniformly, at a tuned magnitude. Or
every image goes through all transforms, one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import keras
from keras import layers, ops

from keratune.applications.images import open_images, refuse_missing_input
from keratune.space import HyperParameters
from keratune.training.base import HyperModel

Range = float | Sequence[float] | None

TRANSFORMS = ("rotate", "translate_x", "translate_y", "contrast")


def transform(name: str, factor: float, seed: int | None = None) -> Any:
    """Return the layer that applies a transform with magnitudes up to a factor.

    Args:
        name: One of `TRANSFORMS`.
        factor: Share of a turn, of the width, of the height, or of the contrast.
        seed: Seed of the draws; None draws one.
    """
    if name == "rotate":
        layer = layers.RandomRotation(factor, seed=seed)
    elif name == "translate_x":
        layer = layers.RandomTranslation(height_factor=0, width_factor=factor, seed=seed)
    elif name == "translate_y":
        layer = layers.RandomTranslation(height_factor=factor, width_factor=0, seed=seed)
    else:
        layer = layers.RandomContrast(factor, seed=seed)
    if keras.backend.backend() == "jax":
        # Keras marks geometric transforms as unfit for compiling because TensorFlow's cannot be,
        # and one such layer keeps the whole model from being compiled. JAX compiles them. The mark
        # is not saved with a model, so these layers live inside of `RandAugment`, which sets it.
        layer.supports_jit = True
    return layer


@keras.saving.register_keras_serializable(package="keratune")
class RandAugment(layers.Layer):
    """Applies one of several transforms to each image of a batch, drawn uniformly, in training.

    A saved model that has this layer is loaded by `keras.saving.load_model` once this module is
    imported.

    Args:
        layers: Names of transforms, among `TRANSFORMS`.
        factors: Their magnitudes; a transform of magnitude 0 leaves images as they are.
        seed: Seed of the draws; None draws one.
        **kwargs: See `keras.layers.Layer`.

    Raises:
        ValueError: A transform is unknown, or there are not as many factors as transforms.
    """

    def __init__(
        self,
        layers: Sequence[str],
        factors: Sequence[float],
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Make the layers of the transforms."""
        super().__init__(**kwargs)
        unknown = [name for name in layers if name not in TRANSFORMS]
        if unknown:
            raise ValueError(f"`layers` must be among {TRANSFORMS}. Received: {unknown}.")
        if len(layers) != len(factors):
            raise ValueError(
                "`factors` must hold one number for each of `layers`. "
                f"Received: layers={list(layers)}, factors={list(factors)}."
            )
        self.layers = list(layers)
        self.factors = [float(factor) for factor in factors]
        self.seed = seed
        self.generator = keras.random.SeedGenerator(seed)
        self._transforms = [
            transform(name, factor, None if seed is None else seed + place + 1)
            for place, (name, factor) in enumerate(zip(self.layers, self.factors, strict=True))
            if factor
        ]

    def build(self, input_shape: Any) -> None:
        """Build the layers of the transforms."""
        for layer in self._transforms:
            layer.build(input_shape)
        self.built = True

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Return the images, transformed in training."""
        if not training or not self._transforms:
            return inputs
        images = ops.cast(inputs, self.compute_dtype)
        if len(self.layers) == 1:
            return ops.cast(self._transforms[0](images, training=True), self.compute_dtype)
        # One draw per image among all transforms; the last numbers stand for those of magnitude 0.
        drawn = keras.random.randint(
            (ops.shape(images)[0], 1, 1, 1), 0, len(self.layers), seed=self.generator
        )
        outputs = images
        for place, layer in enumerate(self._transforms):
            changed = ops.cast(layer(images, training=True), self.compute_dtype)
            outputs = ops.where(drawn == place, changed, outputs)
        return outputs

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the shape of the inputs."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return what makes this layer again."""
        config: dict[str, Any] = super().get_config()
        own = {"layers": list(self.layers), "factors": list(self.factors), "seed": self.seed}
        return {**config, **own}


class HyperImageAugment(HyperModel):
    """A model that augments images in training, of tunable magnitudes.

    Each transform has a range of magnitudes: a number x stands for (0, x), two numbers for both
    ends, and 0 or None switches it off. Put it in front of another model, for example as
    `augmentation_model` of `HyperEfficientNet`.

    Args:
        input_shape: (height, width, channels); this or `input_tensor` is needed.
        input_tensor: A Keras tensor to build on.
        rotate: Rotation, as a share of a full turn, to both sides.
        translate_x: Horizontal shift, as a share of the width, to both sides.
        translate_y: Vertical shift, as a share of the height, to both sides.
        contrast: Change of contrast, to both sides.
        augment_layers: Number of `RandAugment` layers: n stands for 1 to n, two numbers for both
            ends; 0 applies all transforms, one after the other, to every image.
        **kwargs: See `HyperModel`.

    Raises:
        ValueError: Neither input is given, or a range is not one.

    Example:
        ```python
        hypermodel = keratune.applications.HyperImageAugment(
            input_shape=(64, 64, 3), rotate=[0.1, 0.3], contrast=None
        )
        ```
    """

    def __init__(
        self,
        input_shape: Sequence[int | None] | None = None,
        input_tensor: Any = None,
        rotate: Range = 0.5,
        translate_x: Range = 0.4,
        translate_y: Range = 0.4,
        contrast: Range = 0.3,
        augment_layers: int | Sequence[int] | None = 3,
        **kwargs: Any,
    ) -> None:
        """Check and keep the ranges."""
        super().__init__(**kwargs)
        refuse_missing_input(input_shape, input_tensor)
        given = zip(TRANSFORMS, (rotate, translate_x, translate_y, contrast), strict=True)
        self.transforms = [
            (name, _range(name, value, 0, Real, "int or float")) for name, value in given if value
        ]
        self.input_shape = input_shape
        self.input_tensor = input_tensor
        self.augment_layers_min, self.augment_layers_max = 0, 0
        self.model_name = "image_augment"
        if augment_layers:
            ends = _range("`augment_layers`", augment_layers, 1, Integral, "int")
            self.augment_layers_min, self.augment_layers_max = ends
            self.model_name = "image_rand_augment"

    def build(self, hp: HyperParameters) -> Any:
        inputs, x = open_images(self.input_shape, self.input_tensor)
        draws = self.model_name == "image_rand_augment"
        x = self._drawn(x, hp) if draws else self._all(x, hp)
        return keras.Model(inputs, x, name=self.model_name)

    def _all(self, x: Any, hp: HyperParameters) -> Any:
        """Add all transforms, one after the other."""
        for name, (low, high) in self.transforms:
            factor = hp.Float(f"factor_{name}", low, high, step=0.05, default=low)
            if factor:
                x = RandAugment([name], [factor], name=name)(x)
        return x

    def _drawn(self, x: Any, hp: HyperParameters) -> Any:
        """Add layers that draw a transform for each image."""
        least, most = self.augment_layers_min, self.augment_layers_max
        number = hp.Int("augment_layers", least, most, default=least)
        if not number or not self.transforms:
            return x
        factors = {
            name: hp.Float(f"factor_{name}", low, high, default=low)
            for name, (low, high) in self.transforms
        }
        for _ in range(number):
            x = RandAugment(list(factors), list(factors.values()))(x)
        return x


def _range(name: str, value: Any, low: float, kind: type, kind_name: str) -> tuple[Any, Any]:
    """Return both ends of a range that a user gave as one number or two.

    Raises:
        ValueError: There are more than two numbers, or something is not a number.
    """
    listed = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    if len(listed) > 2:
        raise ValueError(
            f"Length of keyword argument {name} must not exceed 2. Received: {value}. Pass the "
            "largest value, or both ends of the range."
        )
    for number in listed:
        if not isinstance(number, kind):
            raise ValueError(f"Keyword argument {name} must be {kind_name}, but received {value}.")
    return (low, listed[0]) if len(listed) == 1 else (listed[0], listed[1])
