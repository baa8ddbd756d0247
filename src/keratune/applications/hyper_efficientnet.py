"""EfficientNet (Tan & Le, 2019), sizes B0 to B7, as `keras.applications` builds it.

"EfficientNet: rethinking model scaling for convolutional neural networks". Images are brought to
the size that the paper scales each network to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from keratune.applications.images import open_images, refuse_missing_input
from keratune.space import HyperParameters
from keratune.training.base import HyperModel

# Height and width of the images, Tan & Le (2019), section 5.2 and the authors' code.
EFFICIENTNET_IMG_SIZE = {
    "B0": 224,
    "B1": 240,
    "B2": 260,
    "B3": 300,
    "B4": 380,
    "B5": 456,
    "B6": 528,
    "B7": 600,
}
EFFICIENTNET_MODELS = {
    version: getattr(keras.applications, f"EfficientNet{version}")
    for version in EFFICIENTNET_IMG_SIZE
}


class HyperEfficientNet(HyperModel):
    """An EfficientNet for images, of tunable size, pooling and dropout.

    Args:
        input_shape: (height, width, channels); this or `input_tensor` is needed.
        input_tensor: A Keras tensor to build on.
        classes: Number of classes.
        augmentation_model: A Keras model, or a hypermodel that builds one, put in front; see
            `HyperImageAugment`.
        weights: Where the network starts from: None for random weights, "imagenet" for those that
            Keras downloads (once for each size that is tried), or a path to a file.
        **kwargs: See `HyperModel`.

    Raises:
        ValueError: The augmentation model is of another kind, the classes are missing, or neither
            input is given.

    Example:
        ```python
        hypermodel = keratune.applications.HyperEfficientNet(
            input_shape=(64, 64, 3), classes=10, weights="imagenet"
        )
        ```
    """

    def __init__(
        self,
        input_shape: Sequence[int | None] | None = None,
        input_tensor: Any = None,
        classes: int | None = None,
        augmentation_model: Any = None,
        *,
        weights: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Check and keep the arguments."""
        super().__init__(**kwargs)
        if not isinstance(augmentation_model, (HyperModel, keras.Model, type(None))):
            raise ValueError(
                "Keyword augmentation_model should be a `HyperModel`, a Keras `Model` or empty. "
                f"Received: {augmentation_model}."
            )
        if not classes:
            raise ValueError(
                f"You must specify `classes`. Received: classes={classes}. Pass the number of "
                "classes."
            )
        refuse_missing_input(input_shape, input_tensor)
        self.input_shape = input_shape
        self.input_tensor = input_tensor
        self.classes = classes
        self.augmentation_model = augmentation_model
        self.weights = weights

    def build(self, hp: HyperParameters) -> Any:
        inputs, x = open_images(self.input_shape, self.input_tensor)
        augment = self.augmentation_model
        if augment is not None:
            x = (augment.build(hp) if isinstance(augment, HyperModel) else augment)(x)
        version = hp.Choice("version", list(EFFICIENTNET_IMG_SIZE), default="B0")
        size = EFFICIENTNET_IMG_SIZE[version]
        x = layers.Resizing(size, size, interpolation="bilinear")(x)
        network = EFFICIENTNET_MODELS[version](
            include_top=False, weights=self.weights, input_tensor=x
        )
        pooling = hp.Choice("pooling", ["avg", "max"], default="avg")
        if pooling == "avg":
            x = layers.GlobalAveragePooling2D(name="avg_pool")(network.output)
        else:
            x = layers.GlobalMaxPooling2D(name="max_pool")(network.output)
        rate = hp.Float("top_dropout_rate", 0.2, 0.8, step=0.2, default=0.2)
        x = layers.Dropout(rate, name="top_dropout")(x)
        outputs = layers.Dense(self.classes, activation="softmax", name="probs")(x)
        model = keras.Model(inputs, outputs, name="EfficientNet")
        self._compile(model, hp)
        return model

    def _compile(self, model: Any, hp: HyperParameters) -> None:
        """Compile the model; overridden by who wants another loss or optimizer."""
        rate = hp.Choice("learning_rate", [0.1, 0.01, 0.001], default=0.01)
        model.compile(
            keras.optimizers.SGD(rate, momentum=0.1),
            loss="categorical_crossentropy",
            metrics=["accuracy"],
        )
