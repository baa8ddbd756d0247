"""Recognise handwritten digits on 28 x 28 images: tune the units and the learning rate.

The digits that come with scikit-learn are 8 x 8; they are enlarged, so that the model is the one
you would write for MNIST, and the script still runs in seconds without a download.

Run:  python examples/digits.py        (needs scikit-learn)
"""

import keras
import numpy as np
from _common import load_digits, results_directory, trials

import keratune as kt


def enlarge(images):
    """(n, 8, 8) images as (n, 28, 28): every pixel becomes 3 x 3, with a border of 2."""
    return np.pad(np.kron(images, np.ones((1, 3, 3), "float32")), ((0, 0), (2, 2), (2, 2)))


train, validation, test = ((enlarge(images), labels) for images, labels in load_digits())


def build_model(hp):
    model = keras.Sequential(
        [
            keras.layers.Input((28, 28)),
            keras.layers.Flatten(),
            keras.layers.Dense(hp.Int("units", 32, 256, step=32), activation="relu"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    learning_rate = hp.Choice("learning_rate", [1e-2, 1e-3, 1e-4])
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


tuner = kt.RandomSearch(
    build_model,
    objective="val_accuracy",
    max_trials=trials(8),
    seed=0,
    directory=results_directory(),
    project_name="search",
    overwrite=True,
)
tuner.search(*train, validation_data=validation, epochs=8)

best_trial = tuner.oracle.get_best_trials(1)[0]
best_model = tuner.get_best_models(1)[0]
_, test_accuracy = best_model.evaluate(*test, verbose=0)

print("Best hyperparameters:")
for name, value in best_trial.hyperparameters.values.items():
    print(f"  {name}: {value}")
print(f"Validation accuracy: {best_trial.score:.3f}")
print(f"Test accuracy: {test_accuracy:.3f}")
print(f"Results: {tuner.project_dir}")
